//! The chart, the binary and the real control plane, end to end: what a user sees.
//!
//! ```text
//!   host-a … c: pods of the demo, two replicas of albacore     10.0.0.2:53     names of load balancers
//!   10.0.0.10:6443  API server                                 10.0.0.5:4566   AWS
//!   10.0.0.6:443    EKS Pod Identity webhook                   169.254.169.254 instance metadata
//!   10.0.x.y:80,443 load balancers                             169.254.170.23  EKS Pod Identity agent
//! ```

mod admission;
pub mod client;
pub mod demo;
pub mod identity;
mod masses;
mod migrate;
pub mod pod_identity_webhook;
mod rollout;
pub mod stage;
pub mod tests;
