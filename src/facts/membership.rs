//! Which group an Ingress belongs to: its class, the class' parameters, its group name.

use super::{Cluster, Ingress, IngressClassParams, LabelSelector};
use crate::model::{
    Code, EXPLICIT_FINALIZER_PREFIX, GroupKey, IMPLICIT_FINALIZER, Object, Problem, Settings, Severity, shown,
};
use std::collections::{BTreeMap, BTreeSet};

/// `spec.controller` of the classes that are ours; ALBC's own, so that Ingresses need no change.
pub const CONTROLLER: &str = "ingress.k8s.aws/alb";
/// Deprecated way to name a class.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const GROUP_NAME: &str = "alb.ingress.kubernetes.io/group.name";
const PARAMS_API_GROUP: &str = "elbv2.k8s.aws";

/// Whose an Ingress is.
#[derive(Clone, Debug, PartialEq)]
pub enum Membership<'a> {
    /// Not ours, or being deleted.
    None,
    /// A member of this group, under these parameters.
    Member(GroupKey, Option<&'a IngressClassParams>),
    /// Ours once this is mended. It stays a member of the groups whose finalizer it carries.
    Unclear(Problem),
    /// Its group name cannot be used: it leaves the groups whose finalizer it carries.
    Unnamed(Problem),
}

impl Cluster {
    /// Whose this Ingress is.
    pub fn membership<'a>(&'a self, settings: &Settings, ingress: &Ingress) -> Membership<'a> {
        if ingress.deleting {
            return Membership::None;
        }
        let params = match self.class_of(settings, ingress) {
            Ok(Some(params)) => params,
            Ok(None) => return Membership::None,
            Err(problem) => return Membership::Unclear(problem),
        };
        let named = params.and_then(|params| params.spec.group_name.as_ref());
        // As with ALBC, switching the annotation off refuses new uses of it; who is in a group stays there.
        let annotated = ingress.annotations.get(GROUP_NAME);
        if let (None, Some(name)) = (named, annotated)
            && settings.disable_group_name_annotation
            && !Self::held_by(ingress).contains(&GroupKey::Explicit(name.clone()))
        {
            let detail = format!(
                "{}: the operator has switched this annotation off. Remove it, or use a class whose \
                 IngressClassParams name the group.",
                shown(name)
            );
            return Membership::Unnamed(problem(ingress, GROUP_NAME, Code::NotSupported, detail));
        }
        let Some(name) = named.or(annotated) else {
            return Membership::Member(GroupKey::Implicit(ingress.key.clone()), params);
        };
        match group_name_error(name) {
            None => Membership::Member(GroupKey::Explicit(name.clone()), params),
            Some(error) => {
                let detail = format!(
                    "{} cannot name a group: {error}. Write for example `shop.internal`.",
                    shown(name)
                );
                let at_ingress = problem(ingress, GROUP_NAME, Code::InvalidValue, detail);
                Membership::Unnamed(match params.filter(|_| named.is_some()) {
                    Some(params) => Problem {
                        object: Object::IngressClassParams(params.name.clone()),
                        field: "spec.group.name".to_owned(),
                        ..at_ingress
                    },
                    None => at_ingress,
                })
            }
        }
    }

    /// `Some` when the Ingress is of a class of ours, with the parameters of that class.
    #[expect(clippy::option_option, reason = "ours or not, with parameters or without")]
    fn class_of<'a>(
        &'a self,
        settings: &Settings,
        ingress: &Ingress,
    ) -> Result<Option<Option<&'a IngressClassParams>>, Problem> {
        if let Some(class) = ingress.annotations.get(CLASS_ANNOTATION)
            && (!settings.disable_class_annotation || !Self::held_by(ingress).is_empty())
        {
            let ours = *class == settings.ingress_class || (settings.ingress_class.is_empty() && class == "alb");
            return Ok(ours.then_some(None));
        }
        let class = match &ingress.class_name {
            // Whose it is cannot be told, unless we have served it before.
            Some(name) if !self.classes.contains_key(name) && Self::held_by(ingress).is_empty() => return Ok(None),
            Some(name) => self.classes.get(name).ok_or_else(|| {
                let detail = format!(
                    "IngressClass `{name}` does not exist. Create it, or name another one; until then what is there \
                     stays as it is."
                );
                problem(ingress, "spec.ingressClassName", Code::NotFound, detail)
            })?,
            None => {
                let mut defaults = self.classes.values().filter(|class| class.default);
                match (defaults.next(), defaults.next()) {
                    (None, _) => return Ok(settings.ingress_class.is_empty().then_some(None)),
                    (Some(class), None) => class,
                    (Some(one), Some(other)) if one.controller != CONTROLLER && other.controller != CONTROLLER => {
                        return Ok(None);
                    }
                    (Some(one), Some(other)) => {
                        let detail = format!(
                            "no class is named, and both IngressClass `{}` and `{}` are marked as default. Name a \
                             class, or leave ingressclass.kubernetes.io/is-default-class on one of them only.",
                            one.name, other.name
                        );
                        return Err(problem(ingress, "spec.ingressClassName", Code::Conflict, detail));
                    }
                }
            }
        };
        if class.controller != CONTROLLER {
            return Ok(None);
        }
        let Some((api_group, kind, name)) = &class.parameters else {
            return Ok(Some(None));
        };
        let of_class = |field: &str, code, detail| Problem {
            object: Object::IngressClass(class.name.clone()),
            ..problem(ingress, field, code, detail)
        };
        if api_group.as_deref() != Some(PARAMS_API_GROUP) || kind != "IngressClassParams" {
            let detail = format!(
                "parameters of kind `{kind}` are not understood. Write apiGroup `{PARAMS_API_GROUP}` and kind \
                 `IngressClassParams`."
            );
            return Err(of_class("spec.parameters", Code::InvalidValue, detail));
        }
        let Some(params) = self.params.get(name) else {
            let detail = format!(
                "IngressClassParams `{name}` does not exist. Create it, or take spec.parameters off the class."
            );
            return Err(of_class("spec.parameters.name", Code::NotFound, detail));
        };
        let namespace = self.namespaces.get(&ingress.key.namespace);
        match &params.spec.namespace_selector {
            Some(selector) if !namespace.is_some_and(|ns| selector.matches(&ns.labels)) => {
                let detail = format!(
                    "namespace `{}` is not selected by spec.namespaceSelector of IngressClassParams `{name}`. Label \
                     the namespace accordingly, or use another class.",
                    ingress.key.namespace
                );
                Err(problem(ingress, "spec.ingressClassName", Code::Denied, detail))
            }
            _ => Ok(Some(Some(params))),
        }
    }

    /// The groups whose finalizer an Ingress carries.
    pub fn held_by(ingress: &Ingress) -> BTreeSet<GroupKey> {
        let group = |finalizer: &String| match finalizer.strip_prefix(EXPLICIT_FINALIZER_PREFIX) {
            Some(name) => Some(GroupKey::Explicit(name.to_owned())),
            None => (finalizer == IMPLICIT_FINALIZER).then(|| GroupKey::Implicit(ingress.key.clone())),
        };
        ingress.finalizers.iter().filter_map(group).collect()
    }

    /// The groups that an Ingress belongs to or still has to be taken out of. One whose group is not clear and that no
    /// group holds counts as its own, so that somebody says what is wrong.
    pub fn groups_of(&self, settings: &Settings, ingress: &Ingress) -> BTreeSet<GroupKey> {
        let mut groups = Self::held_by(ingress);
        match self.membership(settings, ingress) {
            Membership::Member(group, _) => {
                groups.insert(group);
            }
            Membership::Unclear(_) | Membership::Unnamed(_) if groups.is_empty() => {
                groups.insert(GroupKey::Implicit(ingress.key.clone()));
            }
            _ => {}
        }
        groups
    }
}

/// Why `name` cannot name a group; ALBC's rule.
fn group_name_error(name: &str) -> Option<&'static str> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.len() > 63 {
        Some("it has more than 63 characters")
    } else if !name.chars().all(inside) || !edge(name.chars().next()) || !edge(name.chars().last()) {
        Some("it must consist of lower case letters, digits, `-` and `.`, and begin and end with a letter or digit")
    } else {
        None
    }
}

fn problem(ingress: &Ingress, field: &str, code: Code, detail: String) -> Problem {
    Problem {
        member: Some(ingress.key.clone()),
        object: Object::Ingress(ingress.key.clone()),
        field: field.to_owned(),
        severity: Severity::Blocking,
        code,
        detail,
    }
}

impl LabelSelector {
    /// Whether labels fit; an empty selector fits everything ("Labels and Selectors", Kubernetes documentation).
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|(key, operator, values)| {
                let value = labels.get(key);
                match operator.as_str() {
                    "In" => value.is_some_and(|v| values.contains(v)),
                    "NotIn" => value.is_none_or(|v| !values.contains(v)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }
}
