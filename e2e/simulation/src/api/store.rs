//! Objects, revisions and the log that watches are served from.

use super::resource::Resource;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::{sync::watch, time::Instant};

/// Why a request was refused: an HTTP status and a Kubernetes reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// `NotFound`, `Conflict`, `AlreadyExists`, `Expired`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    /// The `Status` object that is answered.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

/// Where an object stands: kind, namespace (empty for cluster-scoped ones), name.
pub type Place = (Resource, String, String);

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision it made.
    pub revision: u64,
    /// Where.
    pub place: Place,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: &'static str,
    /// The object afterwards; for `DELETED` as it last was.
    pub object: Value,
}

/// The objects of one cluster.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Place, Value>,
    revision: u64,
    log: Vec<Change>,
    /// Changes up to this revision are forgotten.
    forgotten: u64,
    started: Instant,
    notify: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            revision: 1,
            log: Vec::new(),
            forgotten: 0,
            started: Instant::now(),
            notify: watch::channel(1).0,
        }
    }
}

impl Store {
    /// Told of every new revision.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.notify.subscribe()
    }

    /// The latest revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Forgets the log, so that watches from older revisions are answered 410.
    pub fn compact(&mut self) {
        self.forgotten = self.revision;
        self.log.clear();
    }

    /// Changes up to this revision are forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Changes after `revision`, or a refusal when some of them are forgotten.
    pub fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, Refusal> {
        if revision < self.forgotten {
            let message = format!("too old resource version: {revision} ({})", self.forgotten);
            return Err(Refusal::new(410, "Expired", message));
        }
        let first = self.log.partition_point(|change| change.revision <= revision);
        Ok(self.log[first..].iter())
    }

    /// All objects of a kind, by place.
    pub fn list(&self, resource: Resource, namespace: Option<&str>) -> Vec<&Value> {
        let objects = self.objects.range((resource, String::new(), String::new())..);
        objects
            .take_while(|((r, _, _), _)| *r == resource)
            .filter(|((_, ns, _), _)| namespace.is_none_or(|wanted| wanted == ns))
            .map(|(_, object)| object)
            .collect()
    }

    /// One object.
    pub fn get(&self, place: &Place) -> Result<&Value, Refusal> {
        self.objects.get(place).ok_or_else(|| not_found(place))
    }

    /// Makes an object.
    pub fn create(&mut self, resource: Resource, namespace: &str, mut object: Value) -> Result<Value, Refusal> {
        let meta = metadata(&mut object)?;
        if let (None, Some(prefix)) = (meta.get("name"), meta.get("generateName").and_then(Value::as_str)) {
            let name = format!("{prefix}{:05}", self.revision);
            meta.insert("name".into(), name.into());
        }
        let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Refusal::new(
                422,
                "Invalid",
                "metadata.name: Required value: name or generateName is required",
            ));
        }
        let place = (resource, namespace.to_owned(), name);
        if self.objects.contains_key(&place) {
            let message = format!("{}.{} \"{}\" already exists", resource.plural, resource.group, place.2);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        if resource.namespaced {
            meta.insert("namespace".into(), namespace.into());
        }
        meta.insert(
            "uid".into(),
            format!("00000000-0000-4000-8000-{:012}", self.revision).into(),
        );
        meta.insert("creationTimestamp".into(), self.now().into());
        meta.insert("generation".into(), 1.into());
        if resource.status
            && let Some(fields) = object.as_object_mut()
            && !matches!(resource.kind, "Pod" | "Node" | "Namespace")
        {
            // A real server drops it likewise; the three kinds above are made whole by whoever plays the kubelet.
            fields.remove("status");
        }
        Ok(self.put(place, "ADDED", object))
    }

    /// Changes an object: `edit` gets it as it is and returns it as it should be. `status` says which half counts.
    pub fn update(
        &mut self,
        place: &Place,
        status: bool,
        edit: impl FnOnce(Value) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let old = self.get(place)?.clone();
        let mut new = edit(old.clone())?;
        let wanted = new["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        if wanted.is_none() && place.0.is_guarded() {
            let message = format!(
                "{} \"{}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
                place.0.plural, place.2
            );
            return Err(Refusal::new(422, "Invalid", message));
        }
        if wanted.is_some() && wanted.as_deref() != old["metadata"]["resourceVersion"].as_str() {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes \
                 to the latest version and try again",
                place.0.plural, place.2
            );
            return Err(Refusal::new(409, "Conflict", message));
        }
        let meant = &new["metadata"]["uid"];
        if meant.is_string() && *meant != old["metadata"]["uid"] {
            let message = format!(
                "{} \"{}\" is invalid: metadata.uid: Invalid value: {meant}: field is immutable",
                place.0.plural, place.2
            );
            return Err(Refusal::new(422, "Invalid", message));
        }
        if status {
            let status = new.get("status").cloned();
            new = old.clone();
            set(&mut new, "status", status);
        } else if place.0.status {
            set(&mut new, "status", old.get("status").cloned());
        }
        let meta = metadata(&mut new)?;
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "name",
            "namespace",
        ] {
            match old["metadata"].get(field) {
                Some(value) => meta.insert(field.into(), value.clone()),
                None => meta.remove(field),
            };
        }
        if old.get("spec") != new.get("spec") {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
            metadata(&mut new)?.insert("generation".into(), generation.into());
        }
        if new["metadata"].get("deletionTimestamp").is_some() {
            if finalizers(&new).is_empty() {
                return Ok(self.remove(place, new));
            }
            if finalizers(&new).iter().any(|name| !finalizers(&old).contains(name)) {
                let message =
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted";
                return Err(Refusal::new(422, "Invalid", message));
            }
        }
        metadata(&mut new)?.insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
        if new == old {
            return Ok(old);
        }
        Ok(self.put(place.clone(), "MODIFIED", new))
    }

    /// Deletes an object, or marks it as long as it has finalizers.
    pub fn delete(&mut self, place: &Place) -> Result<Value, Refusal> {
        let mut object = self.get(place)?.clone();
        if finalizers(&object).is_empty() {
            return Ok(self.remove(place, object));
        }
        if object["metadata"].get("deletionTimestamp").is_some() {
            return Ok(object);
        }
        let now = self.now();
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
        let meta = metadata(&mut object)?;
        meta.insert("deletionTimestamp".into(), now.into());
        meta.insert("generation".into(), generation.into());
        Ok(self.put(place.clone(), "MODIFIED", object))
    }

    fn put(&mut self, place: Place, kind: &'static str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        object["apiVersion"] = place.0.api_version().into();
        object["kind"] = place.0.kind.into();
        self.objects.insert(place.clone(), object.clone());
        self.record(place, kind, object.clone());
        object
    }

    fn remove(&mut self, place: &Place, mut object: Value) -> Value {
        self.objects.remove(place);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.record(place.clone(), "DELETED", object.clone());
        object
    }

    fn record(&mut self, place: Place, kind: &'static str, object: Value) {
        self.log.push(Change {
            revision: self.revision,
            place,
            kind,
            object,
        });
        self.notify.send_replace(self.revision);
    }

    /// Kubernetes' own format: whole seconds, on tokio's clock.
    fn now(&self) -> String {
        let epoch = jiff::Timestamp::from_second(1_800_000_000).expect("a moment in 2027");
        let elapsed = i64::try_from(self.started.elapsed().as_secs()).unwrap_or_default();
        (epoch + jiff::SignedDuration::from_secs(elapsed))
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    }
}

fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Refusal> {
    let fields = object
        .as_object_mut()
        .ok_or_else(|| Refusal::new(400, "BadRequest", "the body is not an object"))?;
    fields
        .entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| Refusal::new(400, "BadRequest", "metadata is not an object"))
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
    }
}

fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

fn not_found(place: &Place) -> Refusal {
    let group = if place.0.group.is_empty() {
        String::new()
    } else {
        format!(".{}", place.0.group)
    };
    Refusal::new(
        404,
        "NotFound",
        format!("{}{group} \"{}\" not found", place.0.plural, place.2),
    )
}
