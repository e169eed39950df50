//! One call: who asks what of which service, where and when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The services that the double speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Elastic Load Balancing, version 2015-12-01 (Application, Network, Gateway Load Balancers).
    Elbv2,
    /// Amazon EC2.
    Ec2,
    /// AWS Certificate Manager.
    Acm,
    /// AWS Security Token Service.
    Sts,
    /// AWS Resource Groups Tagging API.
    Tagging,
}

impl Service {
    /// The service for the name in a request's credential scope.
    pub fn signed_as(name: &str) -> Option<Service> {
        match name {
            "elasticloadbalancing" => Some(Service::Elbv2),
            "ec2" => Some(Service::Ec2),
            "acm" => Some(Service::Acm),
            "sts" => Some(Service::Sts),
            "tagging" => Some(Service::Tagging),
            _ => None,
        }
    }
}

/// A call as the services see it; its input travels beside it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Asked service.
    pub service: Service,
    /// Operation in AWS' spelling, such as `CreateRule`.
    pub operation: String,
    /// Region of the request's credential scope, such as `eu-west-1`.
    pub region: String,
    /// Twelve digits; from the table of access keys.
    pub account: String,
    /// Access key id that signed the request; empty for the few unsigned ones.
    pub access_key: String,
    /// Given back in the answer and kept in the journal.
    pub request_id: String,
    /// The double's time.
    pub now: Timestamp,
}

impl Call {
    /// An ARN of this call's partition, region and account.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:{}:{service}:{}:{}:{resource}",
            partition(&self.region),
            self.region,
            self.account
        )
    }

    /// Whether the operation changes nothing, judged by its name as AWS' own read-only policies do.
    pub fn is_read(&self) -> bool {
        is_read(&self.operation)
    }
}

/// Whether an operation changes nothing.
pub fn is_read(operation: &str) -> bool {
    ["Describe", "List", "Get", "Search", "AssumeRole"]
        .iter()
        .any(|prefix| operation.starts_with(prefix))
}

/// The partition of a region. Source: "Amazon Resource Names (ARNs)", AWS General Reference.
pub fn partition(region: &str) -> &'static str {
    match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
