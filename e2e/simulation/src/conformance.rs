//! What the controller leans on in an API server, checked against the in-memory one and against a real one alike.
//!
//! ```text
//! simulation, tests/api.rs ──────► check_all ◄────── scenarios, on kube-apiserver
//! ```
//! A fact that only one of them keeps is no fact: either it goes from here, or the in-memory server learns it.

use futures::{Stream, StreamExt};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Event, networking::v1::Ingress};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use std::{
    fmt::{Debug, Display, Formatter},
    pin::pin,
    time::Duration,
};
use tokio::time::timeout;

/// How long a watch may take to tell what has happened.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fact about API servers that does not hold.
#[derive(Debug)]
pub struct Broken(pub String);

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

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

/// The next event of a watch, bookmarks left out.
async fn next<K: Clone>(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin),
) -> Result<WatchEvent<K>, Broken> {
    loop {
        let event = timeout(PATIENCE, events.next())
            .await
            .map_err(|_| Broken(format!("a watch tells nothing within {PATIENCE:?}")))?;
        match event.ok_or_else(|| Broken("a watch ends before it has told everything".to_owned()))?? {
            WatchEvent::Bookmark(_) => {}
            event => return Ok(event),
        }
    }
}

async fn merge(api: &Api<Ingress>, name: &str, patch: &Value) -> kube::Result<Ingress> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

fn class(ingress: &Ingress) -> Option<&str> {
    ingress.spec.as_ref()?.ingress_class_name.as_deref()
}

fn hostname(ingress: &Ingress) -> Option<&str> {
    let entry = ingress
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?
        .first()?;
    entry.hostname.as_deref()
}

fn ingress(name: &str) -> Ingress {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "annotations": { "keep": "1" } },
        "spec": { "ingressClassName": "nobody", "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } },
    }))
    .expect("an Ingress")
}

/// Runs every check in `namespace`, which exists and is otherwise empty; nothing is left in it when all facts hold.
/// `forget` makes the server forget every revision before the one it is given.
///
/// # Errors
/// The first fact that does not hold.
pub async fn check_all(
    client: Client,
    namespace: &str,
    forget: impl AsyncFn(&str) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    objects_are_guarded_by_their_resource_version(&ingresses).await?;
    what_is_not_there_is_not_found(&ingresses).await?;
    the_generation_rises_with_the_spec_only(&ingresses).await?;
    a_status_is_changed_through_its_subresource_only(&ingresses).await?;
    an_object_with_a_finalizer_is_marked_before_it_goes(&ingresses).await?;
    a_watch_tells_every_change_in_order(&ingresses).await?;
    a_watch_from_nowhere_begins_with_what_is_there(&ingresses).await?;
    the_pages_of_a_list_are_of_one_moment(&ingresses).await?;
    a_lease_has_one_writer(&Api::namespaced(client.clone(), namespace)).await?;
    what_is_forgotten_is_expired(&Api::namespaced(client, namespace), forget).await
}

async fn objects_are_guarded_by_their_resource_version(api: &Api<Ingress>) -> Result<(), Broken> {
    let made = api.create(&PostParams::default(), &ingress("guarded")).await?;
    refused(
        api.create(&PostParams::default(), &ingress("guarded")).await,
        409,
        "AlreadyExists",
    )?;

    let mut changed = made.clone();
    changed.annotations_mut().insert("a".into(), "b".into());
    let changed = api.replace("guarded", &PostParams::default(), &changed).await?;
    check(
        changed.resource_version() != made.resource_version(),
        "a change makes a new resource version",
    )?;
    refused(
        api.replace("guarded", &PostParams::default(), &made).await,
        409,
        "Conflict",
    )?;
    let stale = json!({ "metadata": { "resourceVersion": made.resource_version(), "annotations": { "x": "y" } } });
    refused(merge(api, "guarded", &stale).await, 409, "Conflict")?;
    let current = json!({ "metadata": { "resourceVersion": changed.resource_version(), "annotations": { "x": "y" } } });
    let guarded = merge(api, "guarded", &current).await?;

    let same = merge(api, "guarded", &json!({ "metadata": { "annotations": { "a": "b" } } })).await?;
    check(
        same.resource_version() == guarded.resource_version(),
        "a patch that changes nothing makes no revision",
    )?;
    let same = api.replace("guarded", &PostParams::default(), &guarded).await?;
    check(
        same.resource_version() == guarded.resource_version(),
        "a replacement that changes nothing makes no revision",
    )?;

    let patched = merge(api, "guarded", &json!({ "metadata": { "annotations": { "a": null } } })).await?;
    check(
        !patched.annotations().contains_key("a"),
        "null in a merge patch removes a key",
    )?;
    check(
        patched.annotations().contains_key("keep"),
        "a merge patch leaves other keys alone",
    )?;

    api.delete("guarded", &DeleteParams::default()).await?;
    let again = api.create(&PostParams::default(), &ingress("guarded")).await?;
    check(again.uid() != made.uid(), "a name used again is another object")?;
    let earlier = DeleteParams::default().preconditions(Preconditions {
        uid: made.uid(),
        resource_version: None,
    });
    refused(api.delete("guarded", &earlier).await, 409, "Conflict")?;
    api.delete("guarded", &DeleteParams::default()).await?;
    Ok(())
}

async fn what_is_not_there_is_not_found(api: &Api<Ingress>) -> Result<(), Broken> {
    let touch = json!({ "metadata": { "annotations": { "a": "b" } } });
    let mut known = ingress("absent");
    known.metadata.resource_version = Some("1".into());
    refused(api.get("absent").await, 404, "NotFound")?;
    refused(
        api.replace("absent", &PostParams::default(), &known).await,
        404,
        "NotFound",
    )?;
    refused(merge(api, "absent", &touch).await, 404, "NotFound")?;
    refused(
        api.patch_status("absent", &PatchParams::default(), &Patch::Merge(&touch))
            .await,
        404,
        "NotFound",
    )?;
    refused(api.delete("absent", &DeleteParams::default()).await, 404, "NotFound")
}

async fn the_generation_rises_with_the_spec_only(api: &Api<Ingress>) -> Result<(), Broken> {
    let made = api.create(&PostParams::default(), &ingress("spec")).await?;
    check(made.metadata.generation == Some(1), "the first generation is 1")?;
    let touched = merge(
        api,
        "spec",
        &json!({ "metadata": { "annotations": { "a": "b" }, "labels": { "c": "d" } } }),
    )
    .await?;
    check(
        touched.metadata.generation == Some(1),
        "annotations and labels do not change the generation",
    )?;
    let changed = merge(api, "spec", &json!({ "spec": { "ingressClassName": "somebody" } })).await?;
    check(
        changed.metadata.generation == Some(2),
        "a changed spec raises the generation",
    )?;
    let mut claimed = changed;
    claimed.metadata.generation = Some(9);
    let claimed = api.replace("spec", &PostParams::default(), &claimed).await?;
    check(
        claimed.metadata.generation == Some(2),
        "the generation is the server's to count",
    )?;
    api.delete("spec", &DeleteParams::default()).await?;
    Ok(())
}

async fn a_status_is_changed_through_its_subresource_only(api: &Api<Ingress>) -> Result<(), Broken> {
    let status = json!({ "loadBalancer": { "ingress": [{ "hostname": "a.example" }] } });
    let mut whole = ingress("status");
    whole.status = serde_json::from_value(status.clone()).expect("a status");
    let made = api.create(&PostParams::default(), &whole).await?;
    check(hostname(&made).is_none(), "an object is made without its status")?;
    let ignored = merge(api, "status", &json!({ "status": status })).await?;
    check(
        hostname(&ignored).is_none(),
        "a patch of the object does not change its status",
    )?;
    let both = json!({ "status": status, "spec": { "ingressClassName": "somebody" } });
    let set = api
        .patch_status("status", &PatchParams::default(), &Patch::Merge(&both))
        .await?;
    check(hostname(&set) == Some("a.example"), "a patch of the status does")?;
    check(
        class(&set) == Some("nobody"),
        "a patch of the status does not change the spec",
    )?;
    check(
        set.meta().generation == made.meta().generation,
        "a status does not change the generation",
    )?;
    check(
        set.resource_version() != made.resource_version(),
        "a status makes a new resource version",
    )?;

    let stale = json!({ "metadata": { "resourceVersion": made.resource_version() }, "status": null });
    refused(
        api.patch_status("status", &PatchParams::default(), &Patch::Merge(&stale))
            .await,
        409,
        "Conflict",
    )?;
    let mut replacement = set;
    replacement.status = None;
    replacement.spec.as_mut().expect("a spec").ingress_class_name = Some("somebody".into());
    let replaced = api.replace("status", &PostParams::default(), &replacement).await?;
    check(
        class(&replaced) == Some("somebody") && hostname(&replaced) == Some("a.example"),
        "a replacement of the object leaves its status alone",
    )?;
    api.delete("status", &DeleteParams::default()).await?;
    Ok(())
}

async fn an_object_with_a_finalizer_is_marked_before_it_goes(api: &Api<Ingress>) -> Result<(), Broken> {
    let mut object = ingress("final");
    object.metadata.finalizers = Some(vec!["example.com/a".into(), "example.com/b".into()]);
    let made = api.create(&PostParams::default(), &object).await?;
    let from = made.resource_version().unwrap_or_default();
    api.delete("final", &DeleteParams::default()).await?;
    let marked = api.get("final").await?;
    check(
        marked.metadata.deletion_timestamp.is_some(),
        "a deleted object with finalizers is marked",
    )?;
    check(
        marked.metadata.generation > made.metadata.generation,
        "the mark raises the generation",
    )?;
    api.delete("final", &DeleteParams::default()).await?;
    check(
        api.get("final").await?.resource_version() == marked.resource_version(),
        "deleted twice is deleted once",
    )?;
    let more = json!({ "metadata": { "finalizers": ["example.com/a", "example.com/b", "example.com/c"] } });
    refused(merge(api, "final", &more).await, 422, "Invalid")?;
    let unmarked = merge(api, "final", &json!({ "metadata": { "deletionTimestamp": null } })).await?;
    check(
        unmarked.metadata.deletion_timestamp == marked.metadata.deletion_timestamp,
        "the mark stays",
    )?;
    merge(
        api,
        "final",
        &json!({ "metadata": { "finalizers": ["example.com/b"] } }),
    )
    .await?;
    api.get("final").await?;
    merge(api, "final", &json!({ "metadata": { "finalizers": null } })).await?;
    refused(api.get("final").await, 404, "NotFound")?;

    let mut events = pin!(api.watch(&WatchParams::default().timeout(30), &from).await?);
    for told in ["the mark", "the first finalizer's end"] {
        let event = next(&mut events).await?;
        let marked = matches!(&event, WatchEvent::Modified(object) if object.metadata.deletion_timestamp.is_some());
        check(marked, &format!("{told} is told as a change, got {event:?}"))?;
    }
    let event = next(&mut events).await?;
    check(
        matches!(event, WatchEvent::Deleted(_)),
        &format!("the last finalizer's end is told as the deletion and nothing else, got {event:?}"),
    )
}

async fn a_watch_tells_every_change_in_order(api: &Api<Ingress>) -> Result<(), Broken> {
    let listed = api.list(&ListParams::default()).await?;
    let from = listed.metadata.resource_version.unwrap_or_default();
    api.create(&PostParams::default(), &ingress("seen")).await?;
    merge(
        api,
        "seen",
        &json!({ "metadata": { "annotations": { "touched": "1" } } }),
    )
    .await?;
    api.delete("seen", &DeleteParams::default()).await?;

    let mut events = pin!(api.watch(&WatchParams::default().timeout(30), &from).await?);
    let mut revisions = vec![revision(&from)?];
    let mut told = Vec::new();
    for n in 0..4 {
        if n == 3 {
            // What happens while it is open is told as well.
            api.create(&PostParams::default(), &ingress("later")).await?;
        }
        let (kind, object) = match next(&mut events).await? {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            other => return Err(Broken(format!("a watch tells changes, got {other:?}"))),
        };
        told.push(format!("{kind} {}", object.name_any()));
        revisions.push(revision(&object.resource_version().unwrap_or_default())?);
        check(
            object.annotations().contains_key("touched") == (n == 1 || n == 2),
            &format!("a watch tells objects as they were then, deleted ones as they last were: {object:?}"),
        )?;
    }
    check(
        told == ["added seen", "modified seen", "deleted seen", "added later"],
        &format!("a watch tells what happened since, got {told:?}"),
    )?;
    check(
        revisions.is_sorted_by(|a, b| a < b),
        &format!("each event has a later revision, a deletion too: {revisions:?}"),
    )?;
    api.delete("later", &DeleteParams::default()).await?;
    Ok(())
}

fn revision(text: &str) -> Result<u64, Broken> {
    text.parse()
        .map_err(|_| Broken(format!("a resource version is a number, got `{text}`")))
}

async fn a_watch_from_nowhere_begins_with_what_is_there(api: &Api<Ingress>) -> Result<(), Broken> {
    api.create(&PostParams::default(), &ingress("there")).await?;
    let mut events = pin!(api.watch(&WatchParams::default().timeout(30), "0").await?);
    // A server that answers from its memory may be a moment behind: then it tells the deletions just made, too.
    loop {
        match next(&mut events).await? {
            WatchEvent::Added(object) if object.name_any() == "there" => break,
            WatchEvent::Added(_) | WatchEvent::Deleted(_) => {}
            other => return Err(Broken(format!("a watch begins with what is there, got {other:?}"))),
        }
    }
    api.delete("there", &DeleteParams::default()).await?;
    Ok(())
}

async fn the_pages_of_a_list_are_of_one_moment(api: &Api<Ingress>) -> Result<(), Broken> {
    for n in 0..5 {
        api.create(&PostParams::default(), &ingress(&format!("page-{n}")))
            .await?;
    }
    let mut names = Vec::new();
    let mut revisions = Vec::new();
    let mut token = None;
    loop {
        let mut params = ListParams::default().limit(2);
        params.continue_token = token;
        let page = api.list(&params).await?;
        check(page.items.len() <= 2, "a page is no longer than its limit")?;
        names.extend(page.items.iter().map(ResourceExt::name_any));
        revisions.extend(page.metadata.resource_version);
        if revisions.len() == 1 {
            api.delete("page-0", &DeleteParams::default()).await?;
            api.create(&PostParams::default(), &ingress("page-9")).await?;
        }
        token = page.metadata.continue_.filter(|t| !t.is_empty());
        if token.is_none() {
            break;
        }
    }
    check(
        names == ["page-0", "page-1", "page-2", "page-3", "page-4"],
        &format!("all pages make the list as it was: {names:?}"),
    )?;
    revisions.dedup();
    check(
        revisions.len() == 1,
        &format!("all pages have the revision of the first: {revisions:?}"),
    )?;
    for name in ["page-1", "page-2", "page-3", "page-4", "page-9"] {
        api.delete(name, &DeleteParams::default()).await?;
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
    refused(api.create(&PostParams::default(), &lease).await, 409, "AlreadyExists")?;
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
    theirs.metadata.resource_version = None;
    refused(
        api.replace("leader", &PostParams::default(), &theirs).await,
        422,
        "Invalid",
    )?;
    let held = api.get("leader").await?.spec.and_then(|spec| spec.holder_identity);
    check(held.as_deref() == Some("b"), "the first writer holds the lease")?;
    api.delete("leader", &DeleteParams::default()).await?;
    Ok(())
}

/// On Events, because a real server answers other kinds from a memory of its own, whatever etcd has forgotten.
async fn what_is_forgotten_is_expired(
    api: &Api<Event>,
    forget: impl AsyncFn(&str) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let event = |n: u32| -> Event {
        let namespace = api.namespace().unwrap_or_default();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": format!("event-{n}") },
            "involvedObject": { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": namespace, "name": "a" },
            "reason": "Checked", "message": "checked", "type": "Normal",
        }))
        .expect("an Event")
    };
    for n in 0..2 {
        api.create(&PostParams::default(), &event(n)).await?;
    }
    let page = api.list(&ListParams::default().limit(1)).await?;
    for n in 2..4 {
        api.create(&PostParams::default(), &event(n)).await?;
    }
    let now = api.list(&ListParams::default()).await?;
    forget(&now.metadata.resource_version.unwrap_or_default()).await?;

    let from = page.metadata.resource_version.unwrap_or_default();
    let mut events = pin!(api.watch(&WatchParams::default().timeout(30), &from).await?);
    let told = next(&mut events).await?;
    check(
        matches!(&told, WatchEvent::Error(status) if status.code == 410 && status.reason == "Expired"),
        &format!("a watch from a forgotten revision is told so, as an event: {told:?}"),
    )?;
    let rest = ListParams {
        continue_token: page.metadata.continue_,
        ..ListParams::default()
    };
    refused(api.list(&rest).await, 410, "Expired")?;
    for n in 0..4 {
        api.delete(&format!("event-{n}"), &DeleteParams::default()).await?;
    }
    Ok(())
}
