//! What the controller leans on in an API server, checked against the in-memory one and against a real one alike.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{coordination::v1::Lease, networking::v1::Ingress};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use std::fmt::Debug;

/// A fact about API servers that does not hold.
#[derive(Debug)]
pub struct Broken(pub String);

impl From<kube::Error> for Broken {
    fn from(error: kube::Error) -> Self {
        Self(error.to_string())
    }
}

fn check(holds: bool, fact: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(fact.to_owned())) }
}

fn refused<T: Debug>(answer: kube::Result<T>, code: u16, reason: &str) -> Result<(), Broken> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == code && status.reason == reason => Ok(()),
        other => Err(Broken(format!("expected {code} {reason}, got {other:?}"))),
    }
}

fn ingress(name: &str) -> Ingress {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "annotations": { "keep": "1" } },
        "spec": { "ingressClassName": "alb", "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } },
    }))
    .expect("an Ingress")
}

/// Runs every check in `namespace`, which exists and is otherwise empty.
///
/// # Errors
/// The first fact that does not hold.
pub async fn check_all(client: Client, namespace: &str) -> Result<(), Broken> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    objects_are_guarded_by_their_resource_version(&ingresses).await?;
    a_status_is_changed_through_its_subresource_only(&ingresses).await?;
    an_object_with_a_finalizer_is_marked_before_it_goes(&ingresses).await?;
    a_watch_tells_every_change_in_order(&ingresses).await?;
    a_list_comes_in_pages(&ingresses).await?;
    a_lease_has_one_writer(&Api::namespaced(client, namespace)).await
}

async fn objects_are_guarded_by_their_resource_version(api: &Api<Ingress>) -> Result<(), Broken> {
    let made = api.create(&PostParams::default(), &ingress("guarded")).await?;
    refused(
        api.create(&PostParams::default(), &ingress("guarded")).await,
        409,
        "AlreadyExists",
    )?;
    refused(api.get("absent").await, 404, "NotFound")?;

    let mut changed = made.clone();
    changed.annotations_mut().insert("a".into(), "b".into());
    let changed = api.replace("guarded", &PostParams::default(), &changed).await?;
    check(
        changed.resource_version() != made.resource_version(),
        "a change makes a new resource version",
    )?;
    check(
        changed.meta().generation == made.meta().generation,
        "an annotation does not change the generation",
    )?;
    refused(
        api.replace("guarded", &PostParams::default(), &made).await,
        409,
        "Conflict",
    )?;

    let stale = json!({ "metadata": { "resourceVersion": made.resource_version(), "annotations": { "x": "y" } } });
    refused(
        api.patch("guarded", &PatchParams::default(), &Patch::Merge(stale))
            .await,
        409,
        "Conflict",
    )?;

    let nothing = json!({ "metadata": { "annotations": { "a": "b" } } });
    let same = api
        .patch("guarded", &PatchParams::default(), &Patch::Merge(nothing))
        .await?;
    check(
        same.resource_version() == changed.resource_version(),
        "a patch that changes nothing makes no revision",
    )?;

    let removal = json!({ "metadata": { "annotations": { "a": null } }, "spec": { "ingressClassName": "other" } });
    let patched = api
        .patch("guarded", &PatchParams::default(), &Patch::Merge(removal))
        .await?;
    check(
        !patched.annotations().contains_key("a"),
        "null in a merge patch removes a key",
    )?;
    check(
        patched.annotations().contains_key("keep"),
        "a merge patch leaves other keys alone",
    )?;
    check(
        patched.meta().generation > made.meta().generation,
        "a changed spec raises the generation",
    )?;
    api.delete("guarded", &DeleteParams::default()).await?;
    refused(api.get("guarded").await, 404, "NotFound")
}

async fn a_status_is_changed_through_its_subresource_only(api: &Api<Ingress>) -> Result<(), Broken> {
    let made = api.create(&PostParams::default(), &ingress("status")).await?;
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "hostname": "a.example" }] } } });
    let hostname = |i: &Ingress| {
        let entry = i.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
        entry.hostname.clone()
    };
    let ignored = api
        .patch("status", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    check(
        hostname(&ignored).is_none(),
        "a patch of the object does not change its status",
    )?;
    let set = api
        .patch_status("status", &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    check(
        hostname(&set).as_deref() == Some("a.example"),
        "a patch of the status does",
    )?;
    check(
        set.meta().generation == made.meta().generation,
        "a status does not change the generation",
    )?;
    api.delete("status", &DeleteParams::default()).await?;
    Ok(())
}

async fn an_object_with_a_finalizer_is_marked_before_it_goes(api: &Api<Ingress>) -> Result<(), Broken> {
    let mut object = ingress("final");
    object.metadata.finalizers = Some(vec!["example.com/a".into(), "example.com/b".into()]);
    api.create(&PostParams::default(), &object).await?;
    api.delete("final", &DeleteParams::default()).await?;
    let marked = api.get("final").await?;
    check(
        marked.metadata.deletion_timestamp.is_some(),
        "a deleted object with finalizers is marked",
    )?;
    let one = json!({ "metadata": { "finalizers": ["example.com/b"] } });
    api.patch("final", &PatchParams::default(), &Patch::Merge(one)).await?;
    api.get("final").await?;
    let none = json!({ "metadata": { "finalizers": null } });
    api.patch("final", &PatchParams::default(), &Patch::Merge(none)).await?;
    refused(api.get("final").await, 404, "NotFound")
}

async fn a_watch_tells_every_change_in_order(api: &Api<Ingress>) -> Result<(), Broken> {
    let from = api
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    api.create(&PostParams::default(), &ingress("seen")).await?;
    let touch = json!({ "metadata": { "annotations": { "touched": "1" } } });
    api.patch("seen", &PatchParams::default(), &Patch::Merge(touch)).await?;
    api.delete("seen", &DeleteParams::default()).await?;
    let events: Vec<WatchEvent<Ingress>> = api
        .watch(&WatchParams::default().timeout(10), &from)
        .await?
        .take(3)
        .try_collect()
        .await?;
    let told: Vec<&str> = events
        .iter()
        .map(|event| match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            _ => "other",
        })
        .collect();
    check(
        told == ["added", "modified", "deleted"],
        &format!("a watch tells what happened since, got {told:?}"),
    )
}

async fn a_list_comes_in_pages(api: &Api<Ingress>) -> Result<(), Broken> {
    for n in 0..5 {
        api.create(&PostParams::default(), &ingress(&format!("page-{n}")))
            .await?;
    }
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let mut params = ListParams::default().limit(2);
        params.continue_token = token;
        let page = api.list(&params).await?;
        check(page.items.len() <= 2, "a page is no longer than its limit")?;
        names.extend(page.items.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_.filter(|t| !t.is_empty());
        if token.is_none() {
            break;
        }
    }
    check(
        names == ["page-0", "page-1", "page-2", "page-3", "page-4"],
        &format!("all pages make the list: {names:?}"),
    )?;
    for name in names {
        api.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn a_lease_has_one_writer(api: &Api<Lease>) -> Result<(), Broken> {
    let lease: Lease = serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "leader" }, "spec": { "holderIdentity": "a", "leaseDurationSeconds": 15 },
    }))
    .expect("a Lease");
    let made = api.create(&PostParams::default(), &lease).await?;
    let mut mine = made.clone();
    let mut theirs = made;
    mine.spec.as_mut().expect("a spec").holder_identity = Some("b".into());
    theirs.spec.as_mut().expect("a spec").holder_identity = Some("c".into());
    api.replace("leader", &PostParams::default(), &mine).await?;
    refused(
        api.replace("leader", &PostParams::default(), &theirs).await,
        409,
        "Conflict",
    )?;
    api.delete("leader", &DeleteParams::default()).await?;
    Ok(())
}
