//! What may be asked of the API server, and what is.

use serde_json::Value;
use std::collections::BTreeSet;

/// API group, resource (with its subresource) and verb.
pub type Right = (String, String, String);

/// What the rules of Roles and ClusterRoles among `objects` grant.
///
/// # Panics
/// A rule without groups, resources or verbs.
pub fn granted<'v>(objects: impl IntoIterator<Item = &'v Value>) -> BTreeSet<Right> {
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).expect("words") };
    let mut rights = BTreeSet::new();
    for rule in objects
        .into_iter()
        .flat_map(|object| object["rules"].as_array().into_iter().flatten())
    {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// The right that a request takes.
pub fn right(group: &str, resource: &str, subresource: &str, verb: &str) -> Right {
    let resource = match subresource {
        "" => resource.to_owned(),
        part => format!("{resource}/{part}"),
    };
    (group.to_owned(), resource, verb.to_owned())
}
