//! Ids and ARNs as AWS hands them out: opaque, comparable, printable.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as AWS spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// `arn:aws:elasticloadbalancing:…:loadbalancer/app/NAME/ID`.
    LoadBalancerArn;
    /// `arn:aws:elasticloadbalancing:…:listener/app/NAME/ID/ID`.
    ListenerArn;
    /// `arn:aws:elasticloadbalancing:…:listener-rule/app/NAME/ID/ID/ID`.
    RuleArn;
    /// `arn:aws:elasticloadbalancing:…:targetgroup/NAME/ID`.
    TargetGroupArn;
    /// `arn:aws:acm:…:certificate/ID`, or an IAM server certificate.
    CertificateArn;
    /// `sg-…`.
    SecurityGroupId;
    /// `subnet-…`.
    SubnetId;
    /// `vpc-…`.
    VpcId;
    /// `i-…`.
    InstanceId;
    /// The Route 53 zone in which AWS keeps a load balancer's own name; wanted by alias records.
    HostedZoneId;
}
