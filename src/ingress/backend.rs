//! Backends of rules → actions and target groups.

use super::annotation::{PREFIX, Reader};
use crate::{
    facts::{Backend, Cluster, Ingress, IngressClassParamsSpec, Service, ServicePort},
    model::*,
    plan::intent::IntendedTargetGroup,
};
use std::collections::BTreeMap;

/// Names for the generations of a target group that may have to stand side by side.
const GENERATIONS: [&str; 3] = ["1", "2", "3"];

/// Gathers the target groups that a member's rules name.
pub(super) struct Backends<'a> {
    settings: &'a Settings,
    cluster: &'a Cluster,
    group: &'a GroupKey,
    ingress: &'a Ingress,
    /// `targetType` of the class: beats every annotation.
    target_type: Option<&'a str>,
    /// `tags` of the class: beat those of annotations.
    class_tags: &'a [(String, String)],
    made: BTreeMap<TargetGroupKey, IntendedTargetGroup>,
    problems: Vec<Problem>,
}

impl<'a> Backends<'a> {
    pub fn new(
        settings: &'a Settings,
        cluster: &'a Cluster,
        group: &'a GroupKey,
        ingress: &'a Ingress,
        class: &'a IngressClassParamsSpec,
    ) -> Self {
        let target_type = class.target_type.as_deref();
        let class_tags = class.tags.as_deref().unwrap_or_default();
        Self {
            settings,
            cluster,
            group,
            ingress,
            target_type,
            class_tags,
            made: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// The target groups, and what was wrong.
    pub fn finish(self) -> (BTreeMap<TargetGroupKey, IntendedTargetGroup>, Vec<Problem>) {
        (self.made, self.problems)
    }

    /// What is done with requests for a backend; `None` when that is not clear.
    pub fn actions(&mut self, backend: &Backend, field: &str) -> Option<Vec<Action<TargetGroupKey>>> {
        let Backend::Service { name, port } = backend else {
            self.problem(
                field,
                Severity::Blocking,
                Code::NotSupported,
                "a `resource` cannot be served. Name a `service`.".to_owned(),
            );
            return None;
        };
        let Some(port) = port else {
            let detail = format!("no port of Service `{name}` is named. Write its number or its name.");
            self.problem(
                &format!("{field}.service.port"),
                Severity::Blocking,
                Code::InvalidValue,
                detail,
            );
            return None;
        };
        if *port == PortRef::Name("use-annotation".to_owned()) {
            let detail = format!("`use-annotation` is not supported yet. Name a port of Service `{name}`.");
            self.problem(
                &format!("{field}.service.port.name"),
                Severity::Blocking,
                Code::NotSupported,
                detail,
            );
            return None;
        }
        let key = ObjectKey::new(&self.ingress.key.namespace, name);
        let Some(service) = self.cluster.service(&key) else {
            let detail = format!(
                "Service `{key}` does not exist; requests are answered with 503 until it does. Create it, or name another one."
            );
            self.problem(
                &format!("{field}.service.name"),
                Severity::Warning,
                Code::NotFound,
                detail,
            );
            return Some(vec![Action::FixedResponse {
                status_code: "503".to_owned(),
                content_type: Some("text/plain".to_owned()),
                message_body: Some("Backend service does not exist".to_owned()),
            }]);
        };
        let Some(of_service) = find_port(service, port) else {
            let detail = format!(
                "Service `{key}` has no port `{port}`. Write one of its ports ({}), or add the port to the Service.",
                ports_of(service)
            );
            self.problem(
                &format!("{field}.service.port"),
                Severity::Blocking,
                Code::NotFound,
                detail,
            );
            return None;
        };
        let resource = |port: &str| TargetGroupKey(format!("{}-{}:{port}", self.ingress.key, key.name));
        let made = resource(&port.to_string());
        if !self.made.contains_key(&made) {
            let alias = match port {
                PortRef::Number(_) => Some(of_service.name.clone()).filter(|name| !name.is_empty()),
                PortRef::Name(_) => Some(of_service.port.to_string()),
            };
            let group = self.target_group(service, of_service, port, &made, alias.as_deref().map(resource))?;
            self.made.insert(made.clone(), group);
        }
        Some(vec![Action::Forward(Forward::to(made))])
    }

    fn problem(&mut self, field: &str, severity: Severity, code: Code, detail: String) {
        self.problems.push(Problem {
            member: Some(self.ingress.key.clone()),
            object: Object::Ingress(self.ingress.key.clone()),
            field: field.to_owned(),
            severity,
            code,
            detail,
        });
    }

    fn target_group(
        &mut self,
        service: &Service,
        port: &ServicePort,
        spelled: &PortRef,
        key: &TargetGroupKey,
        alias: Option<TargetGroupKey>,
    ) -> Option<IntendedTargetGroup> {
        let mut reader = Reader::with_service(
            &self.ingress.key,
            &self.ingress.annotations,
            (&service.key, &service.annotations),
        );
        let group = self.read_target_group(&mut reader, service, port, spelled, key, alias);
        let mut problems = reader.into_problems();
        // Those of the Ingress itself were found when it was read.
        problems.retain(|problem| !self.problems.contains(problem));
        let blocked = problems.iter().any(|problem| problem.severity == Severity::Blocking);
        self.problems.extend(problems);
        group.filter(|_| !blocked)
    }

    fn read_target_group(
        &self,
        reader: &mut Reader,
        service: &Service,
        port: &ServicePort,
        spelled: &PortRef,
        key: &TargetGroupKey,
        alias: Option<TargetGroupKey>,
    ) -> Option<IntendedTargetGroup> {
        reader.refuse_unknown();
        let types = [("instance", TargetType::Instance), ("ip", TargetType::Ip)];
        let target_type = match self.target_type {
            Some(word) => Some(types.iter().find(|(known, _)| *known == word)?.1),
            None if reader.string("target-type").is_some() => Some(reader.word("target-type", &types)?),
            None => None,
        }
        .unwrap_or(self.settings.default_target_type);
        if target_type == TargetType::Instance && port.node_port == 0 {
            let detail = format!(
                "Service `{}` is of type `{}` and has no node port, which target type `instance` needs. Make it `type: NodePort`, or write `{PREFIX}target-type: ip`.",
                service.key, service.service_type
            );
            reader.problem(
                Object::Service(service.key.clone()),
                "spec.type".to_owned(),
                Code::InvalidValue,
                detail,
            );
            return None;
        }
        let words = |reader: &mut Reader, key: &str, words: &[&'static str]| {
            let pairs: Vec<(&str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
            reader.string(key).is_some().then(|| reader.word(key, &pairs)).flatten()
        };
        let protocol = words(reader, "backend-protocol", &["HTTP", "HTTPS"]).unwrap_or("HTTP");
        let version = words(reader, "backend-protocol-version", &["HTTP1", "HTTP2", "GRPC"]).unwrap_or("HTTP1");
        let grpc = version == "GRPC";
        let target_port = match (target_type, &port.target_port) {
            (TargetType::Instance, _) => PortRef::Number(port.node_port),
            (TargetType::Ip, target_port) => target_port.clone(),
        };
        let own_port = match &target_port {
            PortRef::Number(number) => *number,
            PortRef::Name(_) => 1,
        };
        let check_port = self.health_check_port(reader, service, target_type);
        // What AWS allows ("CreateTargetGroup", Elastic Load Balancing API reference).
        let number = |reader: &mut Reader, key: &str, range, default| reader.number(key, range).unwrap_or(default);
        let health_check = HealthCheck {
            port: check_port
                .as_ref()
                .map_or_else(|| "traffic-port".to_owned(), PortRef::to_string),
            protocol: words(reader, "healthcheck-protocol", &["HTTP", "HTTPS"])
                .unwrap_or(protocol)
                .to_owned(),
            path: reader
                .string("healthcheck-path")
                .unwrap_or(if grpc { "/AWS.ALB/healthcheck" } else { "/" })
                .to_owned(),
            interval_seconds: number(reader, "healthcheck-interval-seconds", 5..=300, 15),
            timeout_seconds: number(reader, "healthcheck-timeout-seconds", 2..=120, 5),
            healthy_threshold: number(reader, "healthy-threshold-count", 2..=10, 2),
            unhealthy_threshold: number(reader, "unhealthy-threshold-count", 2..=10, 2),
            success_codes: reader
                .string("success-codes")
                .unwrap_or(if grpc { "12" } else { "200" })
                .to_owned(),
        };
        check_timeout(reader, &health_check);
        check_codes(reader, &health_check.success_codes, grpc);
        let spelled_port = spelled.to_string();
        let name = |generation: &str| {
            names::TargetGroupName {
                cluster: &self.settings.cluster,
                group: self.group,
                ingress: &self.ingress.key,
                service: &service.key,
                service_uid: &service.uid,
                backend_port: &spelled_port,
                port: own_port,
                target_type,
                protocol,
                protocol_version: version,
                generation,
            }
            .build()
        };
        // The Service's tags beat those of the Ingress; the class beats both; defaults come on top when
        // everything is merged.
        let own = reader.tags(&self.settings.external_managed_tags);
        let mut of_ingress = Reader::new(&self.ingress.key, &self.ingress.annotations);
        let mut tags = of_ingress.map("tags").unwrap_or_default();
        tags.extend(own);
        tags.extend(self.class_tags.iter().cloned());
        tags.insert(tags::RESOURCE.to_owned(), key.0.clone());
        let mut ports = vec![target_port];
        ports.extend(check_port.filter(|port| !ports.contains(port)));
        Some(IntendedTargetGroup {
            group: TargetGroup {
                name: name(""),
                target_type,
                protocol: protocol.to_owned(),
                protocol_version: version.to_owned(),
                port: own_port,
                // As with ALBC, one family that is IPv6 decides, also of a Service that has both.
                ip_address_type: if service.ipv6 { IPV6 } else { IPV4 }.to_owned(),
                health_check,
                attributes: reader.map("target-group-attributes").unwrap_or_default(),
                tags,
            },
            next_names: GENERATIONS.map(name).to_vec(),
            alias,
            binding: Binding {
                service: service.key.clone(),
                service_port: spelled.clone(),
                node_selector: None,
                networking: Some(BindingNetworking {
                    source: SecurityGroupRef::Backend,
                    ports,
                }),
            },
            owner: self.ingress.key.clone(),
        })
    }

    /// `None` for the traffic port.
    fn health_check_port(&self, reader: &mut Reader, service: &Service, target_type: TargetType) -> Option<PortRef> {
        let text = reader
            .string("healthcheck-port")
            .filter(|text| *text != "traffic-port")?;
        if let Ok(number) = text.parse::<i64>() {
            let port = Port::try_from(number).ok().filter(|port| *port > 0);
            if port.is_none() {
                reader.refuse(
                    "healthcheck-port",
                    format!(
                        "`{text}` is not a port. Write `traffic-port`, a number from 1 to 65535 or the name of a port of \
                         Service `{}`.",
                        service.key
                    ),
                );
            }
            return port.map(PortRef::Number);
        }
        let Some(port) = service.ports.iter().find(|port| port.name == text) else {
            let detail = format!(
                "Service `{}` has no port named {}. Write `traffic-port`, a number or the name of one of its ports ({}).",
                service.key,
                shown(text),
                ports_of(service)
            );
            reader.refuse("healthcheck-port", detail);
            return None;
        };
        match (target_type, &port.target_port) {
            (TargetType::Instance, _) => Some(PortRef::Number(port.node_port)),
            (TargetType::Ip, PortRef::Number(number)) => Some(PortRef::Number(*number)),
            (TargetType::Ip, PortRef::Name(name)) => {
                let detail = format!(
                    "port `{text}` of Service `{}` has the target port name `{name}`, which may differ from pod to pod. Write its number.",
                    service.key
                );
                reader.refuse("healthcheck-port", detail);
                None
            }
        }
    }
}

/// A check that may take as long as the interval between two is refused by AWS; better said at once than by AWS in the
/// middle of a plan.
fn check_timeout(reader: &mut Reader, check: &HealthCheck) {
    let (timeout, interval) = (check.timeout_seconds, check.interval_seconds);
    if timeout >= interval {
        // Said about what somebody wrote, which may be only one of the two.
        let (timeout_key, interval_key) = ("healthcheck-timeout-seconds", "healthcheck-interval-seconds");
        let key = if reader.string(timeout_key).is_some() {
            timeout_key
        } else {
            interval_key
        };
        let detail = format!(
            "the timeout (`{timeout}` s) must be shorter than the interval (`{interval}` s). Write a shorter \
             `{PREFIX}{timeout_key}` or a longer `{PREFIX}{interval_key}`."
        );
        reader.refuse(key, detail);
    }
}

/// Codes and ranges of codes, separated by commas ("Health checks for Application Load Balancer target groups", success
/// codes).
fn check_codes(reader: &mut Reader, codes: &str, grpc: bool) {
    let (allowed, example) = if grpc {
        (0..=99, "12` or `0-99")
    } else {
        (200..=499, "200`, `200,302` or `200-299")
    };
    let is_code = |code: &str| code.parse().is_ok_and(|code: u16| allowed.contains(&code));
    let fits = |part: &str| match part.split_once('-') {
        Some((from, to)) => is_code(from) && is_code(to),
        None => is_code(part),
    };
    if !codes.split(',').all(fits) {
        reader.refuse(
            "success-codes",
            format!(
                "{} are no status codes of a passed health check. Write `{example}`.",
                shown(codes)
            ),
        );
    }
}

fn find_port<'s>(service: &'s Service, port: &PortRef) -> Option<&'s ServicePort> {
    service.ports.iter().find(|candidate| match port {
        PortRef::Number(number) => candidate.port == *number,
        PortRef::Name(name) => candidate.name == *name,
    })
}

fn ports_of(service: &Service) -> String {
    let described = |port: &ServicePort| match port.name.as_str() {
        "" => format!("`{}`", port.port),
        name => format!("`{}`/`{name}`", port.port),
    };
    service.ports.iter().map(described).collect::<Vec<_>>().join(", ")
}
