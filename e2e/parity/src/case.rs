//! A recorded case: its steps and what they led to.

use crate::names::without_repeats;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A recorded case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it shows, one line.
    pub about: String,
    /// Steps in order; the last one deletes everything.
    pub steps: Vec<Step>,
    /// `names.json`: the names whose hash depends on an object's UID.
    pub names: Value,
    /// Whether all objects of the first step were there before the controller started.
    pub starts_late: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// `step1`, …, `delete`.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// What AWS held afterwards, as recorded, or as albacore is expected to do better.
    pub state: Value,
    /// What Kubernetes held afterwards.
    pub kube: Value,
    /// Attributes that recorded calls set up to here: (resource name as in the calls, key).
    pub written: Vec<(String, String)>,
    /// Whether the expectation is albacore's own.
    pub own: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `kubectl apply -f` of this file.
    Apply(PathBuf),
    /// Run this shell script.
    Shell(PathBuf),
    /// Delete all Ingresses, TargetGroupBindings of users and LoadBalancer Services of the case.
    Delete,
}

impl Case {
    /// Reads the case in `folder`; expectations of albacore's own stand in `expected/<name>/<step>/`.
    ///
    /// # Errors
    /// A file that is missing or not what it should be, by name.
    pub fn read(folder: &Path, expected: &Path) -> Result<Self> {
        let name = folder
            .file_name()
            .and_then(|n| n.to_str())
            .context("a case is a folder with a name")?
            .to_owned();
        let own = expected.join(&name);
        let mut steps = Vec::new();
        let mut written = Vec::new();
        for number in 1.. {
            let step = format!("step{number}");
            let (yaml, shell) = (folder.join(format!("{step}.yaml")), folder.join(format!("{step}.sh")));
            let action = match (yaml.exists(), shell.exists()) {
                (true, _) => Action::Apply(yaml),
                (_, true) => Action::Shell(shell),
                _ => break,
            };
            steps.push(read_step(folder, &own, &step, action, &mut written)?);
        }
        if folder.join("out/delete").exists() {
            steps.push(read_step(folder, &own, "delete", Action::Delete, &mut written)?);
        }
        let summary = json(&folder.join("out/summary.json"))?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            about: fs::read_to_string(folder.join("about.md"))
                .unwrap_or_default()
                .trim()
                .to_owned(),
            steps,
            names: json(&folder.join("out/names.json")).unwrap_or_default(),
            starts_late: summary["controller_started_after_step1_objects"] == true,
        })
    }

    /// What was recorded of a step, whatever albacore does better.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn recorded(&self, step: &str, file: &str) -> Result<Value> {
        json(&self.folder.join("out").join(step).join(file)).map(|recorded| without_repeats(&recorded))
    }

    /// Every case below `root`, by name.
    ///
    /// # Errors
    /// The first case that cannot be read.
    pub fn read_all(root: &Path, expected: &Path) -> Result<Vec<Self>> {
        let mut folders: Vec<PathBuf> = fs::read_dir(root)
            .with_context(|| format!("no folder of cases at {}", root.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("step1.yaml").exists())
            .collect();
        folders.sort();
        folders.iter().map(|folder| Self::read(folder, expected)).collect()
    }
}

fn read_step(
    folder: &Path,
    own: &Path,
    step: &str,
    action: Action,
    written: &mut Vec<(String, String)>,
) -> Result<Step> {
    let out = folder.join("out").join(step);
    let file = |name: &str| {
        let better = own.join(step).join(name);
        let (path, is_own) = if better.exists() {
            (better, true)
        } else {
            (out.join(name), false)
        };
        (json(&path).map(|recorded| without_repeats(&recorded)), is_own)
    };
    let (state, own_state) = file("state.json");
    let (kube, own_kube) = file("kube.json");
    for call in json(&out.join("calls.json"))?.as_array().into_iter().flatten() {
        written.extend(attributes_set(&without_repeats(call)));
    }
    Ok(Step {
        name: step.to_owned(),
        action,
        state: state?,
        kube: kube?,
        written: written.clone(),
        own: own_state || own_kube,
    })
}

/// The attributes that a recorded call set: the resource as the call names it, and the key.
fn attributes_set(call: &Value) -> Vec<(String, String)> {
    let params = &call["params"];
    let resource = ["LoadBalancerArn", "TargetGroupArn", "ListenerArn"]
        .iter()
        .find_map(|key| params[*key].as_str());
    let keys = params["Attributes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a["Key"].as_str());
    match resource {
        Some(resource) => keys.map(|key| (resource.to_owned(), key.to_owned())).collect(),
        None => Vec::new(),
    }
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}
