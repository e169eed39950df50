//! What members of a group cannot have both.

use super::{
    annotation::PREFIX,
    contribution::{Contribution, Shared},
};
use crate::{facts::IngressClassParamsSpec, model::*};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// Why two members cannot share a load balancer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Annotation (without prefix), or field of the spec.
    pub field: &'static str,
    /// What the one wants.
    pub wanted: String,
    /// What stands with the other.
    pub standing: String,
    /// The tag or attribute about which they differ.
    pub key: Option<String>,
    /// What both can do about it.
    pub cure: &'static str,
}

/// What keeps `wishes` from standing beside `standing`.
pub(super) fn conflict(standing: &Contribution, wishes: &Contribution) -> Option<Conflict> {
    let conflict = |field, wanted: String, standing: String| Conflict {
        field,
        wanted,
        standing,
        key: None,
        cure: "Write the same in both",
    };
    let (x, y) = (opinions(&standing.shared), opinions(&wishes.shared));
    let (x, y) = (x.into_iter(), y.into_iter());
    let differ = x
        .zip(y)
        .find_map(|((field, x), (_, y))| Some((field, x?, y?)).filter(|(_, x, y)| x != y));
    if let Some((field, x, y)) = differ {
        return Some(conflict(field, shown(&y), shown(&x)));
    }
    for (one, other) in [(standing, wishes), (wishes, standing)] {
        let refuses = one.shared.ip_address_type == Some(IpAddressType::Ipv4);
        if let Some(needs) = other.ipv6_service().filter(|_| refuses) {
            let ipv4 = shown(IpAddressType::Ipv4.name());
            let dual = format!("dual-stack for Service `{needs}`, whose addresses are IPv6,");
            let (wanted, standing) = if std::ptr::eq(one, wishes) {
                (ipv4, dual)
            } else {
                (dual, ipv4)
            };
            return Some(Conflict {
                cure: "Write `dualstack` in both",
                ..conflict("ip-address-type", wanted, standing.trim_end_matches(',').to_owned())
            });
        }
    }
    let (x, y) = (&standing.shared, &wishes.shared);
    for (field, x, y) in [
        ("load-balancer-attributes", &x.attributes, &y.attributes),
        ("tags", &x.tags, &y.tags),
    ] {
        let other = |(key, _): &(&String, &String)| x.get(*key);
        if let Some((key, value)) = y.iter().find(|pair| other(pair).is_some_and(|other| other != pair.1)) {
            let pair = |value: &str| shown(&format!("{key}={value}"));
            return Some(Conflict {
                key: Some(key.clone()),
                ..conflict(field, pair(value), pair(&x[key]))
            });
        }
    }
    let redirected = x.ssl_redirect.is_some() || y.ssl_redirect.is_some();
    for (port, y) in &wishes.listeners {
        let Some(x) = standing.listeners.get(port) else {
            continue;
        };
        let on_port = |value: &str| format!("{} on port `{port}`", shown(value));
        if x.protocol != y.protocol {
            return Some(conflict(
                "listen-ports",
                on_port(y.protocol.name()),
                shown(x.protocol.name()),
            ));
        }
        if let (Some(x), Some(y)) = (&x.ssl_policy, &y.ssl_policy)
            && x != y
        {
            return Some(conflict("ssl-policy", on_port(y), shown(x)));
        }
        if let (Some(x), Some(y)) = (&x.inbound, &y.inbound)
            && x != y
        {
            return Some(conflict("inbound-cidrs", on_port(&list(y)), shown(&list(x))));
        }
        // What is redirected has no use for a default.
        let redirected = redirected && x.protocol == ListenerProtocol::Http;
        if let (false, Some(x), Some(y)) = (redirected, &x.default_actions, &y.default_actions) {
            return Some(Conflict {
                cure: "Remove one of them",
                ..conflict("spec.defaultBackend", on_port(&backend(y)), shown(&backend(x)))
            });
        }
    }
    None
}

/// Settings of which a load balancer has one, spelled so that equal ones are equal.
fn opinions(shared: &Shared) -> [(&'static str, Option<String>); 7] {
    let subnets = shared.subnets.as_ref().map(|selector| match selector {
        SubnetSelector::Discover(_) => String::new(),
        SubnetSelector::Named(names) => list(names.iter().collect::<BTreeSet<_>>()),
        SubnetSelector::Tagged(tags) => list(tags.iter().map(|(key, values)| format!("{key}={}", values.join("|")))),
    });
    [
        ("load-balancer-name", shared.name.clone()),
        ("scheme", shared.scheme.map(|scheme| scheme.name().to_owned())),
        (
            "ip-address-type",
            shared.ip_address_type.map(|kind| kind.name().to_owned()),
        ),
        ("subnets", subnets),
        ("security-groups", shared.security_groups.as_ref().map(list)),
        (
            "manage-backend-security-group-rules",
            shared.manage_backend_rules.map(|manage| manage.to_string()),
        ),
        ("ssl-redirect", shared.ssl_redirect.map(|port| port.to_string())),
    ]
}

fn list<T: Display>(parts: impl IntoIterator<Item = T>) -> String {
    parts
        .into_iter()
        .map(|part| part.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A default backend by the target group that it became.
fn backend(actions: &[Action<TargetGroupKey>]) -> String {
    let groups = list(actions.iter().flat_map(Action::target_groups));
    if groups.is_empty() { "503".to_owned() } else { groups }
}

/// What a member relies on and the group does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Annotation (without prefix) that relies on it.
    pub annotation: &'static str,
    /// What is missing, and what to write instead.
    pub detail: String,
}

/// What `wishes`, those of one of `members`, rely on in vain; `default` is the scheme of a group that says none.
pub(super) fn lost(
    default: Scheme,
    members: &BTreeMap<ObjectKey, Contribution>,
    wishes: &Contribution,
) -> Option<Lost> {
    let redirect = wishes
        .shared
        .ssl_redirect
        .and_then(|port| redirect_problem(members, port));
    let redirect = redirect.map(|detail| Lost {
        annotation: "ssl-redirect",
        detail,
    });
    redirect.or_else(|| {
        Some(Lost {
            annotation: "ip-address-type",
            detail: family_problem(default, members, wishes)?,
        })
    })
}

/// Why the load balancer that the members come to cannot have what one of them wishes of its addresses.
/// Source: "IP address type", Application Load Balancers user guide.
fn family_problem(
    default: Scheme,
    members: &BTreeMap<ObjectKey, Contribution>,
    wishes: &Contribution,
) -> Option<String> {
    let said = members.values().find_map(|c| c.shared.ip_address_type);
    if let Some(service) = wishes.ipv6_service()
        && !said.is_some_and(IpAddressType::has_ipv6)
    {
        return Some(format!(
            "the addresses of Service `{service}` are IPv6, which only a dual-stack load balancer reaches. Write \
             `dualstack` here, or `ipFamilies: [IPv4]` in the Service."
        ));
    }
    let without = IpAddressType::DualstackWithoutPublicIpv4;
    let scheme = members.values().find_map(|c| c.shared.scheme).unwrap_or(default);
    (wishes.shared.ip_address_type == Some(without) && scheme == Scheme::Internal).then(|| {
        format!(
            "`{}` is for a load balancer that faces the internet, and this one is internal. Write `dualstack`, or \
             `{PREFIX}scheme: internet-facing`.",
            without.name()
        )
    })
}

/// Why no listener serves what `ssl-redirect` names; `None` when one does, or nothing is redirected.
fn redirect_problem(members: &BTreeMap<ObjectKey, Contribution>, port: Port) -> Option<String> {
    let listeners = members.values().filter_map(|c| c.listeners.get(&port));
    let protocols: BTreeSet<ListenerProtocol> = listeners.map(|listener| listener.protocol).collect();
    if protocols.contains(&ListenerProtocol::Https) {
        None
    } else if protocols.is_empty() {
        Some(format!(
            "nobody listens on port `{port}`. Add `{{\"HTTPS\": {port}}}` to `{PREFIX}listen-ports`, or name another port."
        ))
    } else {
        Some(format!(
            "port `{port}` does not listen for HTTPS. Name the port of an HTTPS listener."
        ))
    }
}

/// The field of a class that stands in for an annotation; `None` when the class leaves it to the annotation. Of tags, the
/// class may set some.
pub(super) fn field_of_class(
    class: &IngressClassParamsSpec,
    annotation: &str,
    key: Option<&str>,
) -> Option<&'static str> {
    let sets = |key: &str| class.tags.iter().flatten().any(|(tag, _)| tag == key);
    let (set, field) = match annotation {
        "load-balancer-name" => (class.load_balancer_name.is_some(), "spec.loadBalancerName"),
        "scheme" => (class.scheme.is_some(), "spec.scheme"),
        "ip-address-type" => (class.ip_address_type.is_some(), "spec.ipAddressType"),
        "subnets" => (
            class.subnet_ids.is_some() || class.subnet_tags.is_some(),
            "spec.subnets",
        ),
        "ssl-redirect" => (class.ssl_redirect_port.is_some(), "spec.sslRedirectPort"),
        "ssl-policy" => (class.ssl_policy.is_some(), "spec.sslPolicy"),
        "inbound-cidrs" => (class.inbound_cidrs.is_some(), "spec.inboundCIDRs"),
        "tags" => (key.is_some_and(sets), "spec.tags"),
        _ => (false, ""),
    };
    set.then_some(field)
}
