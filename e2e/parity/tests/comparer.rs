//! The comparer objects to every change of a compared field, in every recording.

use albacore_parity::{case::Case, compare::compare, normal, scope::Scope};
use serde_json::Value;
use std::path::Path;

/// A raw recording and the attributes set so far → its normal form.
type Normalise<'a> = &'a dyn Fn(&Value, &[(String, String)]) -> Value;
/// A case, the path of a leaf in it, and whether the comparer objected to its change.
type Tried = (String, Vec<String>, bool);

fn here() -> &'static Path {
    Path::new(".")
}

fn cases() -> Vec<Case> {
    let scope = Scope::read(&here().join("scope.json")).expect("a scope");
    let all = Case::read_all(&here().join("cases"), &here().join("expected")).expect("cases");
    all.into_iter()
        .filter(|case| scope.leaves_out(case).expect("manifests").is_none())
        .collect()
}

/// Whether a path (keys and indices joined by dots would be ambiguous, so parts) fits a pattern of `ignored.json`.
fn fits(pattern: &str, path: &[String]) -> bool {
    // Keys may contain dots only below a `*` or `**`, so splitting the pattern is safe.
    let parts: Vec<&str> = pattern.split('.').collect();
    let open = parts.last() == Some(&"**");
    let fixed = if open { &parts[..parts.len() - 1] } else { &parts[..] };
    (if open {
        path.len() > fixed.len()
    } else {
        path.len() == fixed.len()
    }) && fixed.iter().zip(path).all(|(part, key)| *part == "*" || part == key)
}

fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                path.push(n.to_string());
                leaves(value, path, found);
                path.pop();
            }
        }
        Value::Null => {}
        _ => found.push(path.clone()),
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Array(list) => &mut list[key.parse::<usize>().expect("an index")],
        other => &mut other[key.as_str()],
    })
}

fn mutate(value: &mut Value) {
    *value = match value {
        Value::Bool(b) => Value::Bool(!*b),
        Value::Number(n) => (n.as_i64().unwrap_or_default() + 1).into(),
        Value::String(s) => format!("{s}-changed").into(),
        other => panic!("not a leaf: {other}"),
    };
}

/// Mutates every leaf of every recording; returns (path, objected) of each.
fn try_all(file: &str, normalise: Normalise) -> Vec<Tried> {
    let mut tried = Vec::new();
    for case in cases() {
        for step in &case.steps {
            let recorded = if file == "state.json" { &step.state } else { &step.kube };
            let expected = normalise(recorded, &step.written);
            let mut found = Vec::new();
            leaves(recorded, &mut Vec::new(), &mut found);
            for path in found {
                let mut changed = recorded.clone();
                mutate(at(&mut changed, &path));
                let objected = !compare(&expected, &normalise(&changed, &step.written)).is_empty();
                tried.push((case.name.clone(), path, objected));
            }
        }
    }
    tried
}

/// Leaves that are compared only under a condition that the normal form decides.
fn conditional(path: &[String]) -> bool {
    // Attributes nobody set, the policy of a plain listener, the weight of a single target group and stickiness that is
    // off are what AWS fills in.
    path.iter().any(|key| key == "attributes")
        || matches!(
            path.last().map(String::as_str),
            Some("sslPolicy" | "Weight" | "Enabled")
        )
}

#[test]
fn every_compared_field_of_every_recorded_state_counts() {
    check("state.json", &|value, written| normal::state(value, written));
}

#[test]
fn every_compared_field_of_what_kubernetes_held_counts() {
    check("kube.json", &|value, _| normal::kube(value));
}

fn check(file: &str, normalise: Normalise) {
    let text = std::fs::read_to_string(here().join("ignored.json")).expect("ignored.json");
    let ignored: Value = serde_json::from_str(&text).expect("JSON");
    let patterns: Vec<&String> = ignored[file].as_object().expect("patterns").keys().collect();
    let tried = try_all(file, normalise);
    assert!(tried.len() > 5_000, "only {} leaves were found", tried.len());
    let mut missed: Vec<String> = Vec::new();
    for (case, path, objected) in &tried {
        let is_ignored = patterns.iter().any(|pattern| fits(pattern, path));
        if !objected && !is_ignored && !conditional(path) {
            missed.push(format!("{case}: a change of {} was not seen", path.join(" › ")));
        }
    }
    assert!(
        missed.is_empty(),
        "{} changes were not seen:\n{}",
        missed.len(),
        missed[..missed.len().min(40)].join("\n")
    );
}

#[test]
fn attributes_that_a_recorded_call_set_count() {
    let seen = cases().iter().flat_map(|case| case.steps.clone()).any(|step| {
        let normal = normal::state(&step.state, &step.written).to_string();
        step.written.iter().any(|(_, key)| normal.contains(key.as_str()))
    });
    assert!(seen, "no recorded attribute is compared");
}

#[test]
fn about_a_hundred_cases_are_in_scope() {
    let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    assert!(names.len() >= 80, "{} cases: {names:?}", names.len());
}
