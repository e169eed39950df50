//! Listeners.

use super::{Action, CertificateArn, Port, Rule, Tags};
use serde::{Deserialize, Serialize};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListenerProtocol {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl ListenerProtocol {
    /// As AWS and the annotation spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }
}

/// The certificates of an HTTPS listener; empty for HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// Served when no name matches; travels with the listener itself.
    pub default: Option<CertificateArn>,
    /// Chosen by name (SNI), sorted; like ALBC's, this list contains the default one too.
    pub by_name: Vec<CertificateArn>,
}

/// A listener of a load balancer. Rules stand beside it, since AWS gives each an ARN of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener<T> {
    /// Port, 1–65535; unique within a load balancer.
    pub port: Port,
    /// HTTP or HTTPS.
    pub protocol: ListenerProtocol,
    /// What is done when no rule matches.
    pub default_actions: Vec<Action<T>>,
    /// Certificates, HTTPS only.
    pub certificates: Certificates,
    /// Security policy, HTTPS only.
    pub ssl_policy: Option<String>,
    /// All tags, tracking tags included.
    pub tags: Tags,
    /// The rules, highest priority first: the first has priority 1.
    pub rules: Vec<Rule<T>>,
}
