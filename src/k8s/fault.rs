//! What Kubernetes said no with.

/// Why a call of the API server failed, as far as it matters what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The object is not there.
    #[error("not found")]
    Missing,
    /// An object of that name is there already.
    #[error("exists already")]
    Exists,
    /// Somebody else changed it meanwhile.
    #[error("changed by somebody else meanwhile")]
    Conflict,
    /// A permission is missing, or admission refused it.
    #[error("refused: {0}")]
    Denied(String),
    /// It makes no sense to the API server.
    #[error("rejected: {0}")]
    Rejected(String),
    /// No answer, or none that can be used.
    #[error("unreachable: {0}")]
    Unreachable(String),
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match (status.code, status.reason.as_str()) {
                (404, _) => Self::Missing,
                (409, "AlreadyExists") => Self::Exists,
                (409, _) => Self::Conflict,
                (401 | 403, _) => Self::Denied(status.message),
                (400 | 415 | 422, _) => Self::Rejected(status.message),
                _ => Self::Unreachable(status.message),
            },
            other => Self::Unreachable(other.to_string()),
        }
    }
}
