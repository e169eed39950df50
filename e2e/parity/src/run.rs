//! Runs cases one after another and says how they differ.

use crate::{
    bed::{Bed, namespaces},
    case::Case,
    compare::{Difference, compare},
    names::Names,
    normal,
};
use anyhow::Result;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs};

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

/// Runs one case.
pub async fn run(bed: &mut Bed, case: &Case) -> Outcome {
    let mut outcome = Outcome {
        case: case.name.clone(),
        differences: Vec::new(),
        broken: None,
        calls: Vec::new(),
        own: case
            .steps
            .iter()
            .filter(|step| step.own)
            .map(|step| step.name.clone())
            .collect(),
    };
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
        bed.settle().await?;
        let calls: usize = bed.calls().values().sum();
        outcome.calls.push((step.name.clone(), calls - before));
        before = calls;
        for (part, difference) in differences(bed, case, step, &mut seen).await? {
            outcome.differences.push((format!("{} {part}", step.name), difference));
        }
    }
    Ok(())
}

/// What was there in any step so far.
#[derive(Default)]
struct Seen {
    /// UIDs of Services, oldest first.
    uids: BTreeMap<String, Vec<String>>,
    /// DNS names of load balancers.
    dns_names: BTreeMap<String, String>,
}

async fn differences(
    bed: &mut Bed,
    case: &Case,
    step: &crate::case::Step,
    seen: &mut Seen,
) -> Result<Vec<(&'static str, Difference)>> {
    let state = bed.state().await?;
    let held = Held::read(bed.client(), &namespaces(case)?).await?;
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
    names.add_made(&state);
    names.add_gone(&seen.dns_names);
    seen.dns_names.extend(
        names
            .dns_names()
            .map(|(dns, placeholder)| (dns.clone(), placeholder.clone())),
    );
    let (state, kube) = (names.apply(&state), names.apply(&held.kube));
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
fn any_pod(value: &Value) -> Value {
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
struct Held {
    /// In the form of the recordings.
    kube: Value,
    /// Name and address.
    pods: Vec<(String, String)>,
    /// `namespace/name` and UID.
    services: Vec<(String, String)>,
}

impl Held {
    async fn read(client: kube::Client, namespaces: &[String]) -> Result<Self> {
        let (mut ingresses, mut bindings) = (Map::new(), Map::new());
        let (mut pods, mut services) = (Vec::new(), Vec::new());
        for namespace in namespaces {
            for (resource, into) in [
                (
                    resource("networking.k8s.io", "v1", "Ingress", "ingresses"),
                    &mut ingresses,
                ),
                (
                    resource("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding", "targetgroupbindings"),
                    &mut bindings,
                ),
            ] {
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
        })
    }
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
