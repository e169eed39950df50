//! The token buckets that AWS documents, and which calls drink from which.
//!
//! ```text
//!   CreateRule ──► elasticloadbalancing.mutate ──┐
//!   RegisterTargets ─► elasticloadbalancing.register ──┼─► elasticloadbalancing.account
//!   DescribeRules ─► elasticloadbalancing.describe ──┘
//!   DescribeSubnets ─► ec2.DescribeSubnets                 (EC2 and ACM: one bucket an action, no account bucket)
//! ```

use std::{fmt, str::FromStr};

/// An AWS service, named as in its endpoints, IAM actions and `--aws-budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Elastic Load Balancing, version 2015-12-01.
    ElasticLoadBalancing,
    /// EC2.
    Ec2,
    /// Certificate Manager.
    Acm,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ElasticLoadBalancing, Self::Ec2, Self::Acm];

    /// The service's IAM prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::ElasticLoadBalancing => "elasticloadbalancing",
            Self::Ec2 => "ec2",
            Self::Acm => "acm",
        }
    }
}

/// Which operations of a service share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Members {
    /// These share one, named so.
    Shared(&'static str, &'static [&'static str]),
    /// Each of these has one of its own, named as the operation.
    Each(&'static [&'static str]),
    /// All operations of the service drink from it besides their own.
    All(&'static str),
}

struct Row {
    service: Service,
    members: Members,
    burst: u32,
    per_second: f64,
}

const fn row(service: Service, members: Members, burst: u32, per_second: f64) -> Row {
    Row {
        service,
        members,
        burst,
        per_second,
    }
}

/// ELBv2: "Request throttling for the Elastic Load Balancing API" (Elastic Load Balancing user guide), per account and Region.
/// EC2: "Request throttling for the Amazon EC2 API" (EC2 developer guide), per action, account and Region; describes are
/// always sent with a filter, so the smaller bucket for unfiltered ones does not count.
/// ACM: "Quotas", API rate quotas (ACM user guide); no burst is documented, so a second's worth is assumed.
#[rustfmt::skip]
const TABLE: &[Row] = {
    use Members::{All, Each, Shared};
    use Service::{Acm, Ec2, ElasticLoadBalancing as Elb};
    &[
        row(Elb, All("account"), 40, 10.0),
        row(Elb, Shared("create", &["CreateLoadBalancer", "SetSubnets"]), 10, 0.2),
        row(Elb, Shared("register", &["RegisterTargets", "DeregisterTargets"]), 20, 4.0),
        row(Elb, Shared("describe", &[
            "DescribeAccountLimits", "DescribeListenerCertificates", "DescribeListeners",
            "DescribeLoadBalancerAttributes", "DescribeLoadBalancers", "DescribeRules", "DescribeTags",
            "DescribeTargetGroupAttributes", "DescribeTargetGroups", "DescribeTargetHealth",
        ]), 40, 10.0),
        row(Elb, Shared("mutate", &[
            "AddListenerCertificates", "AddTags", "CreateListener", "CreateRule", "CreateTargetGroup",
            "DeleteListener", "DeleteLoadBalancer", "DeleteRule", "DeleteTargetGroup", "ModifyListener",
            "ModifyLoadBalancerAttributes", "ModifyRule", "ModifyTargetGroup", "ModifyTargetGroupAttributes",
            "RemoveListenerCertificates", "RemoveTags", "SetIpAddressType", "SetRulePriorities", "SetSecurityGroups",
        ]), 20, 3.0),
        row(Ec2, Each(&[
            "DescribeAvailabilityZones", "DescribeInstances", "DescribeNetworkInterfaces", "DescribeRouteTables",
            "DescribeSecurityGroups", "DescribeSubnets",
        ]), 100, 20.0),
        row(Ec2, Each(&[
            "AuthorizeSecurityGroupIngress", "CreateSecurityGroup", "DeleteSecurityGroup",
            "RevokeSecurityGroupIngress",
        ]), 50, 5.0),
        row(Ec2, Each(&["CreateTags", "DeleteTags"]), 100, 10.0),
        row(Acm, Each(&["DescribeCertificate"]), 10, 10.0),
    ]
};

/// A bucket's name: `service.bucket`, for example `elasticloadbalancing.register` or `ec2.DescribeSubnets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName {
    /// The service.
    pub service: Service,
    /// The bucket within the service.
    pub bucket: &'static str,
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service.name(), self.bucket)
    }
}

impl BucketName {
    /// Every bucket there is.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().flat_map(Row::buckets)
    }
}

impl FromStr for BucketName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|name| name.to_string() == text).ok_or_else(|| {
            let known: Vec<_> = Self::all().map(|name| name.to_string()).collect();
            format!("`{text}` is not a bucket; write one of {}", known.join(", "))
        })
    }
}

impl Row {
    fn buckets(&self) -> impl Iterator<Item = BucketName> {
        let names = match &self.members {
            Members::Shared(name, _) | Members::All(name) => std::slice::from_ref(name),
            Members::Each(operations) => *operations,
        };
        names.iter().map(|&bucket| BucketName {
            service: self.service,
            bucket,
        })
    }
}

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: f64,
    /// Tokens at most.
    pub burst: u32,
}

impl Rate {
    /// A share (0–1) of this rate; a bucket holds one token at least.
    pub fn share(self, ceiling: f64) -> Self {
        Self {
            per_second: self.per_second * ceiling,
            burst: ((f64::from(self.burst) * ceiling) as u32).max(1),
        }
    }
}

/// The bucket of an operation, and the account's that it drinks from too.
///
/// # Panics
/// When the operation is not in the table: a call that no bucket was looked up for must not be sent.
pub fn buckets_of(service: Service, operation: &str) -> (BucketName, Option<BucketName>) {
    let of_service = || TABLE.iter().filter(|row| row.service == service);
    let own = of_service().find_map(|row| match &row.members {
        Members::Shared(name, operations) => operations.contains(&operation).then_some(*name),
        Members::Each(operations) => operations.iter().find(|&&name| name == operation).copied(),
        Members::All(_) => None,
    });
    let bucket = own.unwrap_or_else(|| panic!("{}.{operation} is in no row of budget::table", service.name()));
    let account = of_service().find_map(|row| match row.members {
        Members::All(bucket) => Some(BucketName { service, bucket }),
        _ => None,
    });
    (BucketName { service, bucket }, account)
}

/// What AWS documents for a bucket.
pub fn documented(name: BucketName) -> Rate {
    let row = TABLE
        .iter()
        .find(|row| row.buckets().any(|bucket| bucket == name))
        .expect("a BucketName is only made from this table");
    Rate {
        per_second: row.per_second,
        burst: row.burst,
    }
}

/// A bucket that the operator sizes otherwise: `--aws-budget elasticloadbalancing.register=4:20`, tokens a second, then
/// tokens at most; or `elasticloadbalancing.account=50%`, a share of what AWS documents. Taken as it stands, without the
/// ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetOverride {
    /// The bucket.
    pub bucket: BucketName,
    /// Its size.
    pub rate: Rate,
}

impl FromStr for BudgetOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || {
            format!(
                "`{text}` is neither bucket=per-second:burst nor bucket=share%; write for example \
                 elasticloadbalancing.register=4:20 or elasticloadbalancing.account=50%"
            )
        };
        let (bucket, rate) = text.split_once('=').ok_or_else(shape)?;
        let bucket: BucketName = bucket.parse()?;
        if let Some(share) = rate.strip_suffix('%') {
            let share: f64 = share.parse().map_err(|_| shape())?;
            if !(share > 0.0 && share <= 100.0) {
                return Err(format!("`{text}`: the share is above 0 and at most 100 %"));
            }
            return Ok(Self {
                bucket,
                rate: documented(bucket).share(share / 100.0),
            });
        }
        let (per_second, burst) = rate.split_once(':').ok_or_else(shape)?;
        let per_second: f64 = per_second.parse().map_err(|_| shape())?;
        let burst: u32 = burst.parse().map_err(|_| shape())?;
        if !(per_second > 0.0 && per_second <= 10_000.0) || burst == 0 {
            return Err(format!(
                "`{text}`: the rate is above 0 and at most 10000 a second, the burst at least 1"
            ));
        }
        Ok(Self {
            bucket,
            rate: Rate { per_second, burst },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elbv2_call_drinks_from_its_category_and_from_the_account() {
        let (own, account) = buckets_of(Service::ElasticLoadBalancing, "SetSubnets");
        assert_eq!(own.to_string(), "elasticloadbalancing.create");
        assert_eq!(account.unwrap().to_string(), "elasticloadbalancing.account");
        let rate = documented(own);
        assert_eq!((rate.burst, rate.per_second), (10, 0.2));
    }

    #[test]
    fn an_ec2_action_has_a_bucket_of_its_own() {
        let (own, account) = buckets_of(Service::Ec2, "DescribeSubnets");
        assert_eq!((own.to_string().as_str(), account), ("ec2.DescribeSubnets", None));
    }

    #[test]
    fn an_operation_stands_in_one_row() {
        let mut seen = std::collections::BTreeSet::new();
        for row in TABLE {
            if let Members::Shared(_, operations) | Members::Each(operations) = &row.members {
                for operation in *operations {
                    assert!(seen.insert((row.service, operation)), "{operation} stands twice");
                }
            }
        }
    }

    #[test]
    fn an_override_is_read_as_written_and_a_wrong_one_says_what_to_write() {
        let parsed: BudgetOverride = "elasticloadbalancing.register=4:20".parse().unwrap();
        assert_eq!((parsed.rate.per_second, parsed.rate.burst), (4.0, 20));
        let share: BudgetOverride = "elasticloadbalancing.account=50%".parse().unwrap();
        assert_eq!((share.rate.per_second, share.rate.burst), (5.0, 20));
        let unknown = "elasticloadbalancing.registre=4:20"
            .parse::<BudgetOverride>()
            .unwrap_err();
        assert!(unknown.contains("elasticloadbalancing.register"), "{unknown}");
        for wrong in [
            "ec2.DescribeSubnets",
            "ec2.DescribeSubnets=4",
            "ec2.DescribeSubnets=0:1",
            "ec2.DescribeSubnets=1:0",
            "ec2.DescribeSubnets=0%",
            "ec2.DescribeSubnets=101%",
            "ec2.DescribeSubnets=half%",
        ] {
            assert!(wrong.parse::<BudgetOverride>().is_err(), "{wrong}");
        }
    }
}
