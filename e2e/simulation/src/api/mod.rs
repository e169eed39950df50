//! An in-memory Kubernetes API server: a tower service under `kube::Client`, as strict as the real one about what the
//! controller leans on, for the kinds it uses.
//!
//! ```text
//! kube::Client ──► Server (path, verb, faults) ──► Store (objects, revisions, log) ──► watch streams
//! ```
//! Resource versions guard replacements, a status is changed through its subresource only, an object with finalizers
//! is marked before it goes, the pages of a list are of one moment, what is forgotten has expired
//! ([`crate::conformance`] has it in full, and holds a real server to it). There is no admission, no defaulting and no
//! authorisation.

mod link;
mod listen;
mod pages;
mod resource;
mod server;
mod store;

pub use link::Link;
pub use resource::{Resource, path_of};
pub use server::{Reply, Request, Server};
pub use store::{Refusal, Store};
