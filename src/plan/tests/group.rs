//! What holds of the plans of a group.

use super::{
    cases,
    draw::{change, wish},
    equal::fulfils,
    run::{End, run, unwatched},
    wish::{Wish, nothing},
    world::World,
};
use crate::plan::*;
use proptest::prelude::*;

/// A world in which the wish is fulfilled and everything is healthy.
fn settled(wish: &Wish) -> World {
    let mut world = World::default();
    run(&mut world, &wish.intent(), usize::MAX, &mut unwatched).expect("a run from nothing");
    world.wait();
    world
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_plan_converges((before, after) in change()) {
        let mut world = settled(&before);
        fulfils(&world, &before.intent()).map_err(TestCaseError::fail)?;
        run(&mut world, &after.intent(), usize::MAX, &mut unwatched).map_err(TestCaseError::fail)?;
        fulfils(&world, &after.intent()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn an_unchanged_intent_plans_nothing(wish in wish()) {
        let mut world = settled(&wish);
        let before = world.observed.clone();
        let end = run(&mut world, &wish.intent(), usize::MAX, &mut unwatched);
        prop_assert_eq!(end, Ok(End::Settled { steps: 0, problems: 0 }));
        prop_assert_eq!(world.observed, before);
    }

    #[test]
    fn an_intent_without_a_load_balancer_leaves_nothing(wish in wish()) {
        let mut world = settled(&wish);
        run(&mut world, &nothing(), usize::MAX, &mut unwatched).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.observed, Observed::default());
    }
}
