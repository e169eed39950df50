//! The Kubernetes edge: the only place that names `kube::{Api, Client}`.
//!
//! ```text
//! watch ─► slim objects ─► convert ─► facts::Change        Writer ─► finalizers, status, bindings, our own objects
//! lease ─► Leadership: may we act?                         Events ─► what users are told
//! ```

pub mod convert;
pub mod custom;
mod fault;
pub mod slim;
pub mod status;
pub mod watch;

pub use fault::Fault;
pub use status::Writer;
