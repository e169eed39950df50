//! What users write → what they get, case by case: `cases/NAME.yaml` in, `snapshots/NAME.snap` out.
//!
//! ```text
//! world.yaml + cases/NAME.yaml ─► slim types ─► facts ─► ingress::build, each group ─► render ─► snapshot
//! ```
//! A document `kind: Then` ends a step: what was good so far is remembered, and what follows changes the cluster.

mod objects;
mod render;

use albacore::{
    facts::Cluster,
    ingress::{BuildInput, Built, Contribution, build},
    model::*,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const FOLDER: &str = "tests/ingress";

fn settings() -> Settings {
    Settings {
        cluster: "demo".to_owned(),
        vpc: VpcId::from("vpc-1"),
        ingress_class: "alb".to_owned(),
        disable_class_annotation: false,
        disable_group_name_annotation: false,
        default_tags: Tags::new(),
        external_managed_tags: BTreeSet::from(["cost-centre".to_owned()]),
        default_target_type: TargetType::Instance,
        default_scheme: Scheme::Internal,
        default_ssl_policy: "ELBSecurityPolicy-2016-08".to_owned(),
        backend_security_group: true,
        manage_backend_rules: false,
    }
}

/// The names of the files below `folder` with this ending, without it.
fn names(folder: &str, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(FOLDER).join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    names
        .filter_map(|name| Some(name.strip_suffix(ending)?.to_owned()))
        .collect()
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What becomes of each group after the last step; each step's objects come in the order of their names, or `backwards`.
fn built(text: &str, backwards: bool) -> BTreeMap<GroupKey, Built> {
    let settings = settings();
    let mut cluster = Cluster::new(settings.clone());
    let mut last_good: BTreeMap<GroupKey, BTreeMap<ObjectKey, Contribution>> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for mut step in objects::steps(&read(Path::new(FOLDER).join("world.yaml")), text) {
        if backwards {
            step.reverse();
        }
        for change in step {
            cluster.apply(change);
        }
        all = cluster.groups().cloned().map(|group| (group, None)).collect();
        for (group, built) in &mut all {
            *built = Some(build(&BuildInput {
                settings: &settings,
                group,
                cluster: &cluster,
                last_good: last_good.entry(group.clone()).or_default(),
                refusals: &BTreeMap::new(),
                kept: &BTreeSet::new(),
            }));
        }
        for (group, built) in &all {
            last_good.insert(group.clone(), built.as_ref().expect("built").contributions.clone());
        }
    }
    all.into_iter()
        .map(|(group, built)| (group, built.expect("built")))
        .collect()
}

#[test]
fn what_users_write_becomes_what_they_expect() {
    for name in names("cases", ".yaml") {
        let text = read(Path::new(FOLDER).join("cases").join(format!("{name}.yaml")));
        let fact = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .expect("a first line that says what is shown");
        let rendered = render::all(&built(&text, false));
        assert_eq!(
            rendered,
            render::all(&built(&text, true)),
            "{name}: objects may come in any order"
        );
        insta::with_settings!({
            snapshot_path => "snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => fact,
        }, {
            insta::assert_snapshot!(name, rendered);
        });
    }
}

#[test]
fn every_snapshot_has_its_case() {
    let (snapshots, cases) = (names("snapshots", ".snap"), names("cases", ".yaml"));
    assert_eq!(snapshots.difference(&cases).next(), None);
}

#[test]
fn every_problem_says_who_has_to_change_what_and_how() {
    for name in names("cases", ".yaml") {
        let text = read(Path::new(FOLDER).join("cases").join(format!("{name}.yaml")));
        for problem in built(&text, false).into_values().flat_map(|built| built.problems) {
            let known = ["spec.", "metadata.", "alb.ingress.kubernetes.io/", "albacore.dev/"];
            assert!(
                known.iter().any(|start| problem.field.starts_with(start)),
                "{name}: {problem}"
            );
            assert!(problem.detail.contains('`'), "{name}: the value stands in {problem}");
            let advice = [
                "Write ",
                "Name ",
                "Remove ",
                "Add ",
                "Create ",
                "Make ",
                "Did you mean ",
                "Use ",
                "Label ",
                "Move ",
            ];
            assert!(
                advice.iter().any(|word| problem.detail.contains(word)),
                "{name}: no advice in {problem}"
            );
        }
    }
}
