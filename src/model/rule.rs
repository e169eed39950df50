//! Listener rules: conditions and actions.

use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

use super::{ObjectKey, Tags};

/// A rule's place; the lowest number is tried first. AWS allows 1–50000.
pub type Priority = u32;

/// One rule. Its priority is its place in the listener's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule<T> {
    /// All must match. Host before path.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub actions: Vec<Action<T>>,
    /// All tags, tracking tags included.
    pub tags: Tags,
    /// The Ingress that asked for it; `None` for one that was found in AWS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<ObjectKey>,
}

/// What a request must be like. Values keep the order in which AWS was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// `host-header`; `*` and `?` are wildcards, case does not count.
    Host(Vec<String>),
    /// `path-pattern`; `*` and `?` are wildcards, case counts.
    Path(Vec<String>),
    /// A condition that albacore does not make: as AWS told it, in JSON, so that a foreign rule can be compared.
    Other(String),
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action<T> {
    /// Send it to targets.
    Forward(Forward<T>),
    /// Send the client elsewhere.
    Redirect(Redirect),
    /// Answer at once.
    #[serde(rename_all = "camelCase")]
    FixedResponse {
        /// `2XX`, `4XX` or `5XX`.
        status_code: String,
        /// For example `text/plain`.
        content_type: Option<String>,
        /// Up to 1024 bytes.
        message_body: Option<String>,
    },
    /// An action that albacore does not make: as AWS told it, in JSON.
    Other(String),
}

/// A forward action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward<T> {
    /// Up to five target groups. A single one has no weight: AWS answers 1, which `aws::convert` drops.
    pub targets: Vec<ForwardTarget<T>>,
    /// How long a client stays with its target group, in seconds; `None` when off.
    pub stickiness_seconds: Option<u32>,
}

/// A target group and its share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardTarget<T> {
    /// The target group.
    pub target_group: T,
    /// 0–999; only where there are several.
    pub weight: Option<u16>,
}

/// A redirect action. AWS' own placeholders (`#{host}`, `/#{path}`, `#{port}`, `#{protocol}`, `#{query}`) are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// `HTTP` or `HTTPS`.
    pub protocol: Option<String>,
    /// Port.
    pub port: Option<NonZeroU16>,
    /// Host.
    pub host: Option<String>,
    /// Path, with its slash.
    pub path: Option<String>,
    /// Query, without the question mark.
    pub query: Option<String>,
    /// `HTTP_301` or `HTTP_302`.
    pub status_code: String,
}

impl<T> Forward<T> {
    /// Everything to one target group.
    pub fn to(target_group: T) -> Self {
        Self {
            targets: vec![ForwardTarget {
                target_group,
                weight: None,
            }],
            stickiness_seconds: None,
        }
    }
}

impl<T> Action<T> {
    /// The same action with its target groups named otherwise; `None` as soon as one has no name.
    pub fn try_map<U>(&self, name: &mut impl FnMut(&T) -> Option<U>) -> Option<Action<U>> {
        Some(match self {
            Self::Forward(forward) => Action::Forward(Forward {
                targets: forward
                    .targets
                    .iter()
                    .map(|t| {
                        Some(ForwardTarget {
                            target_group: name(&t.target_group)?,
                            weight: t.weight,
                        })
                    })
                    .collect::<Option<_>>()?,
                stickiness_seconds: forward.stickiness_seconds,
            }),
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Self::FixedResponse {
                status_code,
                content_type,
                message_body,
            } => Action::FixedResponse {
                status_code: status_code.clone(),
                content_type: content_type.clone(),
                message_body: message_body.clone(),
            },
            Self::Other(json) => Action::Other(json.clone()),
        })
    }

    /// The target groups this action names.
    pub fn target_groups(&self) -> impl Iterator<Item = &T> {
        let targets = match self {
            Self::Forward(forward) => forward.targets.as_slice(),
            _ => &[],
        };
        targets.iter().map(|t| &t.target_group)
    }
}

impl<T> Rule<T> {
    /// The same rule with its target groups named otherwise; `None` as soon as one has no name.
    pub fn try_map<U>(&self, name: &mut impl FnMut(&T) -> Option<U>) -> Option<Rule<U>> {
        Some(Rule {
            conditions: self.conditions.clone(),
            actions: self.actions.iter().map(|a| a.try_map(name)).collect::<Option<_>>()?,
            tags: self.tags.clone(),
            owner: self.owner.clone(),
        })
    }
}
