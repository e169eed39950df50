//! What we keep of Kubernetes objects: small, comparable; the object itself is dropped.

pub mod cluster;
pub mod membership;
pub mod object;
mod shared;
#[cfg(test)]
mod tests;

pub use cluster::{Change, Cluster};
pub use membership::Membership;
pub use object::*;
pub use shared::Facts;
