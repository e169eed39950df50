//! What albacore would do if it led now: found out as it would be done, up to the first write.
//!
//! ```text
//! watches ─► facts ─► network: look ─► groups: build, look, intend, plan ─► network: plan ─► bindings: aim ─► Preview
//! ```
//! What albacore remembers counts for nothing here: everything is read from AWS.

use super::{
    Controller, Outcome, Parts,
    group::{ROUNDS, Task},
    network,
};
use crate::{
    facts::TargetGroupBinding,
    ingress::Built,
    k8s::watch::{Kind, Seen, Watches},
    model::*,
    plan::{self, NetworkIntent, NetworkObserved, Observed},
    report::preview::{self as words, Change, Preview},
};
use futures::future::join_all;
use std::{collections::BTreeSet, fmt, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// How long the API server may take to tell everything once.
const TELLING: Duration = Duration::from_secs(60);

/// Why it could not be found out what would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear(String);

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unclear {}

fn unclear(unit: impl fmt::Display) -> impl Fn(String) -> Unclear {
    move |why| Unclear(format!("{unit}: {why}"))
}

/// Finds out what would be done with what is seen, reading from AWS what is not known. Nothing is written: neither to AWS
/// nor to Kubernetes.
///
/// # Errors
/// Something that could not be read.
pub async fn preview(parts: Parts, mut watches: Watches) -> Result<Preview, Unclear> {
    let (wakes, _unheard) = mpsc::unbounded_channel();
    let controller = Controller::new(parts, wakes);
    controller.hear(&mut watches).await?;
    controller.notes().doubt(&Unit::Network);
    controller.known_network().await?;
    let groups: Vec<GroupKey> = controller.cluster().groups().cloned().collect();
    let previews = join_all(groups.iter().map(|key| controller.preview_group(key))).await;
    let (intent, observed) = controller.known_network().await?;
    let external = &controller.settings.external_managed_tags;
    let network = plan::network::plan(&intent, &observed, external).steps;
    let mut preview = Preview {
        groups: previews.into_iter().collect::<Result<_, _>>()?,
        shared: network
            .iter()
            .map(|step| words::change(step, &Observed::default()))
            .collect(),
        unattended: Vec::new(),
    };
    preview.groups.retain(|group| !group.ingresses.is_empty());
    let bindings: Vec<TargetGroupBinding> = controller.cluster().bindings().cloned().collect();
    for binding in &bindings {
        controller.preview_binding(binding, &mut preview).await?;
    }
    Ok(preview)
}

impl Controller {
    /// Takes in everything that is there.
    async fn hear(&self, watches: &mut Watches) -> Result<(), Unclear> {
        let mut missing: BTreeSet<Kind> = Kind::OF_USERS.into();
        let all = async {
            while !missing.is_empty() {
                match watches.next().await {
                    Some(Seen::Synced(kind, _)) => drop(missing.remove(&kind)),
                    Some(told) => drop(self.take_in(told)),
                    None => return,
                }
            }
        };
        drop(timeout(TELLING, all).await);
        if missing.is_empty() {
            return Ok(());
        }
        let kinds: Vec<String> = missing.iter().map(|kind| format!("{kind:?}")).collect();
        Err(Unclear(format!(
            "the API server did not list every {}: is the kind installed, and may this user list it?",
            kinds.join(", ")
        )))
    }

    async fn known_network(&self) -> Result<(NetworkIntent, NetworkObserved), Unclear> {
        for _ in 0..network::ROUNDS {
            let looked = self.look_at_network().await;
            if let Some(known) = looked.map_err(|fault| unclear(Unit::Network)(fault.to_string()))? {
                return Ok(known);
            }
        }
        Err(unclear(Unit::Network)(
            "AWS differs from what was read a moment ago".to_owned(),
        ))
    }

    async fn preview_group(&self, key: &GroupKey) -> Result<words::Group, Unclear> {
        let unclear = unclear(Unit::Group(key.clone()));
        let mut task = Task::new(self, key);
        for _ in 0..ROUNDS {
            let built = task.build();
            let looked = task.look(&built).await;
            looked.map_err(|outcome: Outcome| unclear(outcome.to_string()))?;
            let mut group = words::Group {
                group: key.to_string(),
                ingresses: built
                    .active
                    .iter()
                    .chain(&built.leaving)
                    .map(ToString::to_string)
                    .collect(),
                load_balancer: task
                    .memory
                    .observed
                    .load_balancers
                    .first()
                    .map(|lb| lb.load_balancer.name.clone()),
                problems: built.problems.iter().map(words::problem).collect(),
                ..words::Group::default()
            };
            group.changes = task.marks(&built);
            if task.is_speechless(&built) {
                return Ok(group);
            }
            let intended = task.intend(&built).await;
            let Some(intent) = intended.map_err(|fault| unclear(fault.to_string()))? else {
                continue;
            };
            let observed = &task.memory.observed;
            let plan = plan::group::plan(&intent, observed, &task.readiness);
            group
                .changes
                .extend(plan.steps.iter().map(|step| words::change(step, observed)));
            group.waits = plan.waits.iter().map(ToString::to_string).collect();
            let due = task.due_bindings(&intent);
            let of = |binding: &ObjectKey| Object::Binding(binding.clone());
            let written = due
                .written
                .keys()
                .map(|key| Change::in_kubernetes("apply", format!("{} is written", of(key))));
            let deleted = due
                .deleted
                .iter()
                .map(|key| Change::in_kubernetes("delete", format!("{} is deleted", of(key))));
            group.changes.extend(written.chain(deleted));
            return Ok(group);
        }
        Err(unclear("what its Ingresses wish does not settle".to_owned()))
    }

    /// Adds what would be done about the targets of a binding to its group.
    async fn preview_binding(&self, binding: &TargetGroupBinding, preview: &mut Preview) -> Result<(), Unclear> {
        let object = Object::Binding(binding.key.clone());
        let Some(key) = &binding.group else {
            let what = format!("{object}, which no Ingress made: its targets are not kept up to date");
            preview.unattended.push(what);
            return Ok(());
        };
        let aim = match self.aim(binding).await {
            Ok(aim) => aim,
            Err(Outcome::Failed { why }) => return Err(unclear(object)(why)),
            Err(Outcome::Denied(lack)) => return Err(unclear(object)(lack.to_string())),
            // Its target group is gone, or its Service cannot have targets: its Ingress is told.
            Err(_) => return Ok(()),
        };
        let changes = aim.steps.iter().map(|step| words::change(step, &Observed::default()));
        let name = key.to_string();
        match preview.groups.iter_mut().find(|group| group.group == name) {
            Some(group) => group.changes.extend(changes),
            None => preview.shared.extend(changes),
        }
        Ok(())
    }
}

impl Task<'_> {
    /// Finalizers that Ingresses would get or lose.
    fn marks(&self, built: &Built) -> Vec<Change> {
        let finalizer = self.key.finalizer();
        let claimed = self.unclaimed(built).into_iter().map(|member| (member, "gets"));
        let left = built.leaving.iter().map(|member| (member, "loses, in the end,"));
        let change = |(member, verb): (&ObjectKey, &str)| {
            let object = Object::Ingress(member.clone());
            Change::in_kubernetes("patch", format!("{object} {verb} the finalizer {finalizer}"))
        };
        claimed.chain(left).map(change).collect()
    }
}
