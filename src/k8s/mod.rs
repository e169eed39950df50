//! The Kubernetes edge: the only place that names `kube::{Api, Client}`.
//!
//! ```text
//! watch ─► slim objects ─► convert ─► facts::Change        Writer ─► finalizers, status, bindings, our own objects
//! lease ─► Leadership: may we act?                         Events ─► what users are told
//! ```

pub mod client;
pub mod convert;
pub mod custom;
pub mod events;
mod fault;
mod gate;
pub mod lease;
pub mod memory;
pub mod slim;
pub mod status;
mod survey;
mod trust;
pub mod watch;

pub use client::{Clients, connect};
pub use events::{Events, Note};
pub use fault::Fault;
pub use gate::Gate;
pub use kube::Client;
pub use lease::{Contender, Leadership, LeaseConfig};
pub use status::Writer;
pub use survey::survey;
pub use trust::Trust;
