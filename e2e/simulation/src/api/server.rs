//! The wire: paths and verbs in, JSON and watch streams out.

use super::{
    Refusal, Resource, Store,
    pages::{Page, Pages},
    path_of,
    resource::Target,
    store::{Change, Place},
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};
use tokio::sync::watch;

/// What a client asked for, as a fault sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The kind.
    pub resource: Resource,
    /// `namespace/name`, either part empty where it does not apply.
    pub object: String,
    /// For example `status`; empty for the object itself.
    pub subresource: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// It is served.
    #[default]
    Serve,
    /// It is refused, and nothing changes.
    Refuse(Refusal),
    /// It is served, but the client sees the connection break.
    Lose,
}

impl Reply {
    /// It is refused, as by an API server that cannot reach its storage.
    pub fn unavailable() -> Self {
        Self::Refuse(Refusal::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ))
    }
}

type Faults = Box<dyn FnMut(&Request) -> Reply + Send>;
pub(super) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server; cheap to clone, all clones serve the same objects.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Store>,
    pages: Mutex<Pages>,
    faults: Mutex<Option<Faults>>,
    requests: Mutex<Vec<Request>>,
    /// Bumped to end every watch that is open.
    cut: watch::Sender<u64>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                store: Mutex::default(),
                pages: Mutex::default(),
                faults: Mutex::default(),
                requests: Mutex::default(),
                cut: watch::channel(0).0,
            }),
        }
    }
}

impl Server {
    /// A client of this server.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// The objects, for whoever plays another client without going through HTTP.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    /// Decides what becomes of each request from now on.
    pub fn set_faults(&self, faults: impl FnMut(&Request) -> Reply + Send + 'static) {
        *lock(&self.shared.faults) = Some(Box::new(faults));
    }

    /// Serves every request again.
    pub fn clear_faults(&self) {
        *lock(&self.shared.faults) = None;
    }

    /// What was asked for since the last call of this function.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.shared.requests))
    }

    /// Ends every open watch, as a real server does every few minutes.
    pub fn cut_watches(&self) {
        self.shared.cut.send_modify(|n| *n += 1);
    }

    /// Creates the object, or replaces all but its metadata when it is there, as `kubectl apply` of a whole object does.
    ///
    /// # Errors
    /// A kind that is not served, or what the store refuses.
    pub fn apply(&self, object: Value) -> Result<Value, Refusal> {
        let place = place_of(&object)?;
        let mut store = self.store();
        if store.get(&place).is_err() {
            return store.create(place.0, &place.1, object);
        }
        let status = object.get("status").cloned();
        let changed = store.update(&place, false, |old| {
            let mut new = object;
            let mut meta = old["metadata"].clone();
            for field in ["annotations", "labels"] {
                match new["metadata"].get(field) {
                    Some(value) => meta[field] = value.clone(),
                    None => {
                        meta.as_object_mut().map(|m| m.remove(field));
                    }
                }
            }
            new["metadata"] = meta;
            Ok(new)
        })?;
        match status {
            Some(status) => store.update(&place, true, |mut old| {
                old["status"] = status;
                Ok(old)
            }),
            None => Ok(changed),
        }
    }

    pub(super) async fn serve(self, request: http::Request<Body>) -> Result<Response<ReplyBody>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let query: BTreeMap<String, String> = parts.uri.query().map(parse_query).unwrap_or_default();
        let Some(target) = path_of(parts.uri.path()) else {
            let message = format!("the server could not find the requested resource {}", parts.uri.path());
            return refused(&Refusal::new(404, "NotFound", message));
        };
        let watching = query.get("watch").is_some_and(|v| v == "true" || v == "1");
        let asked = Request {
            verb: verb(&parts.method, &target, watching),
            resource: target.resource,
            object: format!(
                "{}/{}",
                target.namespace.as_deref().unwrap_or_default(),
                target.name.as_deref().unwrap_or_default()
            ),
            subresource: target.subresource.clone().unwrap_or_default(),
        };
        let reply = lock(&self.shared.faults)
            .as_mut()
            .map(|decide| decide(&asked))
            .unwrap_or_default();
        lock(&self.shared.requests).push(asked);
        if let Reply::Refuse(refusal) = &reply {
            return refused(refusal);
        }
        let served = if watching {
            self.watch(&target, &query)
        } else {
            let content_type = parts
                .headers
                .get(http::header::CONTENT_TYPE)
                .and_then(|v| v.to_str().ok());
            self.answer(&parts.method, &target, &query, content_type.unwrap_or_default(), &body)
        };
        match (served, reply) {
            (_, Reply::Lose) => Err("connection reset by peer".into()),
            (Ok(response), _) => Ok(response),
            (Err(refusal), _) => refused(&refusal),
        }
    }

    fn answer(
        &self,
        method: &Method,
        target: &Target,
        query: &BTreeMap<String, String>,
        content_type: &str,
        body: &[u8],
    ) -> Result<Response<ReplyBody>, Refusal> {
        let mut store = self.store();
        let status = target.subresource.as_deref() == Some("status");
        let Some(name) = &target.name else {
            return match *method {
                Method::GET => Ok(json_reply(StatusCode::OK, &self.list(&store, target, query)?)),
                Method::POST => {
                    let namespace = target.namespace.as_deref().unwrap_or_default();
                    let object: Value = parse(body)?;
                    if target.resource.is_custom() && object["kind"] != target.resource.kind {
                        let message = format!("Object 'Kind' is missing (must be of type {})", target.resource.kind);
                        return Err(Refusal::new(400, "BadRequest", message));
                    }
                    let made = store.create(target.resource, namespace, object)?;
                    Ok(json_reply(StatusCode::CREATED, &made))
                }
                _ => Err(Refusal::new(
                    405,
                    "MethodNotAllowed",
                    "collections are listed and created in only",
                )),
            };
        };
        let place: Place = (
            target.resource,
            target.namespace.clone().unwrap_or_default(),
            name.clone(),
        );
        let object = match *method {
            Method::GET => store.get(&place)?.clone(),
            Method::PUT => {
                let new = parse(body)?;
                store.update(&place, status, |_| Ok(new))?
            }
            Method::PATCH => {
                let patch = parse(body)?;
                store.update(&place, status, |old| patched(old, &patch, content_type))?
            }
            Method::DELETE => {
                let options = if body.is_empty() { Value::Null } else { parse(body)? };
                let wanted = &options["preconditions"]["uid"];
                let uid = &store.get(&place)?["metadata"]["uid"];
                if wanted.is_string() && wanted != uid {
                    let message =
                        format!("the UID in the precondition ({wanted}) does not match the UID in record ({uid})");
                    return Err(Refusal::new(409, "Conflict", message));
                }
                store.delete(&place)?
            }
            _ => return Err(Refusal::new(405, "MethodNotAllowed", "not a verb for an object")),
        };
        Ok(json_reply(StatusCode::OK, &object))
    }

    /// A list, a page of it where a limit is given.
    fn list(&self, store: &Store, target: &Target, query: &BTreeMap<String, String>) -> Result<Value, Refusal> {
        let limit = query
            .get("limit")
            .and_then(|l| l.parse().ok())
            .filter(|l| *l > 0)
            .unwrap_or(usize::MAX);
        let mut pages = lock(&self.shared.pages);
        let Page {
            revision,
            objects,
            token,
        } = match query.get("continue").filter(|token| !token.is_empty()) {
            Some(token) => pages.next(token, limit, store.forgotten())?,
            None => {
                let all = store.list(target.resource, target.namespace.as_deref());
                let selected = all.into_iter().filter(|object| selected(object, query)).cloned();
                pages.first(store.revision(), selected.collect(), limit)
            }
        };
        let mut meta = json!({ "resourceVersion": revision.to_string() });
        if let Some(token) = token {
            meta["continue"] = token.into();
        }
        let resource = target.resource;
        Ok(
            json!({ "apiVersion": resource.api_version(), "kind": format!("{}List", resource.kind), "metadata": meta, "items": objects }),
        )
    }

    fn watch(&self, target: &Target, query: &BTreeMap<String, String>) -> Result<Response<ReplyBody>, Refusal> {
        let store = self.store();
        let mut first = Vec::new();
        let from = match query.get("resourceVersion").map(String::as_str) {
            None | Some("" | "0") => {
                for object in store.list(target.resource, target.namespace.as_deref()) {
                    if target.name.is_none() || object["metadata"]["name"].as_str() == target.name.as_deref() {
                        line(&mut first, "ADDED", object);
                    }
                }
                store.revision()
            }
            Some(version) => version
                .parse()
                .map_err(|_| Refusal::new(400, "BadRequest", "invalid resourceVersion"))?,
        };
        let state = Watch {
            server: self.clone(),
            target: target.clone(),
            first,
            next: from,
            changed: store.subscribe(),
            cut: self.shared.cut.subscribe(),
            ended: false,
        };
        let frames = stream::unfold(state, |mut state| async move {
            let lines = state.next().await?;
            Some((Ok(http_body::Frame::data(Bytes::from(lines))), state))
        });
        let body = UnsyncBoxBody::new(StreamBody::new(frames.boxed()));
        Ok(reply(StatusCode::OK, body))
    }
}

struct Watch {
    server: Server,
    target: Target,
    /// What was there, for a watch that begins with it.
    first: Vec<u8>,
    next: u64,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    ended: bool,
}

impl Watch {
    /// The next lines of the stream; `None` when it ends.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        while !self.ended {
            let mut lines = Vec::new();
            self.changed.mark_unchanged();
            {
                let store = self.server.store();
                let revision = store.revision();
                match store.since(self.next) {
                    Ok(changes) => {
                        for change in changes.filter(|c| self.concerns(c)) {
                            line(&mut lines, change.kind, &change.object);
                        }
                        self.next = revision;
                    }
                    Err(refusal) => {
                        line(&mut lines, "ERROR", &refusal.status());
                        self.ended = true;
                    }
                }
            }
            if !lines.is_empty() {
                return Some(lines);
            }
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                _ = self.cut.changed() => self.ended = true,
            }
        }
        None
    }

    fn concerns(&self, change: &Change) -> bool {
        change.place.0 == self.target.resource
            && self.target.namespace.as_ref().is_none_or(|ns| *ns == change.place.1)
            && self.target.name.as_ref().is_none_or(|name| *name == change.place.2)
    }
}

impl tower::Service<http::Request<Body>> for Server {
    type Response = Response<ReplyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn verb(method: &Method, target: &Target, watching: bool) -> &'static str {
    match *method {
        Method::GET if watching => "watch",
        Method::GET if target.name.is_none() => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        _ => "delete",
    }
}

/// Where an object stands, by what it says of itself.
fn place_of(object: &Value) -> Result<Place, Refusal> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let resource = Resource::of(&api_version, &kind)
        .ok_or_else(|| Refusal::new(404, "NotFound", format!("{api_version} {kind} is not served")))?;
    let namespace = match text(&object["metadata"]["namespace"]) {
        namespace if !resource.namespaced => {
            drop(namespace);
            String::new()
        }
        namespace if namespace.is_empty() => "default".to_owned(),
        namespace => namespace,
    };
    Ok((resource, namespace, text(&object["metadata"]["name"])))
}

/// Label and field selectors with `=` only, which is all that is asked for.
fn selected(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let holds = |selector: &String, lookup: &dyn Fn(&str) -> Option<String>| {
        selector
            .split(',')
            .filter(|s| !s.is_empty())
            .all(|part| match part.split_once('=') {
                Some((key, value)) => lookup(key).as_deref() == Some(value.trim_start_matches('=')),
                None => lookup(part).is_some(),
            })
    };
    let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
    let field = |path: &str| {
        object
            .pointer(&format!("/{}", path.replace('.', "/")))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    query.get("labelSelector").is_none_or(|s| holds(s, &label))
        && query.get("fieldSelector").is_none_or(|s| holds(s, &field))
}

fn patched(mut old: Value, patch: &Value, content_type: &str) -> Result<Value, Refusal> {
    match content_type {
        "application/merge-patch+json" => json_patch::merge(&mut old, patch),
        "application/strategic-merge-patch+json" => {
            let mut patch = patch.clone();
            merge_conditions(&old, &mut patch);
            json_patch::merge(&mut old, &patch);
        }
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| Refusal::new(400, "BadRequest", format!("not a JSON patch: {error}")))?;
            json_patch::patch(&mut old, &patch)
                .map_err(|error| Refusal::new(422, "Invalid", format!("the patch does not apply: {error}")))?;
        }
        other => {
            return Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                format!("patches of type {other} are not served"),
            ));
        }
    }
    Ok(old)
}

/// The strategic form differs in how it merges lists with keys; of those only conditions are sent here, whose key is their
/// type.
fn merge_conditions(old: &Value, patch: &mut Value) {
    let list = "/status/conditions";
    let Some(Value::Array(changed)) = patch.pointer_mut(list) else {
        return;
    };
    let mut all = old.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
    for change in std::mem::take(changed) {
        match all.iter_mut().find(|condition| condition["type"] == change["type"]) {
            Some(condition) => json_patch::merge(condition, &change),
            None => all.push(change),
        }
    }
    *changed = all;
}

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(400, "BadRequest", format!("not JSON: {error}")))
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("00");
                bytes.push(u8::from_str_radix(digits, 16).unwrap_or_default());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn line(lines: &mut Vec<u8>, kind: &str, object: &Value) {
    lines.extend_from_slice(json!({ "type": kind, "object": object }).to_string().as_bytes());
    lines.push(b'\n');
}

fn refused(refusal: &Refusal) -> Result<Response<ReplyBody>, BoxError> {
    Ok(json_reply(StatusCode::from_u16(refusal.code)?, &refusal.status()))
}

fn json_reply(code: StatusCode, value: &Value) -> Response<ReplyBody> {
    reply(
        code,
        UnsyncBoxBody::new(http_body_util::Full::new(Bytes::from(value.to_string()))),
    )
}

fn reply(code: StatusCode, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
