//! Rules of listeners and their priorities.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::action::Place;
use super::condition;
use super::lookup::{Kind, find_mut, resource};
use super::paging::{Page, Paging};
use super::state::{Action, Condition, Rule};
use super::tag::{self, Tag};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Scene, World};

impl Rule {
    fn described(&self) -> Value {
        json!({
            "RuleArn": self.arn,
            "Priority": self.priority.map_or("default".to_owned(), |priority| priority.to_string()),
            "Conditions": self.conditions,
            "Actions": self.actions,
            "Transforms": self.transforms,
            "IsDefault": self.priority.is_none(),
        })
    }
}

fn in_use(priority: u32) -> AwsError {
    AwsError::new("PriorityInUse", format!("Priority '{priority}' is currently in use"))
}

/// The default rule is part of its listener.
fn protected(rule: &Rule, what: &str) -> Result<(), AwsError> {
    match rule.priority {
        Some(_) => Ok(()),
        None => Err(AwsError::new(
            "OperationNotPermitted",
            format!("Default rule '{}' cannot be {what}", rule.arn),
        )),
    }
}

/// "You can add one host header rewrite transform and one URL rewrite transform."
fn check_transforms(transforms: Vec<Value>) -> Result<Vec<Value>, AwsError> {
    let kinds: BTreeSet<&str> = transforms
        .iter()
        .filter_map(|transform| transform["Type"].as_str())
        .collect();
    if kinds.len() < transforms.len() {
        return Err(AwsError::validation("A rule can have only one transform of each type"));
    }
    for transform in &transforms {
        let config = if transform["Type"] == "url-rewrite" {
            "UrlRewriteConfig"
        } else {
            "HostHeaderRewriteConfig"
        };
        if transform[config]["Rewrites"]
            .as_array()
            .is_none_or(|rewrites| rewrites.is_empty())
        {
            return Err(AwsError::validation(format!(
                "A '{config}' must be specified for this type of transform"
            )));
        }
    }
    Ok(transforms)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    listener_arn: String,
    conditions: Vec<Given>,
    priority: u32,
    actions: Vec<Action>,
    transforms: Option<Vec<Value>>,
    tags: Option<Vec<Tag>>,
}

/// A condition as it comes in: the model lets the field be absent.
#[derive(Deserialize)]
pub(super) struct Given {
    #[serde(rename = "Field", default)]
    field: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

fn conditions(given: Vec<Given>) -> Result<Vec<Condition>, AwsError> {
    let condition = |Given { field, mut rest }: Given| {
        rest.insert("Field".to_owned(), Value::String(field));
        super::read(Value::Object(rest))
    };
    given.into_iter().map(condition).collect()
}

/// `CreateRule`.
pub(super) fn create(world: &mut World, call: &Call, input: Create) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let state = &mut region.elbv2;
    let listener = state.listener(&input.listener_arn)?;
    let conditions = condition::normalise(state, conditions(input.conditions)?)?;
    let actions = Place::of(state, listener)?.normalise(input.actions, None)?;
    let transforms = check_transforms(input.transforms.unwrap_or_default())?;
    let tags = tag::checked(input.tags.unwrap_or_default(), None)?;
    if state
        .rules_of(&listener.arn)
        .iter()
        .any(|rule| rule.priority == Some(input.priority))
    {
        return Err(in_use(input.priority));
    }
    let rules = state
        .listeners_of(&listener.load_balancer)
        .flat_map(|listener| state.rules_of(&listener.arn));
    let most = state.quota("rules-per-application-load-balancer");
    if rules.filter(|rule| rule.priority.is_some()).count() >= most {
        let message = format!(
            "The maximum number of rules on load balancer '{}' has been reached",
            listener.load_balancer
        );
        return Err(AwsError::new("TooManyRules", message));
    }
    let path = format!("listener-rule/{}/{}", resource(&listener.arn), ids.hex(16));
    let rule = Rule {
        arn: call.arn("elasticloadbalancing", &path),
        listener: listener.arn.clone(),
        priority: Some(input.priority),
        conditions,
        actions,
        transforms,
    };
    let answer = json!({"Rules": [rule.described()]});
    state.tags.insert(rule.arn.clone(), tags);
    let load_balancer = state.listener(&rule.listener)?.load_balancer.clone();
    state.rules.insert(rule.arn.clone(), rule);
    state.refresh_use(&load_balancer, call.now);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    listener_arn: Option<String>,
    rule_arns: Option<Vec<String>>,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeRules`, in the order in which rules are evaluated.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    let chosen: Vec<&Rule> = match (&input.listener_arn, input.rule_arns.as_deref().unwrap_or_default()) {
        (Some(listener), []) => {
            state.listener(listener)?;
            state.rules_of(listener)
        }
        (None, arns @ [_, ..]) => arns.iter().map(|arn| state.rule(arn)).collect::<Result<_, _>>()?,
        _ => {
            return Err(AwsError::validation(
                "You must specify either listener rule ARNs or a listener ARN",
            ));
        }
    };
    let key = |rule: &Rule| format!("{:05} {}", rule.priority.unwrap_or(99_999), rule.arn);
    let Page { items, next } = input
        .paging
        .page(chosen.into_iter().map(|rule| (key(rule), rule)).collect())?;
    let rules: Vec<Value> = items.into_iter().map(Rule::described).collect();
    Ok(json!({"Rules": rules, "NextMarker": next}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    rule_arn: String,
    conditions: Option<Vec<Given>>,
    actions: Option<Vec<Action>>,
    transforms: Option<Vec<Value>>,
    reset_transforms: Option<bool>,
}

/// `ModifyRule`: "Any properties that you do not specify are unchanged."
pub(super) fn modify(world: &mut World, call: &Call, input: Modify) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let mut rule = state.rule(&input.rule_arn)?.clone();
    protected(&rule, "modified")?;
    if let Some(given) = input.conditions {
        rule.conditions = condition::normalise(state, conditions(given)?)?;
    }
    if let Some(actions) = input.actions {
        rule.actions = Place::of(state, state.listener(&rule.listener)?)?.normalise(actions, Some(&rule.arn))?;
    }
    match (input.transforms, input.reset_transforms == Some(true)) {
        (Some(_), true) => {
            return Err(AwsError::validation(
                "Transforms and ResetTransforms cannot both be specified",
            ));
        }
        (Some(transforms), false) => rule.transforms = check_transforms(transforms)?,
        (None, true) => rule.transforms.clear(),
        (None, false) => {}
    }
    let answer = json!({"Rules": [rule.described()]});
    let load_balancer = state.listener(&rule.listener)?.load_balancer.clone();
    state.rules.insert(rule.arn.clone(), rule);
    state.refresh_use(&load_balancer, call.now);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Priority {
    rule_arn: Option<String>,
    priority: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetPriorities {
    rule_priorities: Vec<Priority>,
}

/// `SetRulePriorities`: "You can reorder the rules as long as there are no priority conflicts in the new order."
pub(super) fn set_priorities(world: &mut World, call: &Call, input: SetPriorities) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let mut wanted = BTreeMap::new();
    for Priority { rule_arn, priority } in input.rule_priorities {
        let (Some(arn), Some(priority)) = (rule_arn, priority) else {
            return Err(AwsError::validation("A rule ARN and a priority must be specified"));
        };
        protected(state.rule(&arn)?, "given a priority")?;
        if wanted.insert(arn.clone(), priority).is_some() {
            return Err(AwsError::validation(format!(
                "The rule '{arn}' was specified more than once"
            )));
        }
    }
    if wanted.is_empty() {
        return Err(AwsError::validation("A rule priority must be specified"));
    }
    let mut taken = BTreeSet::new();
    for rule in state.rules.values() {
        if let Some(priority) = wanted.get(&rule.arn).copied().or(rule.priority)
            && !taken.insert((&rule.listener, priority))
        {
            return Err(in_use(priority));
        }
    }
    let mut rules = Vec::new();
    for (arn, priority) in wanted {
        let rule = find_mut(Kind::Rule, &mut state.rules, &arn)?;
        rule.priority = Some(priority);
        rules.push(rule.described());
    }
    Ok(json!({"Rules": rules}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    rule_arn: String,
}

/// `DeleteRule`.
pub(super) fn delete(world: &mut World, call: &Call, input: &Delete) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let rule = state.rule(&input.rule_arn)?;
    protected(rule, "deleted")?;
    let load_balancer = state.listener(&rule.listener)?.load_balancer.clone();
    state.rules.remove(&input.rule_arn);
    state.tags.remove(&input.rule_arn);
    state.refresh_use(&load_balancer, call.now);
    Ok(json!({}))
}
