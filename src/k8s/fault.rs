//! What Kubernetes said no with.

use std::time::Duration;

/// A call of the API server takes no longer: kube retries some refusals for minutes by itself.
const TIMEOUT: Duration = Duration::from_secs(15);

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
    /// Another process may lead: nothing was sent, or its answer is not waited for.
    #[error("another process leads")]
    Deposed,
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

/// The answer to a call, if it comes in time.
///
/// # Errors
/// What the API server said.
pub(super) async fn timed<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Unreachable(format!("no answer within {TIMEOUT:?}"))),
    }
}
