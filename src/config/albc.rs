//! Flags of the AWS Load Balancer Controller (v3.5.0) that are not ours: which of them a Deployment may keep.

/// Flags that only tune what albacore decides by itself, or belong to what it does not have: taken, and named in the log.
const IDLE: [&str; 23] = [
    "alb-gateway-max-concurrent-reconciles",
    "aws-api-throttle",
    "aws-max-retries",
    "aws-vpc-tag-key",
    "enable-endpoint-slices",
    "enable-shield",
    "enable-waf",
    "enable-wafv2",
    "gateway-class-max-concurrent-reconciles",
    "globalaccelerator-max-concurrent-reconciles",
    "globalaccelerator-max-exponential-backoff-delay",
    "ingress-max-concurrent-reconciles",
    "kube-ca-pem-filepath",
    "lb-stabilization-monitor-interval",
    "load-balancer-class",
    "nlb-gateway-max-concurrent-reconciles",
    "quic-environment-variable-name",
    "required-secrets-label",
    "service-max-concurrent-reconciles",
    "sync-period",
    "targetgroupbinding-max-concurrent-reconciles",
    "targetgroupbinding-max-exponential-backoff-delay",
    "targetgroupbinding-requeue-duration",
];

/// Flags that would change what is made: the value that albacore acts as, and what to do in place of another one.
const FIXED: [(&str, &str, &str); 9] = [
    (
        "allowed-certificate-authority-arns",
        "",
        "albacore finds no certificates by itself yet; leave it out and name certificates with certificate-arn",
    ),
    (
        "aws-vpc-tags",
        "",
        "albacore does not look for a VPC by tags; give its id with --aws-vpc-id",
    ),
    (
        "backend-security-group",
        "",
        "albacore makes the shared security group itself; leave it out, or write the group into security-groups of each Ingress",
    ),
    (
        "default-pca-arn",
        "",
        "albacore issues no certificates yet; leave it out and name certificates with certificate-arn",
    ),
    (
        "disable-restricted-sg-rules",
        "false",
        "albacore opens the ports of targets and no others; leave it out",
    ),
    (
        "max-targets-per-target-group",
        "0",
        "albacore registers every target; leave it out",
    ),
    (
        "service-target-eni-security-group-tags",
        "",
        "leave it out, and tag one security group of each node with kubernetes.io/cluster/<cluster name>",
    ),
    (
        "tolerate-non-existent-backend-action",
        "true",
        "what concerns one Ingress never stops its group; leave it out",
    ),
    (
        "tolerate-non-existent-backend-service",
        "true",
        "a rule whose Service is missing answers 503, with a warning; leave it out",
    ),
];

/// Feature gates, and whether albacore acts as if they were on; `None` where it makes no difference to what it does.
const GATES: [(&str, Option<bool>); 23] = [
    ("ALBGatewayAPI", None),
    ("ALBSingleSubnet", Some(false)),
    ("ALBTargetControlAgent", Some(false)),
    ("EnableCertificateManagement", Some(false)),
    ("EnableDefaultTagsLowPriority", Some(false)),
    ("EnableIPTargetType", Some(true)),
    ("EnableRGTAPI", None),
    ("EnableServiceController", None),
    ("EnableTCPUDPListener", None),
    ("EndpointsFailOpen", Some(true)),
    ("EnhancedDefaultBehavior", Some(false)),
    ("GatewayListenerSet", None),
    ("GlobalAcceleratorController", Some(false)),
    ("IngressPlanAnnotation", Some(false)),
    ("LBCapacityReservation", None),
    ("ListenerRulesTagging", Some(true)),
    ("NLBGatewayAPI", None),
    ("NLBHealthCheckAdvancedConfig", None),
    ("NLBSecurityGroup", None),
    ("ServiceTypeLoadBalancerOnly", None),
    ("SubnetDiscoveryByReachability", Some(true)),
    ("SubnetsClusterTagCheck", Some(true)),
    ("WeightedTargetGroups", None),
];

/// A flag that is not ours: taken without effect, or wrong.
///
/// # Errors
/// Why it is wrong, and what to do.
pub(super) fn take(name: &str, value: &str, ignored: &mut Vec<String>) -> Result<(), Vec<String>> {
    if name == "feature-gates" {
        return gates(value, ignored);
    }
    if let Some((_, same, instead)) = FIXED.iter().find(|(flag, ..)| *flag == name) {
        if value != *same {
            return Err(vec![format!("--{name}={value} is not to be had: {instead}")]);
        }
    } else if !IDLE.contains(&name) {
        return Err(vec![format!("--{name} is no flag of albacore{}", perhaps(name))]);
    }
    ignored.push(format!("--{name}={value}"));
    Ok(())
}

/// Whether a flag of ALBC takes a value in the next word.
pub(super) fn is_switch(name: &str) -> bool {
    ["enable-", "disable-", "tolerate-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn gates(list: &str, ignored: &mut Vec<String>) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let asked = super::value::switch(value);
        match (GATES.iter().find(|(gate, _)| *gate == name), asked) {
            (None, _) => wrong.push(format!(
                "--feature-gates={pair}: {name} is no feature gate of the AWS Load Balancer Controller; leave it out"
            )),
            (_, None) => wrong.push(format!("--feature-gates={pair}: write {name}=true or {name}=false")),
            (Some((_, Some(is))), Some(asked)) if *is != asked => wrong.push(format!(
                "--feature-gates={pair}: albacore has no gates and acts as with {name}={is}; leave it out if that is what you want"
            )),
            _ => ignored.push(format!("--feature-gates={pair}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// The flag that was meant, for whoever mistyped it.
fn perhaps(name: &str) -> String {
    let command = <super::flags::Flags as clap::CommandFactory>::command();
    let near = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long())
        .map(|flag| (distance(name, flag), flag))
        .min();
    match near {
        Some((few, flag)) if few <= 3 => format!("; is --{flag} meant?"),
        _ => "; `albacore --help` lists them".to_owned(),
    }
}

/// Letters to insert, leave out or exchange to make one word of the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for column in 0..to.len() {
            let exchanged = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        take(name, value, &mut Vec::new()).unwrap_err().join("\n")
    }

    #[test]
    fn a_flag_that_would_change_what_is_made_is_refused_unless_it_says_what_albacore_does() {
        for (flag, same, instead) in FIXED {
            let mut ignored = Vec::new();
            assert_eq!(take(flag, same, &mut ignored), Ok(()), "{flag}={same}");
            assert_eq!(ignored, [format!("--{flag}={same}")]);
            let wrong = refused(flag, "another");
            assert!(
                wrong.contains(&format!("--{flag}=another")) && wrong.contains(instead),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_gate_that_albacore_does_not_follow_is_refused() {
        for (gate, is) in GATES {
            for asked in [true, false] {
                let taken = take("feature-gates", &format!("{gate}={asked}"), &mut Vec::new());
                assert_eq!(
                    taken.is_ok(),
                    is.is_none_or(|is| is == asked),
                    "{gate}={asked}: {taken:?}"
                );
            }
        }
        let wrong = refused(
            "feature-gates",
            "ALBSingleSubnet=true,Nonsense=true,EnableRGTAPI=perhaps,EnableIPTargetType=true",
        );
        for part in [
            "ALBSingleSubnet=false",
            "Nonsense is no feature gate",
            "EnableRGTAPI=true or EnableRGTAPI=false",
        ] {
            assert!(wrong.contains(part), "{part} is not in:\n{wrong}");
        }
        assert!(!wrong.contains("EnableIPTargetType"), "{wrong}");
    }

    #[test]
    fn a_flag_is_ours_or_theirs_and_listed_once() {
        let command = <super::super::flags::Flags as clap::CommandFactory>::command();
        let ours = command.get_arguments().filter_map(clap::Arg::get_long);
        let theirs = IDLE
            .into_iter()
            .chain(FIXED.map(|(flag, ..)| flag))
            .chain(["feature-gates"]);
        let mut seen = std::collections::BTreeSet::new();
        for flag in ours.chain(theirs) {
            assert!(seen.insert(flag.to_owned()), "{flag} is listed twice");
        }
    }

    #[test]
    fn whoever_mistypes_is_told_what_was_meant() {
        assert_eq!(
            refused("ingres-class", "alb"),
            "--ingres-class is no flag of albacore; is --ingress-class meant?"
        );
        assert!(refused("nonsense", "").contains("--help"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
