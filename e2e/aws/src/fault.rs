//! What AWS answers when it says no.

use std::fmt;

/// An AWS error as it stands in a response: a code that programs match on, a message for people, an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// As on the wire: `DuplicateListener`, not the SDK's `DuplicateListenerException`.
    pub code: String,
    /// In AWS' words where they are documented or known.
    pub message: String,
    /// HTTP status; most refusals are 400.
    pub status: u16,
}

impl AwsError {
    /// A refusal with status 400, which is what nearly all of them have.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        AwsError {
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    /// The same error with another HTTP status.
    pub fn with_status(self, status: u16) -> Self {
        AwsError { status, ..self }
    }

    /// `ValidationError`: the code of the query protocol services (elbv2, sts) for input that breaks a documented rule.
    /// Source: "Common Errors", Elastic Load Balancing API reference.
    pub fn validation(message: impl Into<String>) -> Self {
        AwsError::new("ValidationError", message)
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for AwsError {}
