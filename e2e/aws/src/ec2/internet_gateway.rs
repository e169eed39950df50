//! Internet gateways.

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, in_use, invalid};
use super::state::{InternetGateway, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `CreateInternetGateway`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let tags = tag::specified(&input.tag_specifications, Kind::InternetGateway, &[])?;
    let id = ids.ec2("igw");
    state.internet_gateways.insert(id.clone(), InternetGateway::default());
    tag::attach(state, &id, tags);
    Ok(json!({"InternetGateway": state.internet_gateways[&id].with_tags(&id, state, call)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attachment {
    internet_gateway_id: String,
    vpc_id: String,
}

/// `AttachInternetGateway`: one VPC each, one gateway each.
pub(super) fn attach(state: &mut State, input: &Attachment) -> Result<Value, AwsError> {
    let (id, vpc) = (&input.internet_gateway_id, &input.vpc_id);
    let attached = &Kind::InternetGateway.get(&state.internet_gateways, id)?.vpc;
    Kind::Vpc.check(state, vpc)?;
    if let Some(other) = attached {
        return Err(AwsError::new(
            "Resource.AlreadyAssociated",
            format!("resource {id} is already attached to network {other}"),
        ));
    }
    if state.has_internet_gateway(vpc) {
        return Err(invalid(format!(
            "Network {vpc} already has an internet gateway attached"
        )));
    }
    let gateway = InternetGateway { vpc: Some(vpc.clone()) };
    state.internet_gateways.insert(id.clone(), gateway);
    Ok(json!({}))
}

/// `DetachInternetGateway`.
pub(super) fn detach(state: &mut State, input: &Attachment) -> Result<Value, AwsError> {
    let (id, vpc) = (&input.internet_gateway_id, &input.vpc_id);
    let attached = &Kind::InternetGateway.get(&state.internet_gateways, id)?.vpc;
    if attached.as_ref() != Some(vpc) {
        let message = format!("resource {id} is not attached to network {vpc}");
        return Err(AwsError::new("Gateway.NotAttached", message));
    }
    state.internet_gateways.insert(id.clone(), InternetGateway::default());
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    internet_gateway_id: String,
}

/// `DeleteInternetGateway`.
pub(super) fn delete(state: &mut State, input: &Delete) -> Result<Value, AwsError> {
    let id = &input.internet_gateway_id;
    if Kind::InternetGateway.get(&state.internet_gateways, id)?.vpc.is_some() {
        return Err(in_use(format!(
            "The internetGateway '{id}' has dependencies and cannot be deleted."
        )));
    }
    state.internet_gateways.remove(id);
    state.tags.remove(id);
    Ok(json!({}))
}

impl Listed for InternetGateway {
    const KIND: Kind = Kind::InternetGateway;
    const LIST: &'static str = "InternetGateways";

    fn values(&self, id: &str, filter: &str, _: &State, call: &Call) -> Option<Vec<String>> {
        Some(match filter {
            "attachment.vpc-id" => self.vpc.iter().cloned().collect(),
            "attachment.state" => self.vpc.iter().map(|_| "available".to_owned()).collect(),
            "internet-gateway-id" => vec![id.to_owned()],
            "owner-id" => vec![call.account.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, _: &State, call: &Call) -> Value {
        let attachments = self.vpc.iter().map(|vpc| json!({"VpcId": vpc, "State": "available"}));
        json!({"InternetGatewayId": id, "OwnerId": call.account, "Attachments": attachments.collect::<Vec<_>>()})
    }
}
