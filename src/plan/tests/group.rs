//! What holds of the plans of a group.

use super::{
    cases,
    draw::{backend, change, crowded, rule, wish},
    equal::fulfils,
    run::{End, run, unwatched},
    safe::Owed,
    wish::{Do, Wish, nothing},
    world::World,
};
use crate::{model::Scheme, plan::*};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::collections::BTreeSet;

/// A world in which the wish is fulfilled and everything is healthy.
fn settled(wish: &Wish) -> World {
    let mut world = World::default();
    run(&mut world, &wish.intent(), usize::MAX, &mut unwatched).expect("a run from nothing");
    world.wait();
    world
}

fn arrive(world: &mut World, wish: &Wish) -> Result<End, TestCaseError> {
    let intent = wish.intent();
    let end = run(world, &intent, usize::MAX, &mut unwatched).map_err(TestCaseError::fail)?;
    fulfils(world, &intent).map_err(TestCaseError::fail)?;
    Ok(end)
}

fn stays_served(before: &Wish, after: &Wish) -> Result<(), TestCaseError> {
    let mut world = settled(before);
    let owed = Owed::between(&before.intent(), &after.intent());
    let end = run(&mut world, &after.intent(), usize::MAX, &mut |world| owed.check(world));
    end.map(drop).map_err(TestCaseError::fail)
}

/// What reading AWS anew does not tell.
fn forget(observed: &mut Observed) {
    observed.current = None;
    observed.retired.clear();
    observed.warming.clear();
}

fn one_of_each_scheme(world: &World) -> Result<(), String> {
    let lbs = &world.observed.load_balancers;
    let schemes: BTreeSet<Scheme> = lbs.iter().map(|lb| lb.load_balancer.scheme).collect();
    if schemes.len() == lbs.len() {
        Ok(())
    } else {
        Err(format!("two of a scheme: {lbs:?}"))
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_plan_converges((before, after) in change()) {
        let mut world = World::default();
        arrive(&mut world, &before)?;
        world.wait();
        arrive(&mut world, &after)?;
    }

    #[test]
    fn an_unchanged_intent_plans_nothing(wish in wish()) {
        let mut world = settled(&wish);
        let before = world.observed.clone();
        let end = arrive(&mut world, &wish)?;
        prop_assert_eq!(end, End::Settled { steps: 0, problems: 0 });
        prop_assert_eq!(world.observed, before);
    }

    #[test]
    fn an_intent_without_a_load_balancer_leaves_nothing((before, after) in change(), steps in 0..40_usize) {
        let mut world = settled(&before);
        run(&mut world, &after.intent(), steps, &mut unwatched).map_err(TestCaseError::fail)?;
        run(&mut world, &nothing(), usize::MAX, &mut unwatched).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.observed, Observed::default());
    }

    #[test]
    fn what_is_served_before_and_after_is_served_after_every_step((before, after) in change()) {
        stays_served(&before, &after)?;
    }

    #[test]
    fn a_crash_after_any_step_changes_nothing_about_the_end(
        (before, after) in change(),
        crash in any::<Index>(),
        forgets in any::<bool>(),
    ) {
        let mut straight = settled(&before);
        let End::Settled { steps, .. } = arrive(&mut straight, &after)? else { return Ok(()) };
        let mut world = settled(&before);
        let stop = crash.index(steps + 1);
        run(&mut world, &after.intent(), stop, &mut one_of_each_scheme).map_err(TestCaseError::fail)?;
        if forgets {
            forget(&mut world.observed);
        }
        run(&mut world, &after.intent(), usize::MAX, &mut one_of_each_scheme).map_err(TestCaseError::fail)?;
        fulfils(&world, &after.intent()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_wish_taken_back_half_way_ends_where_it_began(
        (before, after) in change(),
        back in any::<Index>(),
        forgets in any::<bool>(),
    ) {
        let mut straight = settled(&before);
        let End::Settled { steps, .. } = arrive(&mut straight, &after)? else { return Ok(()) };
        let mut world = settled(&before);
        run(&mut world, &after.intent(), back.index(steps + 1), &mut unwatched).map_err(TestCaseError::fail)?;
        if forgets {
            forget(&mut world.observed);
        }
        run(&mut world, &before.intent(), usize::MAX, &mut one_of_each_scheme).map_err(TestCaseError::fail)?;
        fulfils(&world, &before.intent()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_chosen_name_is_given_away_only_with_consent((mut before, mut after) in change()) {
        before.load_balancer.name = Some("mine");
        after.load_balancer.name = Some("mine");
        let replaced = before.load_balancer.scheme != after.load_balancer.scheme;
        let mut world = settled(&before);
        if replaced {
            let was = world.observed.clone();
            let end = run(&mut world, &after.intent(), usize::MAX, &mut unwatched).map_err(TestCaseError::fail)?;
            prop_assert!(matches!(end, End::Settled { steps: 0, problems: 1.. }), "{:?}", end);
            prop_assert_eq!(&world.observed, &was);
        }
        after.load_balancer.delete_first = true;
        arrive(&mut world, &after)?;
    }

    #[test]
    fn another_last_path_of_a_known_service_is_one_call_a_listener(mut before in wish(), mut rule in rule(), to in backend()) {
        rule.action = Do::To(to);
        for listener in before.listeners.values_mut() {
            listener.default = Do::To(to);
        }
        let mut after = before.clone();
        for listener in after.listeners.values_mut() {
            listener.rules.push(rule.clone());
        }
        let world = settled(&before);
        let plan = group::plan(&after.intent(), &world.observed, &ready(&world));
        prop_assert!(plan.waits.is_empty());
        let made: Vec<_> = plan.steps.iter().map(|step| step.call.operation()).collect();
        prop_assert_eq!(made, vec!["CreateRule"; before.listeners.len()]);
    }

    #[test]
    fn who_only_takes_rules_away_makes_nothing(mut before in wish(), stay in vec(any::<bool>(), 12)) {
        // What gets nothing is waited for, as if it were new, when its service's port was also spelled the other way.
        before.give_everybody_something();
        let mut after = before.clone();
        for listener in after.listeners.values_mut() {
            let mut stay = stay.iter();
            listener.rules.retain(|_| stay.next() == Some(&true));
        }
        let gone = |wish: &Wish| wish.listeners.values().map(|listener| listener.rules.len()).sum::<usize>();
        let gone = gone(&before) - gone(&after);
        let world = settled(&before);
        let plan = group::plan(&after.intent(), &world.observed, &ready(&world));
        let mut removed = 0;
        for step in &plan.steps {
            match &step.call {
                Mutation::DeleteRule { .. } => removed += 1,
                Mutation::SetRulePriorities { .. } | Mutation::DeleteTargetGroup { .. } => {}
                // An equal rule of somebody else may take the place of one that goes.
                Mutation::AddTags { resource, .. } | Mutation::RemoveTags { resource, .. }
                    if resource.starts_with("rule") => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(removed, gone);
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn rules_for_the_same_requests_never_overtake_each_other((before, after) in crowded()) {
        stays_served(&before, &after)?;
    }
}

/// What was waited for long ago.
fn ready(world: &World) -> Readiness {
    Readiness {
        backend: world.backend.clone(),
        ..Readiness::default()
    }
}
