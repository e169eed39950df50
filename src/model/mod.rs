//! The words everyone shares: what a load balancer is made of, and how its parts are named and tagged.
//!
//! A part that names target groups is generic over how it names them: by [`TargetGroupKey`] in an intent, by
//! [`TargetGroupArn`] in what was observed, by a step's result in a plan. Equality is `==` on normalised values.

pub mod group;
pub mod ids;
pub mod lane;
pub mod listener;
pub mod load_balancer;
pub mod names;
pub mod problem;
pub mod rule;
pub mod security_group;
pub mod selector;
pub mod settings;
pub mod tags;
pub mod target_group;

pub use group::{BINDING_FINALIZER, EXPLICIT_FINALIZER_PREFIX, GATE, GroupKey, IMPLICIT_FINALIZER, ObjectKey, Unit};
pub use ids::*;
pub use lane::Lane;
pub use listener::{Certificates, Listener, ListenerProtocol};
pub use load_balancer::{DELETION_PROTECTION, IpAddressType, LoadBalancer, Scheme};
pub use problem::{Code, Object, Problem, Severity, shown};
pub use rule::{Action, Condition, Forward, ForwardTarget, Priority, Redirect, Rule};
pub use security_group::{Peer, Permission, SecurityGroup, SecurityGroupRef};
pub use selector::{Resolved, Selectors, SubnetSelector};
pub use settings::Settings;
pub use tags::Tags;
pub use target_group::{
    Binding, BindingNetworking, HealthCheck, IPV4, IPV6, Port, PortRef, Target, TargetGroup, TargetGroupKey, TargetType,
};
