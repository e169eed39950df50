//! A user's mistake: data, never an `Err`.

use super::ObjectKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The object that has to be changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Object {
    /// An Ingress.
    Ingress(ObjectKey),
    /// A Service.
    Service(ObjectKey),
    /// An IngressClass.
    IngressClass(String),
    /// An IngressClassParams.
    IngressClassParams(String),
    /// A TargetGroupBinding.
    Binding(ObjectKey),
    /// The group's LoadBalancer object.
    LoadBalancer(String),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingress(key) => write!(f, "Ingress {key}"),
            Self::Service(key) => write!(f, "Service {key}"),
            Self::IngressClass(name) => write!(f, "IngressClass {name}"),
            Self::IngressClassParams(name) => write!(f, "IngressClassParams {name}"),
            Self::Binding(key) => write!(f, "TargetGroupBinding {key}"),
            Self::LoadBalancer(name) => write!(f, "LoadBalancer {name}"),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The member changes nothing in AWS until this is mended; its last good rules stay.
    Blocking,
    /// Said, and lived with.
    Warning,
}

/// What kind of mistake it is; the reason of the Event and of the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Code {
    /// An annotation or field whose value cannot be used.
    InvalidValue,
    /// An annotation that this version does not act upon.
    NotSupported,
    /// Two members want different things of what they share.
    Conflict,
    /// A class, parameters, Service, port, subnet, security group or certificate that does not exist.
    NotFound,
    /// AWS refused what was asked.
    Refused,
    /// A quota of AWS would be exceeded.
    OverQuota,
    /// Something that AWS cannot change in place, or that stays as it is for another stated reason.
    CannotChange,
    /// A group whose members vanished unseen.
    Lost,
    /// A permission albacore lacks.
    Denied,
    /// Deletions that nobody was seen to ask for.
    Held,
}

/// One mistake: who has to change what into what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The Ingress it is reported to, and which it blocks where it blocks.
    pub member: Option<ObjectKey>,
    /// The object that has to be changed.
    pub object: Object,
    /// Annotation (full key) or field path, e.g. `spec.rules[0].http.paths[1].backend.service.port`.
    pub field: String,
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub code: Code,
    /// What is wrong, with the value, and what to write instead; one or two sentences.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.object, self.field, self.detail)
    }
}

/// A value as it is quoted: what a user wrote may be longer than an Event.
pub fn shown(value: &str) -> String {
    const ENOUGH: usize = 120;
    match value.char_indices().nth(ENOUGH) {
        None => format!("`{value}`"),
        Some((end, _)) => format!("`{}…`", &value[..end]),
    }
}
