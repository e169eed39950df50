//! Intent × observed → plan. Pure.
//!
//! Create, switch, delete: every prefix of a plan is safe to stop at, and planning anew from where it stopped ends in
//! the same state.

pub mod intent;
pub mod observed;
pub mod step;

pub use intent::{Intent, NetworkIntent, TargetsIntent};
pub use observed::*;
pub use step::{Made, Mutation, Ref, Step, StepId};
