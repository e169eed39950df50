//! Temporary.
#![allow(missing_docs)]
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct State {
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub security_groups: BTreeMap<String, String>,
    pub instances: BTreeMap<String, (String, String, bool)>,
}
#[derive(Clone, Debug, Default)]
pub struct Vpc {
    pub internet_gateway: bool,
}
#[derive(Clone, Debug)]
pub struct Subnet {
    pub vpc: String,
    pub zone: String,
    pub cidr: ipnet::Ipv4Net,
}
impl State {
    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.get(id)
    }
}

pub fn handle(_: &mut World, call: &Call, _: Value) -> Result<Value, AwsError> {
    Err(AwsError::new(
        "InvalidAction",
        format!("The action {} is not valid for this web service.", call.operation),
    ))
}
