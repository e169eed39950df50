//! The whole controller, the AWS double and an in-memory Kubernetes API server in one process under paused time.

pub mod api;
pub mod conformance;
