//! The data plane: load balancers that really listen, decide and forward.
//!
//! ```text
//! Double ─► Snapshot (world) ─► sockets on the load balancers' addresses and ports (plane)
//!                                        │ admitted by security groups (firewall), TLS by SNI (tls)
//!                                        ▼
//!          report_health ◄─ probe      rule by priority (rule, matcher) ─► answer of its own (answer)
//!                             │          │
//!                             └──────► target by weight and turn (balance) ─► connection from the load balancer's
//!                                                                             address (upstream, header, proxy)
//! ```
//! It connects only inside a network namespace that has nothing but its own links, or on loopback where a test says so.

mod answer;
mod balance;
mod connection;
mod engine;
mod firewall;
mod follow;
mod header;
mod matcher;
mod namespace;
mod plane;
mod probe;
mod proxy;
mod rule;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod world;

use std::time::Duration;

pub use follow::DataPlane;
pub use namespace::{NamespaceError, Reach};

/// How a data plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it may listen and connect.
    pub reach: Reach,
    /// How long a connection to a target may take. ALB's is 10 seconds ("Troubleshoot your Application Load Balancers",
    /// HTTP 504).
    pub connect_timeout: Duration,
}

impl Options {
    /// As ALB does it.
    pub fn new(reach: Reach) -> Options {
        Options {
            reach,
            connect_timeout: Duration::from_secs(10),
        }
    }
}
