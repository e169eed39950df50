//! What must hold after every single step on the way from one intent to another.

use super::world::{World, actions};
use crate::{
    model::{tags, *},
    plan::*,
};
use std::collections::BTreeSet;

/// What is served by the same rule before and after, and so all the time.
#[derive(Debug)]
pub struct Owed(Vec<Promise>);

/// How a request is answered.
#[derive(Debug)]
struct Promise {
    request: Request,
    /// Of the rule that answers it; none where it is the default.
    conditions: Vec<Condition>,
    action: Action<TargetGroupKey>,
    /// Whether no other rule is for the same requests.
    alone: bool,
}

/// One of every kind that wishes are about.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    port: Port,
    host: String,
    path: String,
}

/// What a target group is for, however its port is spelled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service(String);

fn service(key: &str) -> Service {
    Service(key.rsplit_once(':').map_or(key, |(service, _)| service).to_owned())
}

/// An action as users see it.
fn seen(action: &Action<TargetGroupKey>) -> Action<Service> {
    let named = action.try_map(&mut |key| Some(service(&key.0)));
    named.expect("every target group is a service's")
}

fn requests(port: Port) -> impl Iterator<Item = Request> {
    (0..3).flat_map(move |host| {
        (0..7).map(move |path| Request {
            port,
            host: format!("h{host}.example.com"),
            path: format!("/p{path}"),
        })
    })
}

impl Request {
    /// Whether all conditions are met. The only wildcard is that of a path that takes all.
    fn meets(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| match condition {
            Condition::Host(hosts) => hosts.contains(&self.host),
            Condition::Path(paths) => paths.iter().any(|path| path == "/*" || *path == self.path),
            Condition::Other(_) => false,
        })
    }
}

fn promises(intent: &Intent) -> Vec<Promise> {
    let all = intent.listeners.values().flat_map(|listener| {
        requests(listener.port).map(|request| {
            let rule = listener.rules.iter().find(|rule| request.meets(&rule.conditions));
            let conditions = rule.map_or(&[] as &[_], |rule| &rule.conditions);
            let alike = listener.rules.iter().filter(|rule| rule.conditions == conditions);
            Promise {
                request,
                conditions: conditions.to_vec(),
                action: rule.map_or(&listener.default_actions, |rule| &rule.actions)[0].clone(),
                alone: alike.count() < 2,
            }
        })
    });
    all.collect()
}

impl Owed {
    pub fn between(before: &Intent, after: &Intent) -> Self {
        let later = promises(after);
        // The same service under its other name is the same for users, and the planner sees that where rules are changed;
        // where one comes before another for the same requests, it does at once what it is for.
        let kept = |promise: &Promise| {
            later.iter().any(|other| {
                (&other.request, &other.conditions) == (&promise.request, &promise.conditions)
                    && (other.action == promise.action || (other.alone && seen(&other.action) == seen(&promise.action)))
            })
        };
        Self(promises(before).into_iter().filter(kept).collect())
    }

    /// The first thing that is not as it must be.
    pub fn check(&self, world: &World) -> Result<(), String> {
        let observed = &world.observed;
        let mut all = observed
            .load_balancers
            .iter()
            .flat_map(actions)
            .flat_map(Action::target_groups);
        if let Some(arn) = all.find(|arn| world.target_group(arn).is_none()) {
            return Err(format!("a rule names {arn}, which is not there"));
        }
        let in_use = observed.current.as_ref().and_then(|arn| observed.load_balancer(arn));
        let in_use = in_use.ok_or("no load balancer is in use")?;
        match self.0.iter().find(|promise| !promise.is_kept(in_use, world)) {
            Some(broken) => Err(format!(
                "{broken:?} is not served by {in_use:?}, healthy are {:?}",
                world.healthy
            )),
            None => Ok(()),
        }
    }
}

impl Promise {
    fn is_kept(&self, lb: &ObservedLoadBalancer, world: &World) -> bool {
        let Some(listener) = lb.listeners.get(&self.request.port) else {
            return false;
        };
        let rule = listener
            .rules
            .iter()
            .find(|rule| self.request.meets(&rule.rule.conditions));
        let action = &rule.map_or(&listener.listener.default_actions, |rule| &rule.rule.actions)[0];
        self.is_kept_by(action, world)
    }

    /// Whether requests go to those services that they are for, and to healthy targets only.
    fn is_kept_by(&self, action: &Action<TargetGroupArn>, world: &World) -> bool {
        match (&seen(&self.action), action) {
            (Action::Forward(promised), Action::Forward(now)) => {
                let to: BTreeSet<&Service> = carrying(promised).collect();
                let mut now = carrying(now).peekable();
                now.peek().is_some()
                    && now.all(|arn| {
                        let key = world.target_group(arn).and_then(|group| group.tags.get(tags::RESOURCE));
                        world.healthy.contains(arn) && key.is_some_and(|key| to.contains(&service(key)))
                    })
            }
            (Action::Forward(_), _) | (_, Action::Forward(_)) => false,
            (promised, now) => now.try_map(&mut |_| None::<Service>).as_ref() == Some(promised),
        }
    }
}

/// Who gets a share.
fn carrying<T>(forward: &Forward<T>) -> impl Iterator<Item = &T> {
    let some = forward.targets.iter().filter(|target| target.weight != Some(0));
    some.map(|target| &target.target_group)
}
