//! What AWS said no with, and what that means: one table.

use crate::{
    budget::{Outcome, Service},
    plan::Mutation,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::fmt;

/// What a refusal means for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Too many calls: it waits for the next token.
    Throttled,
    /// Something that was believed to be there is not.
    Missing,
    /// Something else uses it still.
    InUse,
    /// A quota of the account.
    OverQuota,
    /// A permission is missing.
    Denied,
    /// It makes no sense to AWS.
    Rejected,
    /// Something is there that was not known.
    Conflict,
    /// No answer, or none that can be used: whether it was done is not known.
    Unreachable,
}

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it means.
    pub class: Class,
    /// Service.
    pub service: Service,
    /// Operation, as AWS names it.
    pub operation: &'static str,
    /// AWS' code; empty when there was no answer.
    pub code: String,
    /// AWS' words, or what kept the answer away.
    pub message: String,
}

impl Fault {
    /// Whether the call may have been carried out all the same.
    pub fn outcome_unknown(&self) -> bool {
        self.class == Class::Unreachable
    }

    /// How the budget books it.
    pub(super) fn outcome(&self) -> Outcome {
        match self.class {
            Class::Throttled => Outcome::Throttled,
            Class::Unreachable => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }

    /// A fault that we found ourselves.
    pub(super) fn ours(call: &Mutation, class: Class, message: String) -> Self {
        Self {
            class,
            service: super::service_of(call),
            operation: call.operation(),
            code: String::new(),
            message,
        }
    }

    pub(super) fn new<E>(service: Service, operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (class, code, message) = match error {
            SdkError::ServiceError(refused) => {
                let status = refused.raw().status().as_u16();
                let code = refused.err().code().unwrap_or_default().to_owned();
                let class = if status >= 500 && class_of(&code) == Class::Rejected {
                    Class::Unreachable
                } else {
                    class_of(&code)
                };
                (class, code, refused.err().message().unwrap_or_default().to_owned())
            }
            SdkError::ConstructionFailure(_) => (Class::Rejected, String::new(), causes(error)),
            _ => (Class::Unreachable, String::new(), causes(error)),
        };
        Self {
            class,
            service,
            operation,
            code,
            message,
        }
    }
}

/// An error with everything behind it: the outer ones of the SDK say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The class of a code. Sources: "Common errors" and each operation's errors in the API references of Elastic Load
/// Balancing, EC2 ("Error codes for the Amazon EC2 API") and ACM.
fn class_of(code: &str) -> Class {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "BandwidthLimitExceeded" => Class::Throttled,

        "ResourceInUse"
        | "ResourceInUseException"
        | "DependencyViolation"
        | "OperationInProgress"
        | "InvalidGroup.InUse" => Class::InUse,

        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "OptInRequired"
        | "Client.UnauthorizedOperation" => Class::Denied,

        "InvalidPermission.NotFound" | "ResourceNotFoundException" => Class::Missing,
        "CertificateNotFound"
        | "SSLPolicyNotFound"
        | "SubnetNotFound"
        | "InvalidSubnetID.NotFound"
        | "InvalidSubnet"
        | "InvalidSecurityGroup"
        | "UnsupportedProtocol"
        | "IncompatibleProtocols"
        | "InvalidScheme" => Class::Rejected,
        _ if code.ends_with("NotFound") || code.ends_with("NotFoundException") => Class::Missing,

        "PriorityInUse"
        | "InvalidPermission.Duplicate"
        | "InvalidGroup.Duplicate"
        | "DuplicateListener"
        | "DuplicateTagKeys"
        | "DuplicateLoadBalancerName"
        | "DuplicateTargetGroupName"
        | "TargetGroupAssociationLimit" => Class::Conflict,

        "RulesPerSecurityGroupLimitExceeded" | "SecurityGroupLimitExceeded" | "LimitExceededException" => {
            Class::OverQuota
        }
        _ if code.starts_with("TooMany")
            || code.ends_with("LimitExceeded")
            || code.ends_with("LimitExceededException") =>
        {
            Class::OverQuota
        }

        "InternalFailure" | "InternalError" | "ServiceUnavailable" | "Unavailable" | "RequestTimeout" => {
            Class::Unreachable
        }
        // Whatever else AWS refuses, it refuses for what was asked.
        _ => Class::Rejected,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        match (self.class, self.code.as_str()) {
            (Class::Denied, code) => write!(
                f,
                "{code}: {}. Allow the action {}:{} to albacore's role",
                self.message,
                self.service.name(),
                self.operation
            ),
            (Class::Unreachable, "") => write!(f, "no answer ({})", self.message),
            (_, "") => f.write_str(&self.message),
            (_, code) => write!(f, "{code}: {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_what_is_done_about_it() {
        for (code, class) in [
            ("Throttling", Class::Throttled),
            ("RequestLimitExceeded", Class::Throttled),
            ("TargetGroupNotFound", Class::Missing),
            ("LoadBalancerNotFound", Class::Missing),
            ("RuleNotFound", Class::Missing),
            ("InvalidGroup.NotFound", Class::Missing),
            ("InvalidPermission.NotFound", Class::Missing),
            ("CertificateNotFound", Class::Rejected),
            ("ResourceInUse", Class::InUse),
            ("DependencyViolation", Class::InUse),
            ("TooManyRules", Class::OverQuota),
            ("RulesPerSecurityGroupLimitExceeded", Class::OverQuota),
            ("UnauthorizedOperation", Class::Denied),
            ("AccessDenied", Class::Denied),
            ("PriorityInUse", Class::Conflict),
            ("DuplicateTargetGroupName", Class::Conflict),
            ("InvalidPermission.Duplicate", Class::Conflict),
            ("ValidationError", Class::Rejected),
            ("InvalidConfigurationRequest", Class::Rejected),
            ("InternalFailure", Class::Unreachable),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }

    #[test]
    fn a_missing_permission_is_named() {
        let fault = Fault {
            class: Class::Denied,
            service: Service::ElasticLoadBalancing,
            operation: "CreateRule",
            code: "AccessDenied".into(),
            message: "not authorized".into(),
        };
        assert!(fault.to_string().contains("elasticloadbalancing:CreateRule"), "{fault}");
    }
}
