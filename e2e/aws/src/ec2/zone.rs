//! Regions' Availability Zones.

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Query;
use super::lookup::invalid;
use super::state::State;
use crate::call::Call;
use crate::fault::AwsError;

/// The letters of a region's zones. Source: "AWS Availability Zones", Regions and Zones user guide.
fn letters(region: &str) -> &'static str {
    match region {
        "us-east-1" => "abcdef",
        "us-west-2" | "ap-northeast-2" => "abcd",
        "us-west-1" => "ac",
        "ap-northeast-1" => "acd",
        "ca-central-1" => "abd",
        _ => "abc",
    }
}

/// A zone: its name and its id.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zone {
    pub name: String,
    pub id: String,
}

/// The zones of a region. AWS maps names to ids differently in each account; here they are in the same order.
pub(super) fn of(region: &str) -> Vec<Zone> {
    let short = short(region);
    let zone = |(number, letter): (usize, char)| Zone {
        name: format!("{region}{letter}"),
        id: format!("{short}-az{}", number + 1),
    };
    letters(region).chars().enumerate().map(zone).collect()
}

/// A region in the writing of zone ids: `use1` of `us-east-1`, `apse2` of `ap-southeast-2`, `usgw1` of `us-gov-west-1`.
fn short(region: &str) -> String {
    let mut parts: Vec<&str> = region.split('-').collect();
    let area = if parts.is_empty() { "" } else { parts.remove(0) };
    let rest = parts.into_iter().map(|part| match part {
        "northeast" => "ne",
        "northwest" => "nw",
        "southeast" => "se",
        "southwest" => "sw",
        other if other.bytes().all(|byte| byte.is_ascii_alphabetic()) => &other[..1.min(other.len())],
        number => number,
    });
    area.to_owned() + &rest.collect::<String>()
}

/// The zone of a region with a name or an id.
pub(super) fn named(region: &str, name: Option<&str>, id: Option<&str>) -> Result<Zone, AwsError> {
    let zones = of(region);
    let given = name.or(id);
    let found = zones
        .iter()
        .find(|zone| name.is_none_or(|name| zone.name == name) && id.is_none_or(|id| zone.id == id));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        invalid(format!(
            "Value ({}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following \
             availability zones: {}.",
            given.unwrap_or_default(),
            names.join(", ")
        ))
    })
}

/// The id of a zone whose name is known.
pub(super) fn id_of(region: &str, name: &str) -> Option<String> {
    of(region)
        .into_iter()
        .find(|zone| zone.name == name)
        .map(|zone| zone.id)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    #[serde(default)]
    zone_names: Vec<String>,
    #[serde(default)]
    zone_ids: Vec<String>,
    #[serde(flatten)]
    query: Query,
}

/// `DescribeAvailabilityZones`.
pub(super) fn describe(state: &State, call: &Call, input: &Describe) -> Result<Value, AwsError> {
    let zones = of(&call.region);
    let known = |wanted: &&String| zones.iter().any(|zone| zone.name == **wanted || zone.id == **wanted);
    if let Some(missing) = input
        .zone_names
        .iter()
        .chain(&input.zone_ids)
        .find(|wanted| !known(wanted))
    {
        return Err(invalid(format!("Invalid availability zone: [{missing}]")));
    }
    let mut found = Vec::new();
    for Zone { name, id } in &zones {
        let wanted = (input.zone_names.is_empty() || input.zone_names.contains(name))
            && (input.zone_ids.is_empty() || input.zone_ids.contains(id));
        let values = |filter: &str| {
            let value = match filter {
                "zone-name" => name,
                "zone-id" => id,
                "region-name" | "group-name" | "network-border-group" => &call.region,
                "zone-type" => "availability-zone",
                "opt-in-status" => "opt-in-not-required",
                "state" => "available",
                _ => return None,
            };
            Some(vec![value.to_owned()])
        };
        if input.query.passes(id, state, values)? && wanted {
            found.push(json!({
                "ZoneName": name, "ZoneId": id, "RegionName": call.region, "GroupName": call.region,
                "NetworkBorderGroup": call.region, "ZoneType": "availability-zone", "OptInStatus": "opt-in-not-required",
                "State": "available", "Messages": [],
            }));
        }
    }
    Ok(json!({"AvailabilityZones": found}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_ids_that_aws_documents() {
        let ids = |region: &str| of(region).into_iter().map(|zone| zone.id).collect::<Vec<_>>();
        assert_eq!(ids("us-east-1")[..2], ["use1-az1", "use1-az2"]);
        assert_eq!(ids("ap-southeast-2")[0], "apse2-az1");
        assert_eq!(ids("eu-central-1")[2], "euc1-az3");
        assert_eq!(ids("us-gov-west-1")[0], "usgw1-az1");
        assert_eq!(named("eu-west-1", None, Some("euw1-az2")).unwrap().name, "eu-west-1b");
        assert_eq!(named("eu-west-1", None, None).unwrap().name, "eu-west-1a");
        assert_eq!(
            named("eu-west-1", Some("eu-west-1z"), None).unwrap_err().code,
            "InvalidParameterValue"
        );
    }
}
