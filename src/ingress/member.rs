//! One member by itself: annotations, class parameters and spec → contribution.

use super::{
    annotation::{PREFIX, REPLACE, Reader, reserved_tag},
    backend::Backends,
    contribution::{Contribution, ListenerWish, RuleWish, Shared},
};
use crate::{
    facts::{Cluster, HostRule, Ingress, IngressClassParams, IngressClassParamsSpec, PathRule},
    model::*,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What a member came to.
pub(super) struct Member {
    /// Its wishes; `None` when something blocks it.
    pub contribution: Option<Contribution>,
    /// What is wrong or odd.
    pub problems: Vec<Problem>,
}

const NO_PARAMS: &IngressClassParamsSpec = &IngressClassParamsSpec {
    load_balancer_name: None,
    certificate_arn: None,
    namespace_selector: None,
    group_name: None,
    scheme: None,
    inbound_cidrs: None,
    ssl_policy: None,
    ssl_redirect_port: None,
    subnet_ids: None,
    subnet_tags: None,
    ip_address_type: None,
    tags: None,
    target_type: None,
    load_balancer_attributes: None,
    unsupported: BTreeSet::new(),
};

struct Build<'a> {
    settings: &'a Settings,
    ingress: &'a Ingress,
    params: Option<&'a IngressClassParams>,
    reader: Reader<'a>,
}

/// Builds the contribution of `ingress` to `group`.
pub(super) fn build(
    settings: &Settings,
    cluster: &Cluster,
    group: &GroupKey,
    ingress: &Ingress,
    params: Option<&IngressClassParams>,
) -> Member {
    let reader = Reader::new(&ingress.key, &ingress.annotations);
    let mut build = Build {
        settings,
        ingress,
        params,
        reader,
    };
    build.reader.refuse_unknown();
    build.refuse_unsupported_params();
    build.refuse_long_name(group);
    let order = build.order();
    let shared = build.shared();
    let ports = build.listeners();

    let spec = build.spec();
    let mut backends = Backends::new(settings, cluster, group, ingress, spec);
    let default_actions = ingress
        .default_backend
        .as_ref()
        .and_then(|backend| backends.actions(backend, "spec.defaultBackend"));
    let mut rules = Vec::new();
    for (number, host) in ingress.rules.iter().enumerate() {
        for (place, path) in in_order(host) {
            let field = format!("spec.rules[{number}].http.paths[{place}]");
            let conditions = build.conditions(host, path, &field);
            let actions = backends.actions(&path.backend, &format!("{field}.backend"));
            if let (Some(conditions), Some(actions)) = (conditions, actions) {
                rules.push(RuleWish { conditions, actions });
            }
        }
    }
    let (target_groups, of_backends) = backends.finish();
    let mut problems = build.reader.into_problems();
    problems.extend(of_backends);
    let blocked = problems.iter().any(|problem| problem.severity == Severity::Blocking);
    let listeners = ports
        .into_iter()
        .map(|(port, wish)| {
            (
                port,
                ListenerWish {
                    default_actions: default_actions.clone(),
                    rules: rules.clone(),
                    ..wish
                },
            )
        })
        .collect();
    let contribution = (!blocked).then_some(Contribution {
        order,
        shared,
        listeners,
        target_groups,
    });
    Member { contribution, problems }
}

/// The paths of an entry in the order in which ALB must try them: Exact as written, Prefix longest first,
/// ImplementationSpecific as written. With each its place in the spec.
fn in_order(host: &HostRule) -> Vec<(usize, &PathRule)> {
    let kind = |path: &PathRule| path.path_type.as_deref().unwrap_or("ImplementationSpecific").to_owned();
    let mut paths: Vec<(usize, &PathRule)> = host.paths.iter().enumerate().collect();
    paths.sort_by_key(|(_, path)| match kind(path).as_str() {
        "Exact" => (0, 0),
        "Prefix" => (1, usize::MAX - path.path.len()),
        _ => (2, 0),
    });
    paths
}

impl<'a> Build<'a> {
    fn spec(&self) -> &'a IngressClassParamsSpec {
        self.params.map_or(NO_PARAMS, |params| &params.spec)
    }

    /// A value of the class that cannot be used.
    fn refuse_param(&mut self, field: &str, detail: String) {
        if let Some(params) = self.params {
            let object = Object::IngressClassParams(params.name.clone());
            self.reader
                .problem(object, format!("spec.{field}"), Code::InvalidValue, detail);
        }
    }

    /// A value that cannot be used, at the field of the class if it stands there, else at the annotation.
    fn refuse_at(&mut self, field: Option<&str>, annotation: &str, detail: String) {
        match field {
            Some(field) => self.refuse_param(field, detail),
            None => self.reader.refuse(annotation, detail),
        }
    }

    fn refuse_unsupported_params(&mut self) {
        if let Some(word) = self
            .spec()
            .target_type
            .as_deref()
            .filter(|word| !["instance", "ip"].contains(word))
        {
            let detail = format!("{} is not understood. Write `instance` or `ip`.", shown(word));
            self.refuse_param("targetType", detail);
        }
        if let Some(params) = self.params {
            for field in &params.spec.unsupported {
                let object = Object::IngressClassParams(params.name.clone());
                let detail = format!(
                    "`{field}` is not supported yet. Remove it; until then Ingresses of this class change nothing in AWS."
                );
                self.reader
                    .problem(object, format!("spec.{field}"), Code::NotSupported, detail);
            }
        }
        for (key, value) in self.spec().tags.iter().flatten() {
            if let Some(detail) = reserved_tag(key, value) {
                self.refuse_param("tags", detail);
            }
        }
    }

    /// Bindings carry the name of an Ingress by itself as a label, which is shorter than a name may be ("Labels and
    /// Selectors", Kubernetes documentation).
    fn refuse_long_name(&mut self, group: &GroupKey) {
        let name = &self.ingress.key.name;
        if matches!(group, GroupKey::Implicit(_)) && name.len() > 63 {
            let detail = format!(
                "`{name}` has {} characters, and an Ingress by itself may have 63 at most. Give it a shorter name, or put it into a group with `{PREFIX}group.name`.",
                name.len()
            );
            self.reader.problem(
                Object::Ingress(self.ingress.key.clone()),
                "metadata.name".to_owned(),
                Code::InvalidValue,
                detail,
            );
        }
    }

    fn order(&mut self) -> i32 {
        self.reader.number("group.order", -1000..=1000).unwrap_or_default()
    }

    fn shared(&mut self) -> Shared {
        let spec = self.spec();
        let schemes = [
            ("internal", Scheme::Internal),
            ("internet-facing", Scheme::InternetFacing),
        ];
        let scheme = match &spec.scheme {
            Some(word) => schemes
                .iter()
                .find(|(known, _)| known == word)
                .map(|(_, scheme)| *scheme)
                .or_else(|| {
                    self.refuse_param(
                        "scheme",
                        format!(
                            "{} is not understood. Write `internal` or `internet-facing`.",
                            shown(word)
                        ),
                    );
                    None
                }),
            None => self.reader.word("scheme", &schemes),
        };
        let name = match &spec.load_balancer_name {
            Some(name) => Some(name.clone()),
            None => self.reader.string("load-balancer-name").map(str::to_owned),
        };
        if let Some(name) = name.as_ref().and_then(|name| Some((name, name_error(name)?))) {
            let detail = format!(
                "{} cannot name a load balancer: {}. Write for example `shop`.",
                shown(name.0),
                name.1
            );
            let of_class = spec.load_balancer_name.as_ref().map(|_| "loadBalancerName");
            self.refuse_at(of_class, "load-balancer-name", detail);
        }
        let security_groups = self.reader.list("security-groups").filter(|list| !list.is_empty());
        let manage_backend_rules = self.reader.boolean("manage-backend-security-group-rules");
        if security_groups.is_some() && manage_backend_rules == Some(true) && !self.settings.backend_security_group {
            self.reader.refuse(
                "manage-backend-security-group-rules",
                "`true` needs the shared backend security group, which is switched off. Start albacore with \
                 --enable-backend-security-group, or write `false`."
                    .to_owned(),
            );
        }
        let mut tags = self.reader.tags(&self.settings.external_managed_tags);
        tags.extend(spec.tags.iter().flatten().cloned());
        Shared {
            name,
            scheme,
            ip_address_type: self.ip_address_type(),
            subnets: self.subnets(),
            security_groups,
            manage_backend_rules,
            ssl_redirect: self.ssl_redirect(),
            attributes: self.reader.map("load-balancer-attributes").unwrap_or_default(),
            class_attributes: spec.load_balancer_attributes.iter().flatten().cloned().collect(),
            tags,
            delete_first: self.delete_first(),
        }
    }

    fn ip_address_type(&mut self) -> Option<IpAddressType> {
        let of_class = self.spec().ip_address_type.as_deref();
        let word = of_class.or_else(|| self.reader.string("ip-address-type"))?;
        let found = IpAddressType::ALL.into_iter().find(|known| known.name() == word);
        if found.is_none() {
            let detail = format!(
                "{} is not understood. Write `ipv4`, `dualstack` or `dualstack-without-public-ipv4`.",
                shown(word)
            );
            self.refuse_at(of_class.map(|_| "ipAddressType"), "ip-address-type", detail);
        }
        found
    }

    fn delete_first(&mut self) -> bool {
        let consent = self.ingress.annotations.get(REPLACE).map(String::as_str);
        if let Some(other) = consent.filter(|consent| *consent != "delete-first") {
            self.reader.problem(
                Object::Ingress(self.ingress.key.clone()),
                REPLACE.to_owned(),
                Code::InvalidValue,
                format!(
                    "{} is not understood. Write `delete-first`, or remove the annotation.",
                    shown(other)
                ),
            );
        }
        consent == Some("delete-first")
    }

    fn subnets(&mut self) -> Option<SubnetSelector> {
        let spec = self.spec();
        if let Some(ids) = &spec.subnet_ids {
            return Some(SubnetSelector::Named(ids.clone()));
        }
        if let Some(tags) = &spec.subnet_tags {
            return Some(SubnetSelector::Tagged(tags.clone()));
        }
        self.reader
            .list("subnets")
            .filter(|list| !list.is_empty())
            .map(SubnetSelector::Named)
    }

    fn ssl_redirect(&mut self) -> Option<Port> {
        let of_class = self.spec().ssl_redirect_port.as_deref();
        let text = of_class.or_else(|| self.reader.string("ssl-redirect"))?;
        let port = text.parse().ok().filter(|port: &Port| *port > 0);
        if port.is_none() {
            let detail = format!(
                "{} is not a port. Write the port of an HTTPS listener, for example `443`.",
                shown(text)
            );
            self.refuse_at(of_class.map(|_| "sslRedirectPort"), "ssl-redirect", detail);
        }
        port
    }

    /// Listeners without rules.
    fn listeners(&mut self) -> BTreeMap<Port, ListenerWish> {
        let spec = self.spec();
        let certificates: Vec<CertificateArn> = match &spec.certificate_arn {
            Some(arns) => arns.iter().map(|arn| CertificateArn::from(arn.as_str())).collect(),
            None => self
                .reader
                .list("certificate-arn")
                .unwrap_or_default()
                .into_iter()
                .map(CertificateArn::from)
                .collect(),
        };
        let ssl_policy = spec
            .ssl_policy
            .clone()
            .or_else(|| self.reader.string("ssl-policy").map(str::to_owned));
        let inbound = self.inbound();
        let ports = match self.reader.string("listen-ports") {
            Some(text) => self.listen_ports(text),
            None if certificates.is_empty() => BTreeMap::from([(80, ListenerProtocol::Http)]),
            None => BTreeMap::from([(443, ListenerProtocol::Https)]),
        };
        let tls = ports.iter().find(|(_, protocol)| **protocol == ListenerProtocol::Https);
        if let Some((port, _)) = tls {
            self.refuse_certificates(*port, &certificates);
        }
        ports
            .into_iter()
            .map(|(port, protocol)| {
                let tls = protocol == ListenerProtocol::Https;
                let wish = ListenerWish {
                    protocol,
                    certificates: if tls { certificates.clone() } else { Vec::new() },
                    ssl_policy: if tls { ssl_policy.clone() } else { None },
                    inbound: inbound.clone(),
                    default_actions: None,
                    rules: Vec::new(),
                };
                (port, wish)
            })
            .collect()
    }

    /// Certificates count on HTTPS ports only; who has none there may write what he likes.
    fn refuse_certificates(&mut self, port: Port, certificates: &[CertificateArn]) {
        let of_class = self.spec().certificate_arn.as_ref().map(|_| "certificateArn");
        for arn in certificates {
            let parts: Vec<&str> = arn.as_str().splitn(6, ':').collect();
            if !matches!(parts[..], ["arn", _, "acm" | "iam", ..]) {
                let detail = format!(
                    "{} is not the ARN of a certificate. Write one of ACM, for example \
                     `arn:aws:acm:us-east-1:123456789012:certificate/…`.",
                    shown(arn.as_str())
                );
                self.refuse_at(of_class, "certificate-arn", detail);
            }
        }
        if certificates.is_empty() {
            self.reader.note(
                "certificate-arn",
                Code::NotSupported,
                format!(
                    "port `{port}` is HTTPS and needs a certificate, and finding one by host is not supported yet. \
                     Name it: `{PREFIX}certificate-arn: arn:aws:acm:…`."
                ),
            );
        }
    }

    fn listen_ports(&mut self, text: &str) -> BTreeMap<Port, ListenerProtocol> {
        const EXAMPLE: &str = "Write for example `[{\"HTTP\": 80}, {\"HTTPS\": 443}]`";
        let mut ports = BTreeMap::new();
        let entries: Vec<BTreeMap<String, i64>> = match serde_json::from_str(text) {
            Ok(entries) => entries,
            Err(error) => {
                self.reader.refuse(
                    "listen-ports",
                    format!("{} is not the JSON that is expected ({error}). {EXAMPLE}.", shown(text)),
                );
                return ports;
            }
        };
        if entries.iter().all(BTreeMap::is_empty) {
            self.reader.refuse(
                "listen-ports",
                format!("{} names no port. {EXAMPLE}, or remove the annotation.", shown(text)),
            );
        }
        for (protocol, port) in entries.iter().flatten() {
            let known = match protocol.as_str() {
                "HTTP" => Some(ListenerProtocol::Http),
                "HTTPS" => Some(ListenerProtocol::Https),
                _ => {
                    self.reader.refuse(
                        "listen-ports",
                        format!(
                            "{} is not understood: listeners are `HTTP` or `HTTPS`. {EXAMPLE}.",
                            shown(protocol)
                        ),
                    );
                    None
                }
            };
            match (Port::try_from(*port).ok().filter(|port| *port > 0), known) {
                (Some(port), Some(protocol)) => match ports.insert(port, protocol) {
                    Some(other) if other != protocol => self.reader.refuse(
                        "listen-ports",
                        format!(
                            "port `{port}` is listed as `HTTP` and as `HTTPS`, and can be only one of them. {EXAMPLE}."
                        ),
                    ),
                    _ => {}
                },
                (Some(_), None) => {}
                (None, _) => self.reader.refuse(
                    "listen-ports",
                    format!("`{port}` is not a port: ports go from 1 to 65535. {EXAMPLE}."),
                ),
            }
        }
        ports
    }

    fn inbound(&mut self) -> Option<BTreeSet<IpNet>> {
        let class = self.spec().inbound_cidrs.clone();
        let of_class = class.as_ref().map(|_| "inboundCIDRs");
        let ranges = class.or_else(|| self.reader.list("inbound-cidrs"))?;
        let mut parsed = BTreeSet::new();
        for text in &ranges {
            match text.parse::<IpNet>() {
                // Go keeps the bits behind the prefix out of the range; so does AWS.
                Ok(range) => {
                    parsed.insert(range.trunc());
                }
                Err(_) => {
                    // A single address is a range of its own.
                    let meant = text
                        .parse()
                        .map_or_else(|_| "10.0.0.0/8".to_owned(), |one: IpAddr| IpNet::from(one).to_string());
                    let detail = format!("{} is not an address range. Write for example `{meant}`.", shown(text));
                    self.refuse_at(of_class, "inbound-cidrs", detail);
                }
            }
        }
        Some(parsed).filter(|parsed| !parsed.is_empty())
    }

    /// Host before path; a rule without any matches every path.
    fn conditions(&mut self, host: &HostRule, path: &PathRule, field: &str) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        if !host.host.is_empty() {
            conditions.push(Condition::Host(vec![host.host.clone()]));
        }
        if !path.path.is_empty() {
            conditions.push(Condition::Path(self.patterns(path, field)?));
        }
        if conditions.is_empty() {
            conditions.push(Condition::Path(vec!["/*".to_owned()]));
        }
        Some(conditions)
    }

    fn patterns(&mut self, path: &PathRule, field: &str) -> Option<Vec<String>> {
        let kind = path.path_type.as_deref().unwrap_or("ImplementationSpecific");
        let mut refuse = |field: String, detail: String| {
            self.reader.problem(
                Object::Ingress(self.ingress.key.clone()),
                field,
                Code::InvalidValue,
                detail,
            );
            None
        };
        let wild = path.path.contains(['*', '?']);
        match kind {
            "Exact" | "Prefix" if wild => refuse(
                format!("{field}.path"),
                format!(
                    "{} has wildcards, which a path of type {kind} may not have. Remove them, or write pathType: ImplementationSpecific.",
                    shown(&path.path)
                ),
            ),
            "Exact" | "ImplementationSpecific" => Some(vec![path.path.clone()]),
            "Prefix" if path.path == "/" => Some(vec!["/*".to_owned()]),
            "Prefix" => {
                let stem = path.path.trim_end_matches('/');
                Some(vec![stem.to_owned(), format!("{stem}/*")])
            }
            other => refuse(
                format!("{field}.pathType"),
                format!("`{other}` is not understood. Write `Exact`, `Prefix` or `ImplementationSpecific`."),
            ),
        }
    }
}

/// Why `name` cannot name a load balancer ("CreateLoadBalancer", Elastic Load Balancing API reference).
fn name_error(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.chars().count() > 32 {
        Some("it must have 1 to 32 characters")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Some("it may have letters, digits and hyphens only")
    } else if name.starts_with('-') || name.ends_with('-') || name.starts_with("internal-") {
        Some("it must not begin or end with a hyphen, nor begin with `internal-`")
    } else {
        None
    }
}
