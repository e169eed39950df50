//! A real Kubernetes cluster without containers, in namespaces of its own.
//!
//! ```text
//!   10.0.0.2    name server (served by the caller)      10.0.0.10:6443  kube-apiserver ── etcd 127.0.0.1:2379
//!   169.254.*   metadata, Pod Identity (the caller's)                   kube-controller-manager, kube-scheduler, kwok
//!
//!   10.0.10.10  node host-a ── pods 10.0.10.64/27 ┐
//!   10.0.11.10  node host-b ── pods 10.0.11.64/27 ├─ real: each pod a process in its own network and mount namespace
//!   10.0.12.10  node host-c ── pods 10.0.12.64/27 ┘
//!   any         fake nodes  ── pods of theirs        kwok: objects that say they run
//! ```
//! ```no_run
//! # async fn run() -> anyhow::Result<()> {
//! albacore_cluster::enter(); // first thing in main, before the async runtime
//! let cluster = albacore_cluster::Cluster::start(albacore_cluster::Options::default()).await?;
//! cluster.kubectl(&["create", "namespace", "shop"]).await?;
//! cluster.stop().await;
//! # Ok(()) }
//! ```

mod certificates;
mod cluster;
mod control_plane;
mod demo_http;
mod image;
mod kubelet;
mod kwok;
mod namespace;
mod node;
mod node_port;
mod process;
mod python;
mod sandbox;
mod tool;

pub use cluster::{Cluster, Options};
pub use control_plane::{API_SERVER, ISSUER};
pub use image::{DEMO_IMAGE, Image};
pub use namespace::{RESOLVER, STATE, enter, take_part, tools};
pub use node::NodeSpec;
pub use python::python;
pub use tool::build_tools;
