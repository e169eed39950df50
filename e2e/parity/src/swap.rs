//! The swap: what ALBC left behind is found by albacore, which waits for its turn, takes over and changes nothing.
//!
//! ```text
//! manifests ─► API server ◄── finalizers, status, bindings as recorded       another process holds the Lease
//! recorded calls ─► AWS double                                                        │ lets go
//!                                          albacore stands by, calls nothing ─────────▼─► leads: no write
//!                                                            … and deletes everything when it is asked to
//! ```
//! `swap.json` lists the cases in which something is written, what, and why.

use crate::{
    bed::{Bed, namespaces},
    case::{Action, Case, Step},
    checkpoint,
    compare::compare,
    names::Names,
    normal,
    replay::Replay,
    run::{self, Held, Outcome, Seen, any_pod},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Where both controllers take turns.
const LEASE: &str = "aws-load-balancer-controller-leader";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "kube-system";
/// What ALBC's pod calls itself in it.
const OTHER: &str = "aws-load-balancer-controller-6d9f7c5b8-x2x4z_1b0c0ad2-8a51-4c53-9d0e-3f6f3d1c9a77";

/// Cases in which something is written after all.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Expected {
    cases: BTreeMap<String, Exception>,
}

/// What albacore does not leave as ALBC left it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Exception {
    /// Operations, in the order of the alphabet.
    #[serde(default)]
    writes: Vec<String>,
    /// Places that differ afterwards, as this program names them.
    #[serde(default)]
    differs: Vec<String>,
    /// What was recorded cannot be brought about.
    #[serde(default)]
    not_loaded: bool,
    /// Why, as a fact that the case's files show.
    reason: String,
}

impl Expected {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read: Self = serde_json::from_str(&text).with_context(|| format!("{} lists no cases", path.display()))?;
        if let Some((case, _)) = read.cases.iter().find(|(_, exception)| exception.reason.is_empty()) {
            bail!("{}: {case} has no reason", path.display());
        }
        Ok(read)
    }
}

/// Swaps the controllers of one case.
pub async fn run(bed: &mut Bed, case: &Case, expected: &Expected) -> Outcome {
    let exception = expected.cases.get(&case.name);
    let mut outcome = Outcome::new(case, exception.map(|e| e.reason.clone()).into_iter().collect());
    let swapped = match load(bed, case).await {
        Ok(_) if exception.is_some_and(|exception| exception.not_loaded) => Err(anyhow!(
            "what was recorded can be brought about: swap.json says that it cannot"
        )),
        Ok(seen) => swap(bed, case, exception, seen, &mut outcome).await,
        Err(_) if exception.is_some_and(|exception| exception.not_loaded) => Ok(()),
        Err(error) => Err(error),
    };
    let cleared = clear(bed, case).await;
    if let Err(error) = swapped.and(cleared) {
        outcome.broken = Some(format!("{error:#}"));
    }
    for place in exception.iter().flat_map(|exception| &exception.differs) {
        let before = outcome.differences.len();
        outcome
            .differences
            .retain(|(part, difference)| format!("{part}: {}", difference.path.join(" › ")) != *place);
        if outcome.differences.len() == before && outcome.broken.is_none() {
            outcome.broken = Some(format!("{place} does not differ, as swap.json says"));
        }
    }
    outcome
}

async fn swap(
    bed: &mut Bed,
    case: &Case,
    exception: Option<&Exception>,
    mut seen: Seen,
    outcome: &mut Outcome,
) -> Result<()> {
    let before = held(bed, case).await?;

    hold(bed).await?;
    bed.double().clear_journal();
    bed.start_standby(&case.name).await?;
    ensure!(bed.calls().is_empty(), "a standby called AWS: {:?}", bed.calls());
    let (code, told) = bed.check().await?;
    let said = operations(&told);
    let leases: Api<Lease> = Api::namespaced(bed.client(), NAMESPACE);
    let held_by_other = leases.get(LEASE).await?;
    let patch = json!({ "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 } });
    leases
        .patch(LEASE, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let looked = bed.double().journal();
    bed.double().clear_journal();
    bed.await_leader().await?;
    bed.settle().await?;

    let journal = bed.double().journal();
    ensure!(looked.iter().all(|call| call.read), "a check wrote to AWS: {looked:?}");
    outcome.calls.push(("checked".to_owned(), looked.len()));
    outcome.calls.push(("taken over".to_owned(), journal.len()));
    let mut writes: Vec<&str> = journal
        .iter()
        .filter(|call| !call.read)
        .map(|call| call.operation.as_str())
        .collect();
    writes.sort_unstable();
    let allowed = exception.map(|exception| exception.writes.clone()).unwrap_or_default();
    outcome.note("taken over", "writes", &json!(allowed), &json!(writes));
    outcome.note("checked", "writes", &json!(allowed), &json!(said));
    let mut groups = told["groups"].as_array().into_iter().flatten();
    let quiet = |group: &Value| {
        ["changes", "waits", "problems"]
            .iter()
            .all(|part| group[*part] == json!([]))
    };
    let nothing = groups.all(quiet) && ["shared", "unattended"].iter().all(|part| told[*part] == json!([]));
    outcome.note("checked", "exit code", &json!(i32::from(!nothing)), &json!(code));
    outcome.note("taken over", "Kubernetes", &before, &held(bed, case).await?);
    outcome.note(
        "taken over",
        "Lease",
        &as_client_go_writes(&held_by_other),
        &shape(&leases.get(LEASE).await?),
    );

    if let Some(step) = case.steps.iter().find(|step| step.action == Action::Delete) {
        bed.perform(case, step).await?;
        run::judge(bed, case, step, &mut seen, outcome).await?;
    }
    Ok(())
}

/// Brings everything into the state that ALBC had left before the case's objects were deleted.
async fn load(bed: &mut Bed, case: &Case) -> Result<Seen> {
    bed.reset().await?;
    let (mut seen, mut replay) = (Seen::default(), Replay::default());
    let mut names = Names::default();
    let mut state = Value::Null;
    let steps: Vec<&Step> = case.steps.iter().filter(|step| step.action != Action::Delete).collect();
    for step in &steps {
        bed.perform(case, step).await?;
        bed.await_rollouts(case).await?;
        bed.await_endpoints(case).await?;
        let held = Held::read(bed.client(), &namespaces(case)?).await?;
        names = run::names(bed, case, &held, &state, &mut seen);
        replay.name_pods(&case.recorded(&step.name, "state.json")?, &held.pods);
        replay
            .step(bed.double(), &names, &case.recorded(&step.name, "calls.json")?)
            .await
            .with_context(|| format!("what was recorded of {}", step.name))?;
        state = bed.state().await?;
        names = run::names(bed, case, &held, &state, &mut seen);
        mark_ingresses(bed, case, &replay, &case.recorded(&step.name, "kube.json")?).await?;
        bed.await_ended_namespaces().await?;
    }
    let step = steps.last().context("a case has a step")?;
    let (wanted, kube) = (
        case.recorded(&step.name, "state.json")?,
        case.recorded(&step.name, "kube.json")?,
    );
    make_bindings(bed, case, &replay, &kube, &state).await?;

    let held = Held::read(bed.client(), &namespaces(case)?).await?;
    let of_aws = compare(
        &any_pod(&normal::state(&wanted, &step.written)),
        &any_pod(&normal::state(&names.apply(&state), &step.written)),
    );
    let of_kube = compare(
        &normal::kube(&kube),
        &normal::kube(&held.marked(&state, &names, &BTreeSet::new())),
    );
    match of_aws.first().or(of_kube.first()) {
        Some(difference) => bail!("what was recorded cannot be brought about: {difference}"),
        None => Ok(seen),
    }
}

/// Finalizers and status as ALBC left them. Ingresses that it had let go of by then have none, so that those that are
/// being deleted go.
async fn mark_ingresses(bed: &Bed, case: &Case, replay: &Replay, kube: &Value) -> Result<()> {
    let patch = PatchParams::default();
    let held = held(bed, case).await?;
    for key in held["ingresses"].as_object().into_iter().flat_map(|held| held.keys()) {
        let (namespace, name) = key.split_once('/').context("a key is a namespace and a name")?;
        let api: Api<DynamicObject> = Api::namespaced_with(bed.client(), namespace, &run::ingresses());
        let recorded = &kube["ingresses"][key];
        let mark = json!({ "metadata": { "finalizers": recorded["finalizers"] } });
        api.patch(name, &patch, &Patch::Merge(mark)).await?;
        if recorded.is_null() {
            continue;
        }
        let status = replay
            .resolved(&recorded["status"])
            .context("a status names what was made")?;
        api.patch_status(name, &patch, &Patch::Merge(json!({ "status": status })))
            .await?;
    }
    Ok(())
}

/// Bindings as ALBC left them.
async fn make_bindings(bed: &Bed, case: &Case, replay: &Replay, kube: &Value, state: &Value) -> Result<()> {
    let created = Held::read(bed.client(), &namespaces(case)?).await?.created;
    let patch = PatchParams::default();
    for (key, recorded) in kube["targetGroupBindings"].as_object().into_iter().flatten() {
        let key = replay.resolved(&json!(key)).context("a key is known")?;
        let (namespace, name) = key.as_str().and_then(|key| key.split_once('/')).context("a key")?;
        let resource = run::bindings();
        let api: Api<DynamicObject> = Api::namespaced_with(bed.client(), namespace, &resource);
        let mut object = DynamicObject::new(name, &resource);
        object.metadata.labels = serde_json::from_value(recorded["labels"].clone())?;
        object.metadata.finalizers = serde_json::from_value(recorded["finalizers"].clone())?;
        object.data = json!({ "spec": replay.resolved(&recorded["spec"]).context("a spec is known")? });
        let made = api.create(&PostParams::default(), &object).await?;
        if recorded["annotations"].get(checkpoint::CHECKPOINT).is_some() {
            let spec = &made.data["spec"];
            let mark = checkpoint::of(spec, run::targets_of(state, spec), &created);
            let seconds = jiff::Timestamp::now().as_second().to_string();
            let annotations = json!({ checkpoint::CHECKPOINT: mark, checkpoint::TIMESTAMP: seconds });
            let mark = json!({ "metadata": { "annotations": annotations } });
            api.patch(name, &patch, &Patch::Merge(mark)).await?;
        }
        let status = json!({ "status": { "observedGeneration": made.metadata.generation } });
        if recorded["status"]["observedGeneration"] == recorded["generation"] {
            api.patch_status(name, &patch, &Patch::Merge(status)).await?;
        }
    }
    Ok(())
}

/// Operations that a check says would be called, in the order of the alphabet.
fn operations(told: &Value) -> Vec<String> {
    let groups = told["groups"].as_array().into_iter().flatten();
    let changes = groups.map(|group| &group["changes"]).chain([&told["shared"]]);
    let changes = changes.flat_map(|changes| changes.as_array().into_iter().flatten());
    let operations = changes.filter_map(|change| change["operation"].as_str());
    let mut of_aws: Vec<String> = operations
        .filter(|o| !o.starts_with("Kubernetes"))
        .map(str::to_owned)
        .collect();
    of_aws.sort_unstable();
    of_aws
}

/// Every field of the case's Ingresses and bindings.
async fn held(bed: &Bed, case: &Case) -> Result<Value> {
    Ok(Held::read(bed.client(), &namespaces(case)?).await?.kube)
}

/// ALBC holds the Lease: as client-go writes it, for fifteen seconds.
async fn hold(bed: &Bed) -> Result<()> {
    let now = MicroTime(jiff::Timestamp::now());
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(OTHER.to_owned()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }),
    };
    let leases: Api<Lease> = Api::namespaced(bed.client(), NAMESPACE);
    leases.create(&PostParams::default(), &lease).await?;
    Ok(())
}

/// A Lease after the next client-go process took it over.
fn as_client_go_writes(before: &Lease) -> Value {
    let mut next = shape(before);
    next["transitions"] = json!(
        before
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_transitions)
            .map(|n| n + 1)
    );
    next
}

/// What a Lease says, but for who and when.
fn shape(lease: &Lease) -> Value {
    let spec = lease.spec.clone().unwrap_or_default();
    let mut fields: Vec<String> = json!(spec)
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys().cloned())
        .collect();
    fields.sort();
    json!({
        "fields": fields,
        "duration": spec.lease_duration_seconds,
        "transitions": spec.lease_transitions,
        "held": spec.holder_identity.is_some_and(|holder| !holder.is_empty()),
    })
}

/// Leaves nothing for the next case, whatever happened.
async fn clear(bed: &mut Bed, case: &Case) -> Result<()> {
    bed.stop_controller().await?;
    for namespace in namespaces(case)? {
        for resource in [run::ingresses(), run::bindings()] {
            let api: Api<DynamicObject> = Api::namespaced_with(bed.client(), &namespace, &resource);
            for object in api.list(&ListParams::default()).await? {
                let free = json!({ "metadata": { "finalizers": null } });
                api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(free))
                    .await?;
                // One that was being deleted is gone with its last finalizer.
                drop(api.delete(&object.name_any(), &DeleteParams::default()).await);
            }
        }
    }
    bed.forget_albacore().await
}
