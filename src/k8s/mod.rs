//! The Kubernetes edge: the only place that names `kube::{Api, Client}`.
