//! Runs cases one after another and says how they differ.

use crate::{
    bed::{Bed, drifts, namespaces},
    case::{Case, Step},
    checkpoint::{self, CHECKPOINT, TIMESTAMP},
    compare::{Difference, compare},
    names::Names,
    normal,
};
use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};
use tokio::time::Instant;

/// Differences that are still there after this are reported.
const LASTING: Duration = Duration::from_secs(10);

/// How a case went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// Where it differs, by step; empty for a case that is alike.
    pub differences: Vec<(String, Difference)>,
    /// What went wrong with the run itself.
    pub broken: Option<String>,
    /// AWS calls of each step.
    pub calls: Vec<(String, usize)>,
    /// Steps whose expectation is albacore's own.
    pub own: Vec<String>,
}

impl Outcome {
    /// Of a case that has not begun.
    pub(crate) fn new(case: &Case, own: Vec<String>) -> Self {
        Self {
            case: case.name.clone(),
            differences: Vec::new(),
            broken: None,
            calls: Vec::new(),
            own,
        }
    }

    /// Notes how `actual` differs from what is expected.
    pub(crate) fn note(&mut self, step: &str, part: &str, expected: &Value, actual: &Value) {
        let found = compare(expected, actual).into_iter();
        self.differences
            .extend(found.map(|difference| (format!("{step} {part}"), difference)));
    }
}

/// Runs one case.
pub async fn run(bed: &mut Bed, case: &Case) -> Outcome {
    let own = case.steps.iter().filter(|step| step.own).map(|step| step.name.clone());
    let mut outcome = Outcome::new(case, own.collect());
    if let Err(error) = try_run(bed, case, &mut outcome).await {
        outcome.broken = Some(format!("{error:#}"));
    }
    if let Err(error) = bed.stop_controller().await {
        outcome.broken.get_or_insert(format!("{error:#}"));
    }
    outcome
}

async fn try_run(bed: &mut Bed, case: &Case, outcome: &mut Outcome) -> Result<()> {
    bed.reset().await?;
    if !case.starts_late {
        bed.start_controller(&case.name).await?;
    }
    let mut seen = Seen::default();
    let mut before = 0;
    for step in &case.steps {
        bed.perform(case, step).await?;
        if case.starts_late && step.name == "step1" {
            bed.start_controller(&case.name).await?;
        }
        judge(bed, case, step, &mut seen, outcome).await?;
        let calls: usize = bed.calls().values().sum();
        outcome.calls.push((step.name.clone(), calls - before));
        before = calls;
    }
    Ok(())
}

/// What was there in any step so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// UIDs of Services, oldest first.
    uids: BTreeMap<String, Vec<String>>,
    /// DNS names of load balancers.
    dns_names: BTreeMap<String, String>,
    /// Marks of bindings that held when they were first seen.
    marks: BTreeSet<String>,
}

/// The names that the recordings have for what is there now.
pub(crate) fn names(bed: &Bed, case: &Case, held: &Held, state: &Value, seen: &mut Seen) -> Names {
    for (service, uid) in &held.services {
        let known = seen.uids.entry(service.clone()).or_default();
        if !known.contains(uid) {
            known.push(uid.clone());
        }
    }
    let mut names = Names::default();
    names.add_world(&bed.aliases);
    names.add_hashes(&case.names, &seen.uids);
    for (pod, address) in &held.pods {
        names.add_pod(pod, address);
    }
    names.add_made(state);
    names.add_gone(&seen.dns_names);
    seen.dns_names.extend(
        names
            .dns_names()
            .map(|(dns, placeholder)| (dns.clone(), placeholder.clone())),
    );
    names
}

/// Notes how what is there differs once AWS is not called any more. On a busy machine albacore may have paused in the
/// middle of its work: what differs counts when it still does after a while.
pub(crate) async fn judge(
    bed: &mut Bed,
    case: &Case,
    step: &Step,
    seen: &mut Seen,
    outcome: &mut Outcome,
) -> Result<()> {
    let since = Instant::now();
    let found = loop {
        bed.settle().await?;
        let found = differences(bed, case, step, seen).await?;
        if found.is_empty() || since.elapsed() > LASTING {
            break found;
        }
    };
    let named = |(part, difference)| (format!("{} {part}", step.name), difference);
    outcome.differences.extend(found.into_iter().map(named));
    Ok(())
}

async fn differences(
    bed: &mut Bed,
    case: &Case,
    step: &Step,
    seen: &mut Seen,
) -> Result<Vec<(&'static str, Difference)>> {
    let state = bed.state().await?;
    let held = Held::read(bed.client(), &namespaces(case)?).await?;
    let names = names(bed, case, &held, &state, seen);
    // A mark outlives what somebody does to the targets by hand.
    let older = if drifts(case)? {
        seen.marks.clone()
    } else {
        BTreeSet::new()
    };
    seen.marks.extend(held.marks(&state));
    let (kube, state) = (held.marked(&state, &names, &older), names.apply(&state));
    let of_state = compare(
        &any_pod(&normal::state(&step.state, &step.written)),
        &any_pod(&normal::state(&state, &step.written)),
    );
    let of_kube = compare(&normal::kube(&step.kube), &normal::kube(&kube));
    if let Some(expected) = &bed.accept {
        let folder = expected.join(&case.name).join(&step.name);
        for (name, differs, got) in [
            ("state.json", &of_state, &any_pod(&state)),
            ("kube.json", &of_kube, &kube),
        ] {
            if !differs.is_empty() {
                fs::create_dir_all(&folder)?;
                fs::write(folder.join(name), serde_json::to_string_pretty(got)? + "\n")?;
            }
        }
    }
    Ok(of_state
        .into_iter()
        .map(|d| ("AWS", d))
        .chain(of_kube.into_iter().map(|d| ("Kubernetes", d)))
        .collect())
}

/// Pods of a Deployment have random names; the recordings number them (`web-pod1`). One is as good as another.
pub(crate) fn any_pod(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.split_once("-pod") {
            Some((before, after)) if text.starts_with("{ip:") && after.trim_end_matches('}').parse::<u32>().is_ok() => {
                Value::String(format!("{before}-pod}}"))
            }
            _ => value.clone(),
        },
        Value::Array(list) => Value::Array(list.iter().map(any_pod).collect()),
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), any_pod(v))).collect()),
        other => other.clone(),
    }
}

/// What Kubernetes holds in the namespaces of a case.
pub(crate) struct Held {
    /// In the form of the recordings.
    pub kube: Value,
    /// Name and address.
    pub pods: Vec<(String, String)>,
    /// `namespace/name` and UID.
    pub services: Vec<(String, String)>,
    /// When pods (by address) and nodes (by instance) were made, in seconds since 1970.
    pub created: BTreeMap<String, i64>,
}

impl Held {
    pub async fn read(client: kube::Client, namespaces: &[String]) -> Result<Self> {
        let (mut ingresses, mut bindings) = (Map::new(), Map::new());
        let (mut pods, mut services) = (Vec::new(), Vec::new());
        let mut created = BTreeMap::new();
        for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await? {
            let instance = node
                .spec
                .as_ref()
                .and_then(|spec| spec.provider_id.as_deref()?.rsplit('/').next());
            created.extend(instance.map(|instance| (instance.to_owned(), made(&node))));
        }
        for namespace in namespaces {
            for (resource, into) in [(self::ingresses(), &mut ingresses), (self::bindings(), &mut bindings)] {
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
                for object in api.list(&ListParams::default()).await? {
                    into.insert(format!("{namespace}/{}", object.name_any()), recorded(&object));
                }
            }
            for pod in Api::<Pod>::namespaced(client.clone(), namespace)
                .list(&ListParams::default())
                .await?
            {
                let owner = pod.owner_references().first().map(|owner| owner.name.clone());
                let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
                let name = match owner.as_deref().and_then(|replica_set| replica_set.rsplit_once('-')) {
                    Some((deployment, _)) => format!("{deployment}-pod0"),
                    None => pod.name_any(),
                };
                created.extend(address.clone().map(|address| (address, made(&pod))));
                pods.extend(address.map(|address| (name, address)));
            }
            for service in Api::<Service>::namespaced(client.clone(), namespace)
                .list(&ListParams::default())
                .await?
            {
                services.push((
                    format!("{namespace}/{}", service.name_any()),
                    service.uid().unwrap_or_default(),
                ));
            }
        }
        Ok(Self {
            kube: json!({ "ingresses": ingresses, "targetGroupBindings": bindings }),
            pods,
            services,
            created,
        })
    }

    /// The mark that ALBC would put on each binding of this state.
    fn marks(&self, state: &Value) -> Vec<String> {
        let bindings = self.kube["targetGroupBindings"].as_object().into_iter().flatten();
        let specs = bindings.map(|(_, binding)| &binding["spec"]);
        specs
            .map(|spec| checkpoint::of(spec, targets_of(state, spec), &self.created))
            .collect()
    }

    /// With the names of the recordings, which have one for the mark that ALBC would put on a binding of this state, or has
    /// put there before (`older`), and one for a moment.
    pub fn marked(&self, state: &Value, names: &Names, older: &BTreeSet<String>) -> Value {
        let mut kube = self.kube.clone();
        let marks = self.marks(state);
        let bindings = kube["targetGroupBindings"].as_object_mut().into_iter().flatten();
        for ((_, binding), mark) in bindings.zip(&marks) {
            let Some(annotations) = binding["annotations"].as_object_mut() else {
                continue;
            };
            for (key, value) in annotations {
                let text = value.as_str().unwrap_or_default();
                match key.as_str() {
                    CHECKPOINT if text == mark || older.contains(text) => *value = json!("{checkpoint}"),
                    TIMESTAMP if text.parse::<u32>().is_ok() => *value = json!("{timestamp}"),
                    _ => {}
                }
            }
        }
        names.apply(&kube)
    }
}

/// The targets of the target group that a binding names.
pub(crate) fn targets_of<'s>(state: &'s Value, binding: &Value) -> &'s Value {
    let groups = state["targetGroups"].as_array().into_iter().flatten();
    let mut bound = groups.filter(|group| group["arn"] == binding["targetGroupARN"]);
    bound.next().map_or(&Value::Null, |group| &group["targets"])
}

/// When an object was made, in seconds since 1970.
fn made(object: &impl ResourceExt) -> i64 {
    object
        .creation_timestamp()
        .map(|time| time.0.as_second())
        .unwrap_or_default()
}

pub(crate) fn ingresses() -> ApiResource {
    resource("networking.k8s.io", "v1", "Ingress", "ingresses")
}

pub(crate) fn bindings() -> ApiResource {
    resource("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding", "targetgroupbindings")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: format!("{group}/{version}"),
        kind: kind.into(),
        plural: plural.into(),
    }
}

fn recorded(object: &DynamicObject) -> Value {
    json!({
        "labels": object.metadata.labels,
        "annotations": object.metadata.annotations,
        "finalizers": object.metadata.finalizers.clone().unwrap_or_default(),
        "spec": object.data["spec"],
        "status": object.data["status"],
        "generation": object.metadata.generation,
        "deleting": object.metadata.deletion_timestamp.is_some(),
    })
}
