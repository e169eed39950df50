//! Whether AWS holds what an intent wants: no more, no less, nothing else.

use super::world::World;
use crate::{
    model::{tags, *},
    plan::*,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

fn same<T: PartialEq + Debug>(what: &str, have: T, want: T) -> Result<(), String> {
    if have == want {
        return Ok(());
    }
    Err(format!("{what} should be {want:?}, is {have:?}"))
}

/// What differs first, if anything does. Names count only when something is made, so they may differ.
pub fn fulfils(world: &World, intent: &Intent) -> Result<(), String> {
    let observed = &world.observed;
    let Some(want) = &intent.load_balancer else {
        return same("what is left", observed, &Observed::default());
    };
    let [lb] = observed.load_balancers.as_slice() else {
        return Err(format!("{} load balancers", observed.load_balancers.len()));
    };
    same("what is in use", observed.current.as_ref(), Some(&lb.arn))?;
    same("what is retired", &observed.retired, &BTreeSet::new())?;
    security_group(observed, intent)?;
    load_balancer(world, lb, want, intent)?;

    let mut keys = BTreeMap::new();
    for have in &observed.target_groups {
        let key = have.group.tags.get(tags::RESOURCE).cloned().unwrap_or_default();
        keys.insert(have.arn.clone(), TargetGroupKey(key.clone()));
        let want = intent.target_groups.get(&TargetGroupKey(key));
        let want = &want.ok_or_else(|| format!("a target group too many: {have:?}"))?.group;
        target_group(&have.group, want, intent)?;
    }
    let served: BTreeSet<&TargetGroupKey> = keys.values().collect();
    same("target groups", served, intent.target_groups.keys().collect())?;
    same("number of target groups", keys.len(), intent.target_groups.len())?;

    let ports: Vec<&Port> = intent.listeners.keys().collect();
    same("ports", lb.listeners.keys().collect(), ports)?;
    for (have, want) in lb.listeners.values().zip(intent.listeners.values()) {
        same(
            "a listener",
            without_owners(named(have, &keys)?),
            without_owners(want.clone()),
        )?;
        let places: Vec<Priority> = have.rules.iter().map(|rule| rule.priority).collect();
        same("places", places, (1..).take(have.rules.len()).collect())?;
    }
    Ok(())
}

fn security_group(observed: &Observed, intent: &Intent) -> Result<(), String> {
    let have = observed.security_group.as_ref().map(|group| &group.group);
    same("the security group", have, intent.security_group.as_ref())
}

fn load_balancer(world: &World, lb: &ObservedLoadBalancer, want: &LoadBalancer, intent: &Intent) -> Result<(), String> {
    let have = &lb.load_balancer;
    let id = |group: &SecurityGroupRef| match group {
        SecurityGroupRef::Id(id) => Some(id.clone()),
        SecurityGroupRef::Managed => world.observed.security_group.as_ref().map(|group| group.id.clone()),
        SecurityGroupRef::Backend => world.backend.clone(),
    };
    let groups: Option<BTreeSet<SecurityGroupId>> = want.security_groups.iter().map(id).collect();
    same("the scheme", have.scheme, want.scheme)?;
    same("IP versions", have.ip_address_type, want.ip_address_type)?;
    same("subnets", &have.subnets, &want.subnets)?;
    same(
        "security groups",
        Some(have.security_groups.iter().cloned().collect()),
        groups,
    )?;
    same("protection", lb.protected, want.is_protected())?;
    same("tags", &have.tags, &want.tags)?;
    attributes(&have.attributes, &want.attributes, intent)
}

fn target_group(have: &TargetGroup, want: &TargetGroup, intent: &Intent) -> Result<(), String> {
    same("kind of targets", have.target_type, want.target_type)?;
    same("addresses", &have.ip_address_type, &want.ip_address_type)?;
    same("protocol", &have.protocol, &want.protocol)?;
    same("version", &have.protocol_version, &want.protocol_version)?;
    same("health check", &have.health_check, &want.health_check)?;
    same("tags", &have.tags, &want.tags)?;
    attributes(&have.attributes, &want.attributes, intent)
}

/// What nobody sets any more has AWS' default.
fn attributes(have: &BTreeMap<String, String>, want: &BTreeMap<String, String>, intent: &Intent) -> Result<(), String> {
    let in_force = |set: &BTreeMap<String, String>| {
        let mut all = intent.attribute_defaults.clone();
        all.extend(set.clone());
        all
    };
    same("attributes", in_force(have), in_force(want))
}

/// A listener as an intent would say it.
fn named(
    have: &ObservedListener,
    keys: &BTreeMap<TargetGroupArn, TargetGroupKey>,
) -> Result<Listener<TargetGroupKey>, String> {
    let key = |arn: &TargetGroupArn| keys.get(arn).cloned();
    let (mut key, mut of_rule) = (key, key);
    let unknown = || "a target group that is not there".to_owned();
    let listener = have.listener.clone();
    let default_actions = listener.default_actions.iter().map(|action| action.try_map(&mut key));
    let rules = have.rules.iter().map(|rule| rule.rule.try_map(&mut of_rule));
    Ok(Listener {
        default_actions: default_actions.collect::<Option<_>>().ok_or_else(unknown)?,
        rules: rules.collect::<Option<_>>().ok_or_else(unknown)?,
        port: listener.port,
        protocol: listener.protocol,
        certificates: listener.certificates,
        ssl_policy: listener.ssl_policy,
        tags: listener.tags,
    })
}

/// Whose a rule is AWS does not know.
fn without_owners(mut listener: Listener<TargetGroupKey>) -> Listener<TargetGroupKey> {
    for rule in &mut listener.rules {
        rule.owner = None;
    }
    listener
}
