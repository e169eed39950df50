//! Time, logs, metrics, and the endpoints where health and metrics are asked for.

mod clock;
mod logs;
mod metrics;
mod serve;

pub use clock::Clock;
pub use logs::begin as log;
pub use metrics::Metrics;
pub(crate) use serve::listen;
pub use serve::serve;
