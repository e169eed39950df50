//! Which cases this version is measured by: data (`scope.json`), applied to the manifests of a case.

use crate::case::{Action, Case};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const PREFIX: &str = "alb.ingress.kubernetes.io/";

/// What is left out.
#[derive(Clone, Debug, Deserialize)]
pub struct Scope {
    features: Vec<Feature>,
}

/// A feature that is not measured yet.
#[derive(Clone, Debug, Deserialize)]
pub struct Feature {
    /// Its name.
    pub feature: String,
    /// Why it is left out.
    pub reason: String,
    when: Vec<Condition>,
}

/// An object that shows the feature: every part given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Condition {
    kind: String,
    /// A JSON pointer that leads to something.
    field: Option<String>,
    /// … to this.
    is: Option<Value>,
    /// Its JSON contains this text.
    contains: Option<String>,
    /// It has annotations of ALBC …
    #[serde(default)]
    annotations: bool,
    /// … other than these.
    #[serde(default)]
    other_than: Vec<String>,
    /// `listen-ports` names this protocol …
    listens: Option<String>,
    /// … and neither the annotation nor the case's IngressClassParams give this.
    without: Option<String>,
}

impl Scope {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a scope", path.display()))
    }

    /// The first feature that leaves the case out; `None` for a case that is compared.
    ///
    /// # Errors
    /// A manifest that is not YAML.
    pub fn leaves_out(&self, case: &Case) -> Result<Option<&Feature>> {
        let objects = manifests(case)?;
        Ok(self.features.iter().find(|f| {
            f.when
                .iter()
                .any(|c| objects.iter().any(|object| c.holds(object, &objects)))
        }))
    }
}

impl Condition {
    fn holds(&self, object: &Value, all: &[Value]) -> bool {
        let annotations: BTreeMap<&str, &Value> = object["metadata"]["annotations"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)))
            .collect();
        let given_by_class = || {
            all.iter()
                .any(|o| o["kind"] == "IngressClassParams" && o["spec"].get("certificateArn").is_some())
        };
        object["kind"] == self.kind.as_str()
            && self.field.as_ref().is_none_or(|field| match object.pointer(field) {
                Some(value) => self.is.as_ref().is_none_or(|wanted| wanted == value),
                None => false,
            })
            && self
                .contains
                .as_ref()
                .is_none_or(|text| object.to_string().contains(text))
            && (!self.annotations
                || annotations
                    .keys()
                    .any(|key| !self.other_than.iter().any(|other| other == key)))
            && self.listens.as_ref().is_none_or(|protocol| {
                annotations
                    .get("listen-ports")
                    .is_some_and(|ports| ports.to_string().contains(protocol.as_str()))
            })
            && self
                .without
                .as_ref()
                .is_none_or(|key| !annotations.contains_key(key.as_str()) && !given_by_class())
    }
}

/// Every object in the manifests of a case, those inside shell steps too.
///
/// # Errors
/// A file that is missing or not YAML.
pub fn manifests(case: &Case) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for step in &case.steps {
        let text = match &step.action {
            Action::Apply(path) => fs::read_to_string(path)?,
            Action::Shell(path) => heredocs(&fs::read_to_string(path)?),
            Action::Delete => continue,
        };
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).with_context(|| format!("{}, {}", case.name, step.name))?;
            if object.is_object() {
                objects.push(object);
            }
        }
    }
    Ok(objects)
}

/// The manifests that a script applies from its own text (`<<E … E`).
fn heredocs(script: &str) -> String {
    let mut inside = false;
    let mut yaml = String::new();
    for line in script.lines() {
        if line == "E" {
            inside = false;
            yaml.push_str("---\n");
        } else if inside {
            yaml.push_str(line);
            yaml.push('\n');
        }
        inside |= line.ends_with("<<E");
    }
    yaml
}
