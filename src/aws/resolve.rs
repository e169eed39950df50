//! What users name → ids: subnets by id, name or tag, security groups by id or name, and whether certificates exist.

use super::{
    Aws, Class, Fault,
    client::read,
    convert,
    lookup::{Found, Subnet, What},
};
use crate::{budget::Service, ingress::annotation::PREFIX, model::*, plan::Observed};
use aws_sdk_ec2::types::Filter;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How old an answer may be: somebody who has just tagged a subnet and then edits his Ingress is not told old news.
const FRESH: Duration = Duration::from_secs(10);
/// Certificates come and go rarely.
const CERTIFICATE: Duration = Duration::from_secs(600);
/// Free addresses that AWS wants in each subnet ("Subnets for your load balancer", Application Load Balancers user
/// guide).
const FREE: i32 = 8;
/// Prefix of the tags that name the clusters a subnet is for.
const CLUSTER_TAG: &str = "kubernetes.io/cluster/";

impl Aws {
    /// What selectors stand for; problems of the members that named what is not there. What did not change since `before`
    /// is not looked up again, and a load balancer keeps the subnets it has where nobody ever named any.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn resolve(
        &self,
        settings: &Settings,
        unit: &Unit,
        selectors: &Selectors,
        before: Option<&(Selectors, Resolved)>,
        observed: &Observed,
    ) -> Result<(Resolved, Vec<Problem>), Fault> {
        let mut problems = Vec::new();
        let resolve = Resolve {
            aws: self,
            settings,
            unit,
            selectors,
        };
        let same =
            |same: fn(&Selectors, &Selectors) -> bool| before.filter(|(was, _)| same(was, selectors)).map(|(_, r)| r);
        let subnets = match same(|a, b| a.subnets == b.subnets && a.ipv6 == b.ipv6) {
            Some(resolved) if !resolved.subnets.is_empty() => Ok(resolved.subnets.clone()),
            _ => {
                // Where somebody named subnets and does not any more, they are found anew; if none are found, they stay.
                let named = before.is_some_and(|(was, _)| !matches!(was.subnets, SubnetSelector::Discover(_)));
                match has_already(selectors, observed) {
                    Some(subnets) if !named => Ok(subnets),
                    Some(subnets) => Ok(resolve.subnets().await?.unwrap_or(subnets)),
                    None => resolve.subnets().await?,
                }
            }
        };
        let security_groups = match same(|a, b| a.security_groups == b.security_groups) {
            Some(resolved) => Ok(resolved.security_groups.clone()),
            None => resolve.security_groups().await?,
        };
        let known: BTreeSet<&CertificateArn> = before.iter().flat_map(|(was, _)| was.certificates.keys()).collect();
        for (arn, members) in selectors.certificates.iter().filter(|(arn, _)| !known.contains(arn)) {
            if !resolve.certificate_exists(arn).await? {
                let detail = format!(
                    "certificate `{arn}` does not exist in this account and region. Write the ARN of one that does."
                );
                problems.extend(about(members, "certificate-arn", Code::NotFound, &detail));
            }
        }
        let mut resolved = Resolved::default();
        match subnets {
            Ok(subnets) => resolved.subnets = subnets,
            Err(wrong) if wrong.for_ipv6 => {
                problems.extend(about(&selectors.ipv6_by, "ip-address-type", wrong.code, &wrong.detail));
            }
            Err(wrong) => problems.extend(about(&selectors.subnets_by, "subnets", wrong.code, &wrong.detail)),
        }
        match security_groups {
            Ok(groups) => resolved.security_groups = groups,
            Err(wrong) => problems.extend(about(
                &selectors.security_groups_by,
                "security-groups",
                wrong.code,
                &wrong.detail,
            )),
        }
        Ok((resolved, problems))
    }
}

/// The subnets of a load balancer that is there, when they are only to be discovered. One that is to get IPv6 addresses
/// may stand where there are none.
fn has_already(selectors: &Selectors, observed: &Observed) -> Option<Vec<SubnetId>> {
    let SubnetSelector::Discover(scheme) = selectors.subnets else {
        return None;
    };
    let suits =
        |lb: &&LoadBalancer<SecurityGroupId>| lb.scheme == scheme && (lb.ip_address_type.has_ipv6() || !selectors.ipv6);
    let mut all = observed.load_balancers.iter().map(|lb| &lb.load_balancer);
    Some(all.find(suits)?.subnets.clone())
}

fn about(members: &BTreeSet<ObjectKey>, annotation: &str, code: Code, detail: &str) -> Vec<Problem> {
    let problem = |member: &ObjectKey| Problem {
        member: Some(member.clone()),
        object: Object::Ingress(member.clone()),
        field: format!("{PREFIX}{annotation}"),
        severity: Severity::Blocking,
        code,
        detail: detail.to_owned(),
    };
    members.iter().map(problem).collect()
}

/// What a user named cannot be used.
struct Wrong {
    code: Code,
    detail: String,
    /// It could be, were it not for the IPv6 addresses that somebody wants.
    for_ipv6: bool,
}

fn not_found(detail: String) -> Wrong {
    Wrong {
        code: Code::NotFound,
        detail,
        for_ipv6: false,
    }
}

fn without_ipv6(subnets: &[&str]) -> Wrong {
    let detail = format!(
        "a dual-stack load balancer needs subnets with an IPv6 CIDR block in two zones ({}). Associate blocks, name \
         other subnets, or write `ipv4`.",
        subnets.join(", ")
    );
    Wrong {
        for_ipv6: true,
        ..invalid(detail)
    }
}

fn invalid(detail: String) -> Wrong {
    Wrong {
        code: Code::InvalidValue,
        detail,
        for_ipv6: false,
    }
}

struct Resolve<'a> {
    aws: &'a Aws,
    settings: &'a Settings,
    unit: &'a Unit,
    selectors: &'a Selectors,
}

impl Resolve<'_> {
    async fn subnets(&self) -> Result<Result<Vec<SubnetId>, Wrong>, Fault> {
        let all = self.all_subnets().await?;
        let chosen = match &self.selectors.subnets {
            SubnetSelector::Named(names) => named(&all, names),
            SubnetSelector::Tagged(tags) => {
                let fits = |subnet: &&Subnet| {
                    tags.iter().all(|(key, values)| {
                        subnet
                            .tags
                            .get(key)
                            .is_some_and(|value| values.is_empty() || values.iter().any(|v| matches(v, value)))
                    })
                };
                self.one_a_zone(
                    all.iter().filter(fits).collect(),
                    "carry the tags of the class's subnets",
                )
            }
            SubnetSelector::Discover(scheme) => {
                let role = match scheme {
                    Scheme::InternetFacing => "kubernetes.io/role/elb",
                    Scheme::Internal => "kubernetes.io/role/internal-elb",
                };
                let has_role = |subnet: &&Subnet| matches!(subnet.tags.get(role).map(String::as_str), Some("" | "1"));
                let mut fitting: Vec<&Subnet> = all.iter().filter(has_role).collect();
                if fitting.is_empty() {
                    let public = self.public_subnets(&all).await?;
                    let wanted = *scheme == Scheme::InternetFacing;
                    fitting = all
                        .iter()
                        .filter(|subnet| public.contains(&subnet.id) == wanted)
                        .collect();
                }
                self.one_a_zone(
                    fitting,
                    &format!(
                        "carry the tag {role}=1, nor suit a load balancer that is {}",
                        scheme.name()
                    ),
                )
            }
        };
        Ok(chosen.and_then(|chosen| self.checked(&chosen)))
    }

    /// One subnet a zone: of our cluster rather than of nobody's, then the first by id.
    fn one_a_zone<'s>(&self, fitting: Vec<&'s Subnet>, what: &str) -> Result<Vec<&'s Subnet>, Wrong> {
        let own = format!("{CLUSTER_TAG}{}", self.settings.cluster);
        let evaluated = fitting.len();
        let usable = |subnet: &&Subnet| {
            let of_others =
                subnet.tags.keys().any(|key| key.starts_with(CLUSTER_TAG)) && !subnet.tags.contains_key(&own);
            !of_others && subnet.free >= FREE
        };
        let mut usable: Vec<&Subnet> = fitting.into_iter().filter(usable).collect();
        if usable.is_empty() {
            return Err(not_found(format!(
                "none of the subnets of the VPC {what} ({evaluated} do, but belong to other clusters or have fewer than {FREE} free addresses). Tag subnets in two zones, or name them in this annotation."
            )));
        }
        if self.selectors.ipv6 {
            let of_any: Vec<&str> = usable.iter().map(|subnet| subnet.id.as_str()).collect();
            let detail = without_ipv6(&of_any);
            usable.retain(|subnet| subnet.has_ipv6);
            // Some may have none: then the others serve, if they are in two zones.
            let zones: BTreeSet<&str> = usable.iter().map(|subnet| subnet.zone.as_str()).collect();
            if zones.len() < 2 {
                return Err(detail);
            }
        }
        usable.sort_by_key(|subnet| (!subnet.tags.contains_key(&own), subnet.id.clone()));
        let mut by_zone: BTreeMap<&str, &Subnet> = BTreeMap::new();
        for subnet in usable {
            by_zone.entry(&subnet.zone).or_insert(subnet);
        }
        Ok(by_zone.into_values().collect())
    }

    /// What AWS wants of the subnets of an Application Load Balancer, checked before it is asked.
    fn checked(&self, chosen: &[&Subnet]) -> Result<Vec<SubnetId>, Wrong> {
        let zones: BTreeSet<&str> = chosen.iter().map(|subnet| subnet.zone.as_str()).collect();
        let ids: Vec<&str> = chosen.iter().map(|subnet| subnet.id.as_str()).collect();
        if zones.len() < chosen.len() {
            return Err(invalid(format!(
                "the subnets {} are not all in different zones ({}). Name one subnet a zone.",
                ids.join(", "),
                zones.into_iter().collect::<Vec<_>>().join(", ")
            )));
        }
        let in_outpost = chosen.iter().any(|subnet| subnet.is_outpost);
        if chosen.len() < 2 && !in_outpost {
            return Err(invalid(format!(
                "a load balancer needs subnets in two zones, and only {} is there. Name another one, or tag it.",
                ids.join(", ")
            )));
        }
        let without: Vec<&str> = chosen
            .iter()
            .filter(|s| self.selectors.ipv6 && !s.has_ipv6)
            .map(|s| s.id.as_str())
            .collect();
        if !without.is_empty() {
            return Err(without_ipv6(&without));
        }
        let mut ids: Vec<SubnetId> = ids.into_iter().map(Into::into).collect();
        ids.sort();
        Ok(ids)
    }

    async fn all_subnets(&self) -> Result<Arc<Vec<Subnet>>, Fault> {
        let fetch = async {
            let mut subnets = Vec::new();
            let mut token = None;
            loop {
                let page = read(
                    &self.aws.budget,
                    self.unit,
                    Lane::Change,
                    (Service::Ec2, "DescribeSubnets"),
                    || {
                        let request = self.aws.clients.ec2.describe_subnets();
                        request
                            .filters(self.in_vpc())
                            .max_results(1000)
                            .set_next_token(token.clone())
                            .send()
                    },
                )
                .await?;
                subnets.extend(page.subnets().iter().filter_map(subnet));
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
            subnets.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(Found::Subnets(Arc::new(subnets)))
        };
        match self.aws.lookup.get(What::Subnets, FRESH, fetch).await? {
            Found::Subnets(subnets) => Ok(subnets),
            _ => Ok(Arc::default()),
        }
    }

    /// Ids of the subnets whose route table, their own or the VPC's main one, leads to an internet gateway.
    async fn public_subnets(&self, all: &[Subnet]) -> Result<BTreeSet<String>, Fault> {
        let fetch = async {
            let mut of_subnets = BTreeMap::new();
            let mut main = false;
            let mut token = None;
            loop {
                let page = read(
                    &self.aws.budget,
                    self.unit,
                    Lane::Change,
                    (Service::Ec2, "DescribeRouteTables"),
                    || {
                        let request = self.aws.clients.ec2.describe_route_tables();
                        request
                            .filters(self.in_vpc())
                            .max_results(100)
                            .set_next_token(token.clone())
                            .send()
                    },
                )
                .await?;
                for table in page.route_tables() {
                    let leads_out =
                        |route: &aws_sdk_ec2::types::Route| route.gateway_id().is_some_and(|id| id.starts_with("igw"));
                    let public = table.routes().iter().any(leads_out);
                    for association in table.associations() {
                        match association.subnet_id() {
                            Some(subnet) => drop(of_subnets.insert(subnet.to_owned(), public)),
                            None => main |= public && association.main == Some(true),
                        }
                    }
                }
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
            let is_public = |subnet: &&Subnet| of_subnets.get(&subnet.id).copied().unwrap_or(main);
            let ids = all.iter().filter(is_public).map(|subnet| subnet.id.clone()).collect();
            Ok(Found::Ids(Arc::new(ids)))
        };
        match self.aws.lookup.get(What::PublicSubnets, FRESH, fetch).await? {
            Found::Ids(ids) => Ok(ids.iter().cloned().collect()),
            _ => Ok(BTreeSet::new()),
        }
    }

    async fn security_groups(&self) -> Result<Result<Vec<SecurityGroupId>, Wrong>, Fault> {
        let names = &self.selectors.security_groups;
        if names.iter().all(|name| is_group_id(name)) {
            // AWS itself says which of them is not there.
            return Ok(Ok(names.iter().map(|id| id.as_str().into()).collect()));
        }
        let wanted: Vec<String> = names.iter().filter(|name| !is_group_id(name)).cloned().collect();
        let fetch = async {
            let mut found = Vec::new();
            let mut token = None;
            loop {
                let page = read(
                    &self.aws.budget,
                    self.unit,
                    Lane::Change,
                    (Service::Ec2, "DescribeSecurityGroups"),
                    || {
                        let named = Filter::builder()
                            .name("tag:Name")
                            .set_values(Some(wanted.clone()))
                            .build();
                        let request = self.aws.clients.ec2.describe_security_groups();
                        request
                            .filters(self.in_vpc())
                            .filters(named)
                            .max_results(1000)
                            .set_next_token(token.clone())
                            .send()
                    },
                )
                .await?;
                for group in page.security_groups() {
                    let name = convert::tags_of_ec2(group.tags()).remove("Name");
                    found.extend(group.group_id.clone().map(|id| (id, name)));
                }
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
            Ok(Found::Named(Arc::new(found)))
        };
        let found = match self
            .aws
            .lookup
            .get(What::SecurityGroups(wanted.clone()), FRESH, fetch)
            .await?
        {
            Found::Named(found) => found,
            _ => Arc::default(),
        };
        let mut ids: Vec<SecurityGroupId> = Vec::new();
        for name in names {
            if is_group_id(name) {
                ids.push(name.as_str().into());
                continue;
            }
            let mut of_name: Vec<&str> = found
                .iter()
                .filter(|(_, tag)| tag.as_ref() == Some(name))
                .map(|(id, _)| id.as_str())
                .collect();
            of_name.sort_unstable();
            if of_name.is_empty() {
                return Ok(Err(not_found(format!(
                    "no security group of the VPC has the Name tag `{name}`. Write the id (sg-…) or the Name tag of one that is there."
                ))));
            }
            ids.extend(of_name.into_iter().map(Into::into));
        }
        Ok(Ok(ids))
    }

    /// Whether ACM has a certificate. IAM's are not asked for: the listener says so if one is missing.
    async fn certificate_exists(&self, arn: &CertificateArn) -> Result<bool, Fault> {
        if !arn.as_str().contains(":acm:") {
            return Ok(true);
        }
        let fetch = async {
            let asked = read(
                &self.aws.budget,
                self.unit,
                Lane::Change,
                (Service::Acm, "DescribeCertificate"),
                || {
                    self.aws
                        .clients
                        .acm
                        .describe_certificate()
                        .certificate_arn(arn.as_str())
                        .send()
                },
            )
            .await;
            match asked {
                Ok(_) => Ok(Found::Exists(true)),
                Err(fault) if matches!(fault.class, Class::Missing | Class::Rejected) => Ok(Found::Exists(false)),
                // Whoever may not look may still use it.
                Err(fault) if fault.class == Class::Denied => {
                    tracing::warn!(%arn, %fault, "the certificate cannot be looked at, and is believed to exist");
                    Ok(Found::Exists(true))
                }
                Err(fault) => Err(fault),
            }
        };
        let what = What::Certificate(arn.to_string());
        match self.aws.lookup.get(what.clone(), CERTIFICATE, fetch).await? {
            Found::Exists(false) => {
                self.aws.lookup.forget(&what);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    fn in_vpc(&self) -> Filter {
        Filter::builder()
            .name("vpc-id")
            .values(self.settings.vpc.as_str())
            .build()
    }
}

fn is_group_id(name: &str) -> bool {
    name.starts_with("sg-")
}

/// EC2's own wildcards in the value of a tag filter: `*` for any text, `?` for one character.
fn matches(pattern: &str, value: &str) -> bool {
    match (pattern.chars().next(), value.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            matches(rest, value)
                || value
                    .char_indices()
                    .any(|(at, c)| matches(rest, &value[at + c.len_utf8()..]))
        }
        (Some(p), Some(v)) if p == '?' || p == v => matches(&pattern[p.len_utf8()..], &value[v.len_utf8()..]),
        _ => false,
    }
}

/// The subnets of these ids and `Name` tags; the nth mention of a name is the nth subnet, by id, that has it.
fn named<'s>(all: &'s [Subnet], names: &[String]) -> Result<Vec<&'s Subnet>, Wrong> {
    let mut mentioned: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for name in names {
        let found = if name.starts_with("subnet-") {
            all.iter().find(|subnet| subnet.id == *name)
        } else {
            let nth = mentioned.entry(name).or_default();
            *nth += 1;
            all.iter()
                .filter(|subnet| subnet.tags.get("Name") == Some(name))
                .nth(*nth - 1)
        };
        chosen.push(found.ok_or_else(|| {
            not_found(format!(
                "no{} subnet of the VPC has the id or Name tag `{name}`. Write the ids (subnet-…) or Name tags of subnets that are there.",
                if mentioned.get(name.as_str()).is_some_and(|nth| *nth > 1) { " further" } else { "" }
            ))
        })?);
    }
    Ok(chosen)
}

fn subnet(told: &aws_sdk_ec2::types::Subnet) -> Option<Subnet> {
    Some(Subnet {
        id: told.subnet_id.clone()?,
        zone: told.availability_zone.clone().unwrap_or_default(),
        free: told.available_ip_address_count.unwrap_or_default(),
        has_ipv6: told.ipv6_cidr_block_association_set().iter().any(|block| {
            let state = block
                .ipv6_cidr_block_state
                .as_ref()
                .and_then(|state| state.state.as_ref());
            state.is_none_or(|state| state.as_str() == "associated")
        }),
        is_outpost: told.outpost_arn.as_ref().is_some_and(|arn| !arn.is_empty()),
        tags: convert::tags_of_ec2(told.tags()),
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_tag_filter_knows_wildcards() {
        for (pattern, value, expected) in [
            ("a", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("b", "abc", false),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
        }
    }
}
