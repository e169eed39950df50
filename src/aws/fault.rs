//! What AWS said no with, and what that means: one table.

use super::credentials::NoCredentials;
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
    /// AWS does not know who calls, or there are no credentials to sign with: nothing was done.
    Unauthenticated,
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

/// A permission that albacore's role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The action, such as `elasticloadbalancing:CreateRule`. It need not be the call's own: creating something with tags
    /// takes the permission to tag.
    pub action: String,
    /// The resource, where AWS names it.
    pub resource: Option<String>,
    /// Why, in AWS' words; empty where it does not say. A policy of the organization may be what denies it.
    pub because: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "albacore's role lacks the permission {}", self.action)?;
        if let Some(resource) = &self.resource {
            write!(f, " on {resource}")?;
        }
        if !self.because.is_empty() {
            write!(f, " ({})", self.because)?;
        }
        f.write_str(". Attach docs/iam-policy.json to the role: it allows all that albacore calls")
    }
}

impl Fault {
    /// The permission that is missing; `None` for any other refusal, that of bad credentials too.
    ///
    /// The words are told in "Troubleshoot access denied error messages", IAM user guide.
    pub fn lack(&self) -> Option<Lack> {
        let lacks = [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "Client.UnauthorizedOperation",
        ];
        if !lacks.contains(&self.code.as_str()) {
            return None;
        }
        // EC2 adds what only STS can read.
        let (words, _) = self.message.split_once(". Encoded").unwrap_or((&self.message, ""));
        let Some((_, said)) = words.split_once("not authorized to perform: ") else {
            return Some(Lack {
                action: format!("{}:{}", self.service.name(), self.operation),
                resource: None,
                because: String::new(),
            });
        };
        let (action, rest) = said.split_once(' ').unwrap_or((said, ""));
        let (resource, because) = match rest.strip_prefix("on resource: ") {
            Some(rest) => {
                let (resource, because) = rest.split_once(' ').unwrap_or((rest, ""));
                (Some(resource.to_owned()), because)
            }
            None => (None, rest),
        };
        Some(Lack {
            action: action.to_owned(),
            resource,
            because: because.to_owned(),
        })
    }

    /// Whether the call may have been carried out all the same.
    pub fn outcome_unknown(&self) -> bool {
        self.class == Class::Unreachable
    }

    /// Whether the call never left, for want of credentials.
    pub(super) fn is_unsent(&self) -> bool {
        self.class == Class::Unauthenticated && self.code.is_empty()
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
            error if let Some(NoCredentials(why)) = unsigned(error) => {
                (Class::Unauthenticated, String::new(), why.clone())
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

/// What kept a call from being signed, if that is what is behind an error.
fn unsigned<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a NoCredentials> {
    let behind = std::iter::successors(Some(error), |error| error.source());
    behind.into_iter().find_map(|error| error.downcast_ref())
}

/// An error with everything behind it: the outer ones of the SDK say little.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The class of a code. Sources: "Common errors" and each operation's errors in the API references of Elastic Load
/// Balancing, EC2 ("Error codes for the Amazon EC2 API"), ACM and Route 53.
fn class_of(code: &str) -> Class {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "PriorRequestNotComplete"
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
        | "OptInRequired"
        | "Client.UnauthorizedOperation" => Class::Denied,

        "AuthFailure"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Class::Unauthenticated,

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
        if let Some(lack) = self.lack() {
            return lack.fmt(f);
        }
        match (self.class, self.code.as_str()) {
            (Class::Unauthenticated, code) => {
                let message = self.message.trim_end_matches('.');
                match code {
                    "" => f.write_str(message)?,
                    code => write!(f, "{code}: {message}")?,
                }
                f.write_str(
                    ". Check the role of albacore's ServiceAccount (its annotation eks.amazonaws.com/role-arn, or its EKS Pod \
                     Identity association), and that the role's trust policy lets this ServiceAccount in",
                )
            }
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
            ("ThrottlingException", Class::Throttled),
            ("TooManyRequestsException", Class::Throttled),
            ("PriorRequestNotComplete", Class::Throttled),
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
            ("ExpiredToken", Class::Unauthenticated),
            ("RequestExpired", Class::Unauthenticated),
            ("UnrecognizedClientException", Class::Unauthenticated),
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

    fn denied(code: &str, message: &str) -> Fault {
        Fault {
            class: class_of(code),
            service: Service::ElasticLoadBalancing,
            operation: "CreateRule",
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_missing_permission_is_the_one_that_aws_names() {
        let rule = "arn:aws:elasticloadbalancing:us-east-1:1:listener-rule/app/a/1/2/*";
        let words = format!(
            "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: elasticloadbalancing:AddTags on resource: \
             {rule} because no identity-based policy allows the elasticloadbalancing:AddTags action"
        );
        let lack = denied("AccessDenied", &words).lack().expect("a lack");
        assert_eq!(
            (lack.action.as_str(), lack.resource.as_deref()),
            ("elasticloadbalancing:AddTags", Some(rule))
        );
        assert!(lack.because.starts_with("because no identity-based policy"), "{lack}");

        let words = "You are not authorized to perform this operation. User: u is not authorized to perform: \
                     ec2:DescribeSubnets with an explicit deny in a service control policy. Encoded authorization failure message: xyz";
        let lack = denied("UnauthorizedOperation", words).lack().expect("a lack");
        assert_eq!(
            (lack.action.as_str(), lack.resource.as_deref()),
            ("ec2:DescribeSubnets", None)
        );
        assert_eq!(lack.because, "with an explicit deny in a service control policy");

        let lack = denied("AccessDenied", "").lack().expect("a lack");
        assert_eq!(lack.action, "elasticloadbalancing:CreateRule", "AWS says nothing more");
        let fault = denied("AccessDenied", "").to_string();
        assert!(fault.contains("elasticloadbalancing:CreateRule"), "{fault}");
        assert!(fault.contains("docs/iam-policy.json"), "{fault}");
        assert_eq!(denied("ExpiredToken", "expired").lack(), None);
        let fault = denied("ExpiredToken", "expired").to_string();
        assert!(fault.contains("trust policy"), "{fault}");
    }
}
