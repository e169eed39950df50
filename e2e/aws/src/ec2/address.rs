//! Elastic IP addresses, as far as they can be had and given back; they are attached to nothing.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{Listed, Query};
use super::lookup::Kind;
use super::state::{Address, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Allocate {
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `AllocateAddress`, from the block for documentation 198.51.100.0/24 and what follows it.
pub(super) fn allocate(state: &mut State, ids: &mut Ids, input: Allocate) -> Result<Value, AwsError> {
    let tags = tag::specified(&input.tag_specifications, Kind::Address, &[])?;
    let first = u32::from(Ipv4Addr::new(198, 51, 100, 1));
    let mut free = (first..).map(Ipv4Addr::from);
    let public_ip = free.find(|address| !state.addresses.values().any(|taken| taken.public_ip == *address));
    let public_ip = public_ip.ok_or_else(|| AwsError::new("AddressLimitExceeded", "No address is left"))?;
    let id = ids.ec2("eipalloc");
    state.addresses.insert(id.clone(), Address { public_ip });
    tag::attach(state, &id, tags);
    Ok(json!({"AllocationId": id, "PublicIp": public_ip, "Domain": "vpc", "PublicIpv4Pool": "amazon"}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Release {
    allocation_id: Option<String>,
}

/// `ReleaseAddress`.
pub(super) fn release(state: &mut State, input: &Release) -> Result<Value, AwsError> {
    let Some(id) = &input.allocation_id else {
        let message = "Either 'allocationId' or 'publicIp' must be specified";
        return Err(AwsError::new("MissingParameter", message));
    };
    Kind::Address.check(state, id)?;
    state.addresses.remove(id);
    state.tags.remove(id);
    Ok(json!({}))
}

/// `DescribeAddresses`, which has no pages.
pub(super) fn describe(state: &State, call: &Call, query: &Query) -> Result<Value, AwsError> {
    query.answer(&state.addresses, state, call)
}

impl Listed for Address {
    const KIND: Kind = Kind::Address;
    const LIST: &'static str = "Addresses";

    fn values(&self, id: &str, filter: &str, _: &State, _: &Call) -> Option<Vec<String>> {
        Some(match filter {
            "allocation-id" => vec![id.to_owned()],
            "public-ip" => vec![self.public_ip.to_string()],
            "domain" => vec!["vpc".to_owned()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, _: &State, call: &Call) -> Value {
        json!({
            "AllocationId": id, "PublicIp": self.public_ip, "Domain": "vpc", "PublicIpv4Pool": "amazon",
            "NetworkBorderGroup": call.region,
        })
    }
}
