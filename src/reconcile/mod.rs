//! One task per unit.
pub mod queue;
