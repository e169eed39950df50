//! What all `Describe…` operations share: ids, filters with wildcards, pages.
//!
//! ```text
//! all of a kind ─► ids (each must exist) ─► filters (all must hold, one value each suffices) ─► page ─► answer
//! ```
//! Source: "List and filter your resources" (filters), "Pagination for Amazon EC2 API requests".

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, invalid};
use super::state::State;
use super::tag;
use crate::call::Call;
use crate::fault::AwsError;

/// What a `Describe…` operation is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Query {
    #[serde(
        alias = "VpcIds",
        alias = "SubnetIds",
        alias = "RouteTableIds",
        alias = "InternetGatewayIds",
        alias = "GroupIds",
        alias = "SecurityGroupRuleIds",
        alias = "InstanceIds",
        alias = "NetworkInterfaceIds",
        alias = "AllocationIds",
        alias = "PrefixListIds",
        alias = "ImageIds"
    )]
    pub ids: Vec<String>,
    pub filters: Vec<Filter>,
    pub next_token: Option<String>,
    pub max_results: Option<i64>,
}

/// A filter: one of the values must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

/// Something that a `Describe…` operation lists.
pub(super) trait Listed {
    /// What it is.
    const KIND: Kind;
    /// The member of the answer that holds the list.
    const LIST: &'static str;

    /// Its values for a filter; none if there is no such filter. Tags are looked after elsewhere.
    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>>;

    /// As it is answered, without its tags.
    fn described(&self, id: &str, state: &State, call: &Call) -> Value;

    /// The member that holds its tags.
    const TAGS: &'static str = "Tags";

    /// As it is answered.
    fn with_tags(&self, id: &str, state: &State, call: &Call) -> Value {
        let mut value = self.described(id, state, call);
        value[Self::TAGS] = tag::list(state, id);
        value
    }
}

/// A page of something, with the token of the next.
pub(super) type Page<T> = (Vec<T>, Option<String>);

impl Query {
    /// The things that are asked for, a page of them.
    pub fn select<'a, T: Listed>(
        &self,
        all: &'a BTreeMap<String, T>,
        state: &State,
        call: &Call,
    ) -> Result<Page<(&'a String, &'a T)>, AwsError> {
        for id in &self.ids {
            T::KIND.get(all, id)?;
        }
        let mut found = Vec::new();
        for (id, item) in all {
            let wanted = self.ids.is_empty() || self.ids.contains(id);
            let values = |filter: &str| item.values(id, filter, state, call);
            if self.passes(id, state, values)? && wanted {
                found.push((id.clone(), (id, item)));
            }
        }
        self.page(found)
    }

    /// The answer of an operation that lists things directly.
    pub fn answer<T: Listed>(&self, all: &BTreeMap<String, T>, state: &State, call: &Call) -> Result<Value, AwsError> {
        let (found, next) = self.select(all, state, call)?;
        let list: Vec<Value> = found
            .into_iter()
            .map(|(id, item)| item.with_tags(id, state, call))
            .collect();
        Ok(json!({T::LIST: list, "NextToken": next}))
    }

    /// Whether something with these values and its tags passes all filters.
    pub fn passes(
        &self,
        id: &str,
        state: &State,
        values: impl Fn(&str) -> Option<Vec<String>>,
    ) -> Result<bool, AwsError> {
        let none = BTreeMap::new();
        let tags = state.tags.get(id).unwrap_or(&none);
        let mut passes = true;
        for Filter { name, values: wanted } in &self.filters {
            let has = match name.as_str() {
                "tag-key" => tags.keys().cloned().collect(),
                "tag-value" => tags.values().cloned().collect(),
                _ => match name.strip_prefix("tag:") {
                    Some(key) => tags.get(key).cloned().into_iter().collect(),
                    None => values(name).ok_or_else(|| invalid(format!("The filter '{name}' is invalid")))?,
                },
            };
            passes &= has
                .iter()
                .any(|value| wanted.iter().any(|pattern| matches(pattern, value)));
        }
        Ok(passes)
    }

    /// The wanted page of things that come in the order of their keys.
    pub fn page<T>(&self, mut items: Vec<(String, T)>) -> Result<Page<T>, AwsError> {
        if let Some(most) = self.max_results
            && !(5..=1000).contains(&most)
        {
            return Err(invalid(format!(
                "Value ( {most} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."
            )));
        }
        if let Some(token) = &self.next_token {
            let decoded = URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let last =
                decoded.ok_or_else(|| AwsError::new("InvalidNextToken", format!("The token '{token}' is invalid")))?;
            items.retain(|(key, _)| *key > last);
        }
        let size = self
            .max_results
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next = items
            .last()
            .filter(|_| more)
            .map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        Ok((items.into_iter().map(|(_, item)| item).collect(), next))
    }
}

/// Whether a value is of a pattern: `*` stands for any characters, `?` for one, a backslash takes their meaning away.
fn matches(pattern: &str, value: &str) -> bool {
    fn at(pattern: &[char], value: &[char]) -> bool {
        match (pattern, value) {
            ([], rest) => rest.is_empty(),
            (['*', after @ ..], rest) => (0..=rest.len()).any(|skipped| at(after, &rest[skipped..])),
            (['?', after @ ..], [_, rest @ ..]) => at(after, rest),
            (['\\', literal, after @ ..], [one, rest @ ..]) => literal == one && at(after, rest),
            ([literal, after @ ..], [one, rest @ ..]) => literal == one && at(after, rest),
            (_, []) => false,
        }
    }
    let letters = |text: &str| text.chars().collect::<Vec<char>>();
    at(&letters(pattern), &letters(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_value_may_have_wildcards() {
        assert!(matches("kubernetes.io/cluster/*", "kubernetes.io/cluster/demo"));
        assert!(matches("*-a?c", "golden-abc"));
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
        assert!(!matches("demo", "demo2"));
        assert!(!matches("Demo", "demo"), "values are case-sensitive");
        assert!(!matches("a?", "a"));
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let items = || (10..22).map(|n| (n.to_string(), n)).collect::<Vec<_>>();
        let mut query = Query {
            max_results: Some(5),
            ..Query::default()
        };
        let (first, next) = query.page(items()).unwrap();
        assert_eq!(first, [10, 11, 12, 13, 14]);
        query.next_token = next;
        let (second, next) = query.page(items()).unwrap();
        assert_eq!((second, next.is_some()), (vec![15, 16, 17, 18, 19], true));
        query.next_token = next;
        assert_eq!(query.page(items()).unwrap(), (vec![20, 21], None));
        query.next_token = Some("?".into());
        assert_eq!(query.page(items()).unwrap_err().code, "InvalidNextToken");
        query.max_results = Some(4);
        assert_eq!(query.page(items()).unwrap_err().code, "InvalidParameterValue");
    }
}
