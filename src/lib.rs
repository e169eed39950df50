//! albacore turns Kubernetes Ingress objects into AWS load balancers inside an AWS API-call budget.
//!
//! ```text
//!  kube watch ─► facts ─touched units─► queue ─► one task per unit
//!                  │ snapshot
//!                  ▼
//!    ingress::build ─► Draft (selectors) + Problems ─► aws::resolve ─► Intent ──┐
//!                                                                               ├─► plan::plan ─► Plan ─► execute ─► aws::perform
//!    LoadBalancer object (applied) ─► Observed ◄── aws::observe, with a reason ──┘      ▲                     │ (budget, meter)
//!                                                                                       └── observed.apply(step, outcome)
//!                                report::build(facts, intent, observed, problems) ─► status, events
//! ```
//!
//! Everything between the two edges (`k8s`, `aws`) is a function: `model`, `facts`, `ingress`, `network`, `plan`,
//! `report` and `budget` name no edge, no clock and no environment.

pub mod aws;
pub mod budget;
pub mod config;
pub mod execute;
pub mod facts;
pub mod ingress;
pub mod k8s;
pub mod model;
pub mod network;
pub mod plan;
pub mod reconcile;
pub mod report;
pub mod run;
pub mod targets;
pub mod telemetry;
pub mod webhook;
