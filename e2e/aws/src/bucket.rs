//! The token buckets that AWS documents for its APIs, per account and region.
//!
//! ```text
//! DescribeRules ─► takes one token of `describe` (40, 10/s) and one of `account` (40, 10/s); if either is empty: refused
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::call::{Call, Service, is_read};
use crate::fault::AwsError;

/// One documented bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Name within the service: a category, or an operation where buckets are per operation.
    pub name: String,
    /// Most tokens it holds.
    pub capacity: f64,
    /// Tokens a second.
    pub refill: f64,
}

fn limit(name: &str, capacity: f64, refill: f64) -> Limit {
    Limit {
        name: name.to_owned(),
        capacity,
        refill,
    }
}

/// The buckets that a call takes from, the account's last.
pub fn limits(service: Service, operation: &str, input: &Value) -> Vec<Limit> {
    match service {
        Service::Elbv2 => elbv2(operation),
        Service::Ec2 => vec![ec2(operation, input)],
        Service::Acm => acm(operation).into_iter().collect(),
        Service::Sts => Vec::new(),
        Service::Tagging => tagging(operation).into_iter().collect(),
    }
}

/// Source: "Throttling Elastic Load Balancing API requests", Elastic Load Balancing user guide.
fn elbv2(operation: &str) -> Vec<Limit> {
    let category = match operation {
        "CreateLoadBalancer" | "SetSubnets" => limit("resource-intensive", 10.0, 0.2),
        "RegisterTargets" | "DeregisterTargets" => limit("registration", 20.0, 4.0),
        _ if operation.contains("TrustStore") && !is_read(operation) => limit("trust-store", 10.0, 0.2),
        _ if operation.contains("TrustStore") && operation.starts_with("Describe") => {
            limit("describe-trust-store", 40.0, 10.0)
        }
        _ if operation.starts_with("Get") => limit("content", 20.0, 4.0),
        _ if is_read(operation) => limit("describe", 40.0, 10.0),
        _ => limit("mutating", 20.0, 3.0),
    };
    vec![category, limit("account", 40.0, 10.0)]
}

/// Source: "Request throttling for the Amazon EC2 API", Amazon EC2 developer guide. Each operation has its own bucket.
fn ec2(operation: &str, input: &Value) -> Limit {
    const COSTLY: [&str; 5] = [
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeVolumes",
    ];
    let (capacity, refill) = match operation {
        // "Unfiltered and unpaginated": neither ids nor filters nor MaxResults.
        _ if COSTLY.contains(&operation) && input.as_object().is_none_or(|members| members.is_empty()) => (50.0, 10.0),
        _ if is_read(operation) => (100.0, 20.0),
        "CreateTags" | "DeleteTags" => (100.0, 10.0),
        _ => (50.0, 5.0),
    };
    limit(operation, capacity, refill)
}

/// Requests a second. Source: "Quotas", AWS Certificate Manager user guide, "API rate quotas". Bursts are not documented:
/// one second's worth.
fn acm(operation: &str) -> Option<Limit> {
    let rate = match operation {
        "DescribeCertificate" | "GetCertificate" | "ListTagsForCertificate" | "DeleteCertificate" => 10.0,
        "RequestCertificate" | "AddTagsToCertificate" | "RemoveTagsFromCertificate" => 5.0,
        "ImportCertificate" => 1.0,
        "ListCertificates" => 8.0,
        _ => return None,
    };
    Some(limit(operation, rate, rate))
}

/// Calls a second. Source: "Service quotas", Tagging AWS Resources and Tag Editor user guide. Bursts are not documented: one
/// second's worth.
fn tagging(operation: &str) -> Option<Limit> {
    (operation == "GetResources").then(|| limit(operation, 15.0, 15.0))
}

#[derive(Clone, Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Account, region, service, name of the bucket.
type Key = (String, String, Service, String);

/// All buckets that were ever used, and who else drinks from them.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    buckets: BTreeMap<Key, Bucket>,
    neighbours: BTreeMap<(Service, String), f64>,
}

/// However greedy the neighbours, this part of a refill is left.
const LEFT_OVER: f64 = 0.1;

impl Buckets {
    /// Takes the tokens of a call, or none of them.
    ///
    /// # Errors
    /// The service's refusal, if one of its buckets is empty.
    pub fn take(&mut self, call: &Call, input: &Value, scale: f64) -> Result<(), AwsError> {
        let mut taken = Vec::new();
        for limit in limits(call.service, &call.operation, input) {
            let (capacity, refill) = ((limit.capacity * scale).max(1.0), limit.refill * scale);
            let others = self
                .neighbours
                .get(&(call.service, limit.name.clone()))
                .copied()
                .unwrap_or_default();
            let refill = (refill - others).max(refill * LEFT_OVER);
            let key = (call.account.clone(), call.region.clone(), call.service, limit.name);
            let bucket = self.buckets.entry(key.clone()).or_insert(Bucket {
                tokens: capacity,
                at: call.now,
            });
            let passed = call.now.duration_since(bucket.at).as_secs_f64().max(0.0);
            bucket.tokens = (bucket.tokens + passed * refill).min(capacity);
            bucket.at = call.now;
            // A refill of whole seconds must not miss a whole token by rounding.
            if bucket.tokens < 1.0 - 1e-6 {
                return Err(refused(call.service));
            }
            taken.push(key);
        }
        for key in taken {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.tokens -= 1.0;
            }
        }
        Ok(())
    }

    /// Lets somebody else in every account and region take `rate` tokens a second from a bucket.
    pub fn neighbour(&mut self, service: Service, bucket: &str, rate: f64) {
        self.neighbours.insert((service, bucket.to_owned()), rate);
    }

    /// Empties a bucket of an account and region, as a burst of calls by somebody else would.
    pub fn drain(&mut self, account: &str, region: &str, service: Service, bucket: &str, now: Timestamp) {
        let key = (account.to_owned(), region.to_owned(), service, bucket.to_owned());
        self.buckets.insert(key, Bucket { tokens: 0.0, at: now });
    }
}

/// How each service says that it was asked too often.
pub fn refused(service: Service) -> AwsError {
    match service {
        Service::Ec2 => AwsError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
        Service::Elbv2 | Service::Acm => AwsError::new("ThrottlingException", "Rate exceeded"),
        Service::Sts => AwsError::new("Throttling", "Rate exceeded"),
        Service::Tagging => AwsError::new("ThrottledException", "Rate exceeded"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn call(operation: &str, second: i64) -> Call {
        Call {
            service: if operation == "CreateTags" {
                Service::Ec2
            } else {
                Service::Elbv2
            },
            operation: operation.to_owned(),
            region: "eu-west-1".to_owned(),
            account: "1".to_owned(),
            access_key: String::new(),
            request_id: String::new(),
            now: Timestamp::from_second(second).unwrap(),
        }
    }

    fn granted(buckets: &mut Buckets, operation: &str, second: i64) -> usize {
        (0..200)
            .take_while(|_| buckets.take(&call(operation, second), &json!({}), 1.0).is_ok())
            .count()
    }

    #[test]
    fn a_child_bucket_refuses_before_the_account_does() {
        let mut buckets = Buckets::default();
        assert_eq!(granted(&mut buckets, "CreateRule", 0), 20);
        assert_eq!(granted(&mut buckets, "RegisterTargets", 0), 20);
        assert_eq!(
            granted(&mut buckets, "DescribeRules", 0),
            0,
            "the account's 40 are gone"
        );
        assert_eq!(granted(&mut buckets, "CreateRule", 2), 6, "three a second");
        assert_eq!(
            granted(&mut buckets, "DescribeRules", 2),
            14,
            "the rest of the account's ten a second"
        );
    }

    #[test]
    fn load_balancers_are_created_ten_at_once_then_one_in_five_seconds() {
        let mut buckets = Buckets::default();
        assert_eq!(granted(&mut buckets, "CreateLoadBalancer", 0), 10);
        assert_eq!(granted(&mut buckets, "CreateLoadBalancer", 4), 0);
        assert_eq!(granted(&mut buckets, "CreateLoadBalancer", 5), 1);
    }

    #[test]
    fn a_neighbour_slows_the_refill() {
        let mut buckets = Buckets::default();
        buckets.neighbour(Service::Elbv2, "account", 8.0);
        assert_eq!(granted(&mut buckets, "DescribeRules", 0), 40);
        assert_eq!(granted(&mut buckets, "DescribeRules", 3), 6);
    }

    #[test]
    fn ec2_has_a_bucket_for_each_operation() {
        let mut buckets = Buckets::default();
        assert_eq!(granted(&mut buckets, "CreateTags", 0), 100);
        let later = Timestamp::from_second(0).unwrap() + Duration::from_millis(100);
        let call = Call {
            now: later,
            ..call("CreateTags", 0)
        };
        assert!(buckets.take(&call, &json!({}), 1.0).is_ok());
        assert_eq!(
            buckets.take(&call, &json!({}), 1.0).unwrap_err().code,
            "RequestLimitExceeded"
        );
    }
}
