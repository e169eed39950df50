//! AWS Resource Groups Tagging API: the tags of everything in a region that has an ARN, whatever its service.
//!
//! Tags are kept where the resources are; a change is made through the service's own operation.
//! Source: AWS Resource Groups Tagging API reference.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::call::{Call, Service};
use crate::fault::AwsError;
use crate::world::World;
use crate::{acm, ec2, elbv2};

type Tags = BTreeMap<String, String>;

/// How many resources a page has unless `ResourcesPerPage` says otherwise, and at most.
const PAGE: usize = 50;
const LONGEST: usize = 100;
/// How many keys or values a page of `GetTagKeys` or `GetTagValues` has. AWS gives no number.
const NAMES: usize = 1000;
/// "A PaginationToken is valid for a maximum of 15 minutes."
const TOKEN: i64 = 15 * 60;

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "GetResources" => resources(world, call, &read(input)?),
        "GetTagKeys" => {
            let all = tagged(world, call).into_values();
            let keys = all.flat_map(|tags| tags.into_keys().collect::<Vec<_>>()).collect();
            names(call, keys, &read(input)?, "TagKeys")
        }
        "GetTagValues" => {
            let input: Names = read(input)?;
            let all = tagged(world, call).into_values();
            let values = all.filter_map(|mut tags| tags.remove(&input.key)).collect();
            names(call, values, &input, "TagValues")
        }
        "TagResources" => change(world, call, &read(input)?),
        "UntagResources" => change(world, call, &read(input)?),
        other => Err(AwsError::new(
            "UnknownOperationException",
            format!("The double does not perform {other}"),
        )),
    }
}

fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}

/// The tags of everything in the call's region that is tagged, by ARN. AWS names what once was, too, for a while.
fn tagged(world: &mut World, call: &Call) -> BTreeMap<String, Tags> {
    let region = world.region(call);
    let balancing = region.elbv2.tags.iter().filter(|(_, tags)| !tags.is_empty());
    let balancing = balancing.map(|(arn, tags)| (arn.clone(), tags.clone()));
    let network = ec2::tagged(&region.ec2).map(|(resource, tags)| (call.arn("ec2", &resource), tags.clone()));
    let certificates = region.acm.certificates.iter().filter(|(_, one)| !one.tags.is_empty());
    let certificates = certificates.map(|(arn, one)| (arn.clone(), one.tags.clone()));
    balancing.chain(network).chain(certificates).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetResources {
    pagination_token: Option<String>,
    #[serde(default)]
    tag_filters: Vec<Filter>,
    resources_per_page: Option<i64>,
    tags_per_page: Option<i64>,
    #[serde(default)]
    resource_type_filters: Vec<String>,
    #[serde(default, rename = "ResourceARNList")]
    arns: Vec<String>,
    #[serde(default)]
    include_compliance_details: bool,
    #[serde(default)]
    exclude_compliant_resources: bool,
}

impl GetResources {
    /// What cannot be asked for together.
    fn check(&self) -> Result<(), AwsError> {
        let paging = self.resources_per_page.is_some() || self.tags_per_page.is_some() || self.token().is_some();
        if !self.arns.is_empty() && (paging || !self.tag_filters.is_empty() || !self.resource_type_filters.is_empty()) {
            return Err(invalid(
                "ResourceARNList cannot be specified together with TagFilters, ResourceTypeFilters or pagination parameters",
            ));
        }
        if self
            .resources_per_page
            .is_some_and(|wanted| !(1..=LONGEST as i64).contains(&wanted))
        {
            return Err(invalid("ResourcesPerPage must be between 1 and 100"));
        }
        if self
            .tags_per_page
            .is_some_and(|wanted| !(100..=500).contains(&wanted) || wanted % 100 != 0)
        {
            return Err(invalid("TagsPerPage must be between 100 and 500, in increments of 100"));
        }
        if self.exclude_compliant_resources && !self.include_compliance_details {
            return Err(invalid("ExcludeCompliantResources needs IncludeComplianceDetails"));
        }
        if self.tag_filters.iter().any(|filter| filter.key.is_none()) {
            return Err(invalid("A tag filter must contain a key"));
        }
        Ok(())
    }

    /// "Leave this parameter empty in your initial request."
    fn token(&self) -> Option<&str> {
        self.pagination_token.as_deref().filter(|token| !token.is_empty())
    }

    fn wants(&self, arn: &str, tags: &Tags) -> bool {
        let mut parts = arn.splitn(6, ':').skip(2);
        let (service, resource) = (parts.next().unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let of_type = |wanted: &String| match wanted.split_once(':') {
            None => wanted == service,
            Some((of, kind)) => {
                let rest = resource.strip_prefix(kind);
                of == service && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        let has = |filter: &Filter| {
            let value = filter.key.as_ref().and_then(|key| tags.get(key));
            value.is_some_and(|value| filter.values.is_empty() || filter.values.contains(value))
        };
        let (arns, types) = (&self.arns, &self.resource_type_filters);
        (arns.is_empty() || arns.iter().any(|one| one == arn))
            && (types.is_empty() || types.iter().any(of_type))
            && self.tag_filters.iter().all(has)
    }
}

/// `GetResources`.
fn resources(world: &mut World, call: &Call, input: &GetResources) -> Result<Value, AwsError> {
    input.check()?;
    let mut found: Vec<(String, Tags)> = tagged(world, call).into_iter().collect();
    found.retain(|(arn, tags)| input.wants(arn, tags));
    if let Some(token) = input.token() {
        let last = resume(token, call.now)?;
        found.retain(|(arn, _)| *arn > last);
    }
    let wanted = input.resources_per_page.and_then(|wanted| usize::try_from(wanted).ok());
    let most = wanted.unwrap_or(if input.arns.is_empty() { PAGE } else { LONGEST });
    let size = match input.tags_per_page.and_then(|tags| usize::try_from(tags).ok()) {
        // A resource is not split, and counts as one tag at least.
        Some(tags) => {
            let sums = found.iter().scan(0, |sum, (_, tags)| {
                *sum += tags.len().max(1);
                Some(*sum)
            });
            sums.take_while(|sum| *sum <= tags).count().clamp(1, most)
        }
        None => most,
    };
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|(arn, _)| token(arn, call.now));
    let told = found.iter().map(|(arn, tags)| {
        let tags = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
        let mut told = json!({"ResourceARN": arn, "Tags": tags.collect::<Vec<_>>()});
        if input.include_compliance_details {
            // There is no tag policy here.
            told["ComplianceDetails"] = json!({"ComplianceStatus": true});
        }
        told
    });
    let told = told.filter(|_| !input.exclude_compliant_resources);
    Ok(json!({"ResourceTagMappingList": told.collect::<Vec<_>>(), "PaginationToken": next.unwrap_or_default()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Names {
    pagination_token: Option<String>,
    #[serde(default)]
    key: String,
}

/// A page of `GetTagKeys` or `GetTagValues`.
fn names(call: &Call, mut all: BTreeSet<String>, input: &Names, member: &str) -> Result<Value, AwsError> {
    if let Some(token) = input.pagination_token.as_deref().filter(|token| !token.is_empty()) {
        let last = resume(token, call.now)?;
        all.retain(|name| *name > last);
    }
    let more = all.len() > NAMES;
    let page: Vec<String> = all.into_iter().take(NAMES).collect();
    let next = page.last().filter(|_| more).map(|last| token(last, call.now));
    Ok(json!({member: page, "PaginationToken": next.unwrap_or_default()}))
}

/// A token that goes on after `last`.
fn token(last: &str, now: Timestamp) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {last}", now.as_second()))
}

/// Where a token goes on.
fn resume(token: &str, now: Timestamp) -> Result<String, AwsError> {
    let text = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.split_once(' '));
    let made = parts.and_then(|(made, last)| Some((made.parse::<i64>().ok()?, last)));
    let (made, last) = made.ok_or_else(|| invalid("The pagination token is invalid"))?;
    if now.as_second() > made + TOKEN {
        let message = "A PaginationToken is valid for a maximum of 15 minutes.";
        return Err(AwsError::new("PaginationTokenExpiredException", message));
    }
    Ok(last.to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    #[serde(rename = "ResourceARNList")]
    arns: Vec<String>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl Change {
    fn tags(&self) -> Vec<Value> {
        let given = self.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
        given
            .chain(self.tag_keys.iter().map(|key| json!({"Key": key})))
            .collect()
    }
}

/// `TagResources` and `UntagResources`: what a service refuses is told per resource.
fn change(world: &mut World, call: &Call, input: &Change) -> Result<Value, AwsError> {
    let mut failed = Map::new();
    for arn in &input.arns {
        if let Err(error) = change_one(world, call, arn, input) {
            let told = json!({"StatusCode": error.status, "ErrorCode": error.code, "ErrorMessage": error.message});
            failed.insert(arn.clone(), told);
        }
    }
    Ok(json!({"FailedResourcesMap": failed}))
}

fn change_one(world: &mut World, call: &Call, arn: &str, input: &Change) -> Result<(), AwsError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let (service, resource) = match parts[..] {
        ["arn", _, service, region, account, resource] if region == call.region && account == call.account => {
            (service, resource)
        }
        _ => return Err(invalid(format!("{arn} is not a resource of this account and Region"))),
    };
    let adds = call.operation == "TagResources";
    let asks = |service: Service, operation: &str| Call {
        service,
        operation: operation.to_owned(),
        ..call.clone()
    };
    let tags = input.tags();
    match service {
        "elasticloadbalancing" => {
            let (operation, input) = if adds {
                ("AddTags", json!({"ResourceArns": [arn], "Tags": tags}))
            } else {
                ("RemoveTags", json!({"ResourceArns": [arn], "TagKeys": input.tag_keys}))
            };
            elbv2::handle(world, &asks(Service::Elbv2, operation), input)
        }
        "ec2" => {
            let id = resource.rsplit('/').next();
            let operation = if adds { "CreateTags" } else { "DeleteTags" };
            ec2::handle(
                world,
                &asks(Service::Ec2, operation),
                json!({"Resources": [id], "Tags": tags}),
            )
        }
        "acm" => {
            let operation = if adds {
                "AddTagsToCertificate"
            } else {
                "RemoveTagsFromCertificate"
            };
            acm::handle(
                world,
                &asks(Service::Acm, operation),
                json!({"CertificateArn": arn, "Tags": tags}),
            )
        }
        other => Err(invalid(format!("The double has no resources of {other}"))),
    }
    .map(drop)
}
