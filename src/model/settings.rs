//! What the operator configured and pure code needs to know.

use super::{Scheme, Tags, TargetType, VpcId};
use std::collections::BTreeSet;

/// Settings of the controller that shape intents; names as the flags of ALBC that mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--cluster-name`.
    pub cluster: String,
    /// `--aws-vpc-id`, or found.
    pub vpc: VpcId,
    /// `--ingress-class`: value of `kubernetes.io/ingress.class` that is ours; empty also takes class-less Ingresses.
    pub ingress_class: String,
    /// `--disable-ingress-class-annotation`.
    pub disable_class_annotation: bool,
    /// `--disable-ingress-group-name-annotation`.
    pub disable_group_name_annotation: bool,
    /// `--default-tags`.
    pub default_tags: Tags,
    /// `--external-managed-tags`: keys that are neither set nor removed.
    pub external_managed_tags: BTreeSet<String>,
    /// `--default-target-type`.
    pub default_target_type: TargetType,
    /// `--default-load-balancer-scheme`.
    pub default_scheme: Scheme,
    /// `--default-ssl-policy`.
    pub default_ssl_policy: String,
    /// `--enable-backend-security-group`.
    pub backend_security_group: bool,
    /// `--enable-manage-backend-security-group-rules`.
    pub manage_backend_rules: bool,
}
