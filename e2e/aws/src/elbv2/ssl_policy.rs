//! Security policies of HTTPS listeners. Source: "Security policies for your Application Load Balancer", Application Load
//! Balancers user guide.

use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{Page, Paging};
use crate::fault::AwsError;

/// The policy of a listener that names none.
pub(super) const DEFAULT: &str = "ELBSecurityPolicy-2016-08";

/// Families of ciphers, in the order in which AWS lists them.
const TLS13: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
/// FIPS policies have no ChaCha20.
const TLS13_FIPS: &[&str] = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
const GCM: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];
const CBC_SHA2: &[&str] = &[
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
];
const CBC_SHA: &[&str] = &[
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
];
const RSA_SHA2: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES128-SHA256",
    "AES256-GCM-SHA384",
    "AES256-SHA256",
];
const RSA_SHA: &[&str] = &["AES128-SHA", "AES256-SHA"];

/// A policy: its name, the oldest and the newest protocol as an index into [`PROTOCOLS`], its families of ciphers.
type Policy = (&'static str, usize, usize, &'static [&'static [&'static str]]);

/// Newest last.
const PROTOCOLS: [&str; 4] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

const POLICIES: &[Policy] = &[
    ("ELBSecurityPolicy-TLS13-1-3-2021-06", 3, 3, &[TLS13]),
    ("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", 3, 3, &[TLS13]),
    ("ELBSecurityPolicy-TLS13-1-2-2021-06", 2, 3, &[TLS13, GCM, CBC_SHA2]),
    ("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", 2, 3, &[TLS13, GCM, CBC_SHA2]),
    ("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", 2, 3, &[TLS13, GCM]),
    ("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", 2, 3, &[TLS13, GCM]),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
        2,
        3,
        &[TLS13, GCM, CBC_SHA2, RSA_SHA2],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09",
        2,
        3,
        &[TLS13, GCM, CBC_SHA2, RSA_SHA2],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
        2,
        3,
        &[TLS13, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09",
        2,
        3,
        &[TLS13, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-1-2021-06",
        1,
        3,
        &[TLS13, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-0-2021-06",
        0,
        3,
        &[TLS13, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-0-PQ-2025-09",
        0,
        3,
        &[TLS13, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    ("ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", 3, 3, &[TLS13_FIPS]),
    ("ELBSecurityPolicy-TLS13-1-3-FIPS-PQ-2025-09", 3, 3, &[TLS13_FIPS]),
    (
        "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-FIPS-PQ-2025-09",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2],
    ),
    ("ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04", 2, 3, &[TLS13_FIPS, GCM]),
    (
        "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-PQ-2025-09",
        2,
        3,
        &[TLS13_FIPS, GCM],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-2023-04",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-PQ-2025-09",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-2023-04",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, RSA_SHA2],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-PQ-2025-09",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, RSA_SHA2],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-2023-04",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-PQ-2025-09",
        2,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-1-FIPS-2023-04",
        1,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS13-1-0-FIPS-2023-04",
        0,
        3,
        &[TLS13_FIPS, GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (
        "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
        2,
        2,
        &[GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    ("ELBSecurityPolicy-TLS-1-2-2017-01", 2, 2, &[GCM, CBC_SHA2, RSA_SHA2]),
    (
        "ELBSecurityPolicy-TLS-1-1-2017-01",
        1,
        2,
        &[GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA],
    ),
    (DEFAULT, 0, 2, &[GCM, CBC_SHA2, CBC_SHA, RSA_SHA2, RSA_SHA]),
    ("ELBSecurityPolicy-FS-1-2-Res-2020-10", 2, 2, &[GCM]),
    ("ELBSecurityPolicy-FS-1-2-Res-2019-08", 2, 2, &[GCM, CBC_SHA2]),
    ("ELBSecurityPolicy-FS-1-2-2019-08", 2, 2, &[GCM, CBC_SHA2, CBC_SHA]),
    ("ELBSecurityPolicy-FS-1-1-2019-08", 1, 2, &[GCM, CBC_SHA2, CBC_SHA]),
    ("ELBSecurityPolicy-FS-2018-06", 0, 2, &[GCM, CBC_SHA2, CBC_SHA]),
];

/// Refuses a name that is no policy.
pub(super) fn check(name: &str) -> Result<(), AwsError> {
    if POLICIES.iter().any(|(known, ..)| *known == name) {
        return Ok(());
    }
    Err(AwsError::new(
        "SSLPolicyNotFound",
        format!("SSL policy '{name}' not found"),
    ))
}

/// Oldest and newest protocol of a policy, such as `TLSv1.2` and `TLSv1.3`; none for a name that is no policy.
pub fn protocols(name: &str) -> Option<(&'static str, &'static str)> {
    let (_, oldest, newest, _) = POLICIES.iter().find(|(known, ..)| *known == name)?;
    Some((PROTOCOLS[*oldest], PROTOCOLS[*newest]))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    names: Option<Vec<String>>,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeSSLPolicies`.
pub(super) fn describe(input: Describe) -> Result<Value, AwsError> {
    let wanted = input.names.unwrap_or_default();
    wanted.iter().try_for_each(|name| check(name))?;
    let chosen = POLICIES
        .iter()
        .filter(|(name, ..)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let Page { items, next } = input
        .paging
        .page(chosen.map(|policy| (policy.0.to_owned(), policy)).collect())?;
    let policies = items.iter().map(|(name, oldest, newest, families)| {
        let ciphers = families.iter().flat_map(|family| family.iter()).zip(1..);
        let ciphers: Vec<Value> = ciphers
            .map(|(cipher, priority)| json!({"Name": cipher, "Priority": priority}))
            .collect();
        let protocols: Vec<&str> = PROTOCOLS[*oldest..=*newest].iter().rev().copied().collect();
        json!({
            "Name": name, "SslProtocols": protocols, "Ciphers": ciphers,
            "SupportedLoadBalancerTypes": ["application", "network"],
        })
    });
    Ok(json!({"SslPolicies": policies.collect::<Vec<_>>(), "NextMarker": next}))
}
