//! Names of load balancers and target groups, and the DNS names and zones made of them.

use crate::call::partition;
use crate::fault::AwsError;

/// "can have a maximum of 32 characters, must contain only alphanumeric characters or hyphens, must not begin or end with a
/// hyphen". Source: `CreateLoadBalancer` and `CreateTargetGroup` of the API reference.
pub(super) fn check(kind: &str, name: &str) -> Result<(), AwsError> {
    let problem = match name {
        "" => "cannot be empty",
        _ if name.len() > 32 => "cannot be longer than '32' characters",
        _ if name.starts_with('-') || name.ends_with('-') => "cannot begin or end with '-'",
        _ if !name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '-') =>
        {
            "can only contain characters that are alphanumeric characters or hyphens(-)"
        }
        _ => return Ok(()),
    };
    Err(AwsError::validation(format!("{kind} name '{name}' {problem}")))
}

/// The DNS name of a load balancer. `number` is drawn at random.
pub(super) fn dns(name: &str, number: u64, region: &str, scheme: &str) -> String {
    let internal = if scheme == "internal" { "internal-" } else { "" };
    let host = format!("{internal}{name}-{number}");
    match partition(region) {
        "aws-cn" => format!("{host}.{region}.elb.amazonaws.com.cn"),
        _ => format!("{host}.{region}.elb.amazonaws.com"),
    }
}

/// The hosted zone of a region's load balancers, for alias records.
pub(super) fn hosted_zone(region: &str) -> &'static str {
    ZONES
        .iter()
        .find(|(known, _)| *known == region)
        .map_or("Z35SXDOTRQ7X7K", |(_, zone)| zone)
}

/// Source: "Elastic Load Balancing endpoints and quotas", AWS General Reference, column for Application Load Balancers.
const ZONES: [(&str, &str); 33] = [
    ("af-south-1", "Z268VQBMOI5EKX"),
    ("ap-east-1", "Z3DQVH9N71FHZ0"),
    ("ap-northeast-1", "Z14GRHDCWA56QT"),
    ("ap-northeast-2", "ZWKZPGTI48KDX"),
    ("ap-northeast-3", "Z5LXEXXYW11ES"),
    ("ap-south-1", "ZP97RAFLXTNZK"),
    ("ap-south-2", "Z0173938T07WNTVAEPZN"),
    ("ap-southeast-1", "Z1LMS91P8CMLE5"),
    ("ap-southeast-2", "Z1GM3OXH4ZPM65"),
    ("ap-southeast-3", "Z08888821HLRG5A9ZRTER"),
    ("ap-southeast-4", "Z09517862IB2WZLPXG76F"),
    ("ca-central-1", "ZQSVJUPU6J1EY"),
    ("ca-west-1", "Z06473681N0SF6OS049SD"),
    ("cn-north-1", "Z1GDH35T77C1KE"),
    ("cn-northwest-1", "ZM7IZAIOVVDZF"),
    ("eu-central-1", "Z215JYRZR1TBD5"),
    ("eu-central-2", "Z06391101F2ZOEP8P5EB3"),
    ("eu-north-1", "Z23TAZ6LKFMNIO"),
    ("eu-south-1", "Z3ULH7SSC9OV64"),
    ("eu-south-2", "Z0956581394HF5D5LXGAP"),
    ("eu-west-1", "Z32O12XQLNTSW2"),
    ("eu-west-2", "ZHURV8PSTC4K8"),
    ("eu-west-3", "Z3Q77PNBQS71R4"),
    ("il-central-1", "Z09170902867EHPV2DABU"),
    ("me-central-1", "Z08230872XQRWHG2XF6I"),
    ("me-south-1", "ZS929ML54UICD"),
    ("sa-east-1", "Z2P70J7HTTTPLU"),
    ("us-east-1", "Z35SXDOTRQ7X7K"),
    ("us-east-2", "Z3AADJGX6KTTL2"),
    ("us-gov-east-1", "Z166TLBEWOO7G0"),
    ("us-gov-west-1", "Z33AYJ8TM3BH4J"),
    ("us-west-1", "Z368ELLRRE2KJ0"),
    ("us-west-2", "Z1H1FL5HABSF5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dns_names_have_aws_form() {
        assert!(check("Load balancer", "a-b-1").is_ok());
        for bad in ["", "-a", "a-", "a_b", "a.b", &"x".repeat(33)] {
            assert_eq!(
                check("Load balancer", bad).unwrap_err().code,
                "ValidationError",
                "{bad}"
            );
        }
        assert_eq!(
            dns("web", 12, "eu-west-1", "internet-facing"),
            "web-12.eu-west-1.elb.amazonaws.com"
        );
        assert_eq!(
            dns("web", 12, "cn-north-1", "internal"),
            "internal-web-12.cn-north-1.elb.amazonaws.com.cn"
        );
        assert_eq!(hosted_zone("eu-west-1"), "Z32O12XQLNTSW2");
    }
}
