//! How urgent a call is.

use serde::{Deserialize, Serialize};

/// A call's place in the order in which tokens are given out; the first variant goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Registering and draining targets: a rollout loses requests while this waits.
    Targets,
    /// Asking for the health of targets that somebody waits for.
    Health,
    /// What a user changed.
    Change,
    /// Certificates and DNS names.
    Certificates,
    /// The background walk that finds drift.
    Audit,
    /// What nobody waits for: retagging, removing leftovers.
    Tidy,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 6] = [
        Self::Targets,
        Self::Health,
        Self::Change,
        Self::Certificates,
        Self::Audit,
        Self::Tidy,
    ];

    /// The lane's name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::Health => "health",
            Self::Change => "change",
            Self::Certificates => "certificates",
            Self::Audit => "audit",
            Self::Tidy => "tidy",
        }
    }
}
