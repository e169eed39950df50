//! The whole controller, the AWS double and an in-memory Kubernetes API server in one process under paused time.

pub mod api;
pub mod bed;
pub mod conformance;
pub mod contention;
pub mod figures;
pub mod gates;
pub mod idle;
pub mod memory;
pub mod objects;
pub mod permissions;
pub mod picture;
pub mod replica;
pub mod rights;
pub mod rollout;
pub mod scale;
pub mod seeds;
pub mod tripwire;
pub mod world;
