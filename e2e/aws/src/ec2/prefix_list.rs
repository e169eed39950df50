//! Customer-managed prefix lists.

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, in_use, invalid};
use super::permission;
use super::state::{Peer, PrefixList, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    prefix_list_name: String,
    max_entries: i64,
    address_family: String,
    #[serde(default)]
    entries: Vec<Entry>,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    cidr: String,
    description: Option<String>,
}

/// `CreateManagedPrefixList`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let mut list = PrefixList {
        name: input.prefix_list_name,
        family: input.address_family,
        max_entries: input.max_entries,
        entries: Default::default(),
    };
    if list.name.starts_with("com.amazonaws") {
        return Err(invalid("The prefix list name cannot start with com.amazonaws"));
    }
    for Entry { cidr, description } in input.entries {
        let net = match list.family.as_str() {
            "IPv4" => permission::ipv4(&cidr)?.to_string(),
            "IPv6" => permission::ipv6(&cidr)?.to_string(),
            other => {
                return Err(invalid(format!(
                    "Value ({other}) for parameter addressFamily is invalid. Valid values: IPv4 | IPv6"
                )));
            }
        };
        list.entries.insert(net, description);
    }
    if i64::try_from(list.entries.len()).is_ok_and(|count| count > list.max_entries) {
        let message = "You've reached the maximum number of entries for the prefix list";
        return Err(AwsError::new("PrefixListMaxEntriesExceeded", message));
    }
    let tags = tag::specified(&input.tag_specifications, Kind::PrefixList, &[])?;
    let id = ids.ec2("pl");
    state.prefix_lists.insert(id.clone(), list);
    tag::attach(state, &id, tags);
    Ok(json!({"PrefixList": state.prefix_lists[&id].with_tags(&id, state, call)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct One {
    prefix_list_id: String,
}

/// `DeleteManagedPrefixList`: not while a rule names it.
pub(super) fn delete(state: &mut State, call: &Call, input: &One) -> Result<Value, AwsError> {
    let id = &input.prefix_list_id;
    let answered = Kind::PrefixList
        .get(&state.prefix_lists, id)?
        .with_tags(id, state, call);
    if state
        .rules()
        .any(|(_, rule)| rule.permission.peer == Peer::PrefixList(id.clone()))
    {
        return Err(in_use(format!(
            "The prefix list '{id}' is in use and cannot be deleted."
        )));
    }
    state.prefix_lists.remove(id);
    state.tags.remove(id);
    Ok(json!({"PrefixList": answered}))
}

/// `GetManagedPrefixListEntries`.
pub(super) fn entries(state: &State, input: &One) -> Result<Value, AwsError> {
    let list = Kind::PrefixList.get(&state.prefix_lists, &input.prefix_list_id)?;
    let entries = list.entries.iter();
    let entries = entries.map(|(cidr, description)| json!({"Cidr": cidr, "Description": description}));
    Ok(json!({"Entries": entries.collect::<Vec<_>>()}))
}

impl Listed for PrefixList {
    const KIND: Kind = Kind::PrefixList;
    const LIST: &'static str = "PrefixLists";

    fn values(&self, id: &str, filter: &str, _: &State, call: &Call) -> Option<Vec<String>> {
        Some(match filter {
            "owner-id" => vec![call.account.clone()],
            "prefix-list-id" => vec![id.to_owned()],
            "prefix-list-name" => vec![self.name.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, _: &State, call: &Call) -> Value {
        json!({
            "PrefixListId": id, "PrefixListName": self.name, "AddressFamily": self.family, "MaxEntries": self.max_entries,
            "Version": 1, "State": "create-complete", "OwnerId": call.account,
            "PrefixListArn": call.arn("ec2", &format!("prefix-list/{id}")),
        })
    }
}
