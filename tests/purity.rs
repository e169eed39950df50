//! What is pure stays pure: folders between the two edges name no edge, no clock, no environment and no map whose order
//! is random; and each edge is the only place that names its library.

use std::{
    fs,
    path::{Path, PathBuf},
};

const PURE: [&str; 7] = ["model", "facts", "ingress", "network", "plan", "report", "budget"];

/// What a pure file must not name, and why.
const FORBIDDEN: [(&str, &str); 22] = [
    ("crate::aws", "an edge"),
    ("crate::k8s", "an edge"),
    ("crate::execute", "an edge"),
    ("crate::reconcile", "an edge"),
    ("crate::targets", "an edge"),
    ("crate::telemetry", "an edge"),
    ("crate::config", "an edge"),
    ("crate::run", "an edge"),
    ("aws_", "the AWS SDK"),
    ("kube::", "the Kubernetes client"),
    ("k8s_openapi", "Kubernetes' objects"),
    ("tokio::", "the runtime"),
    ("tracing::", "logs"),
    ("std::env", "the environment"),
    ("std::fs", "files"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("Timestamp::now", "a clock"),
    ("HashMap", "random order"),
    ("HashSet", "random order"),
    ("TcpStream", "the network"),
    ("std::process", "processes"),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all
}

/// The lines of a file that are code, with their numbers.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a file of text");
    let lines = text
        .lines()
        .zip(1..)
        .map(|(line, number)| (number, line.trim().to_owned()));
    // Tests may use what they like.
    let before_tests = lines.take_while(|(_, line)| line != "#[cfg(test)]");
    before_tests.filter(|(_, line)| !line.starts_with("//")).collect()
}

/// Names inside nested braces: `use crate::{aws, model}` names `crate::aws`.
fn expanded(lines: &[(usize, String)]) -> Vec<(usize, String)> {
    let mut all = lines.to_vec();
    let mut statement: Option<(usize, String)> = None;
    for (number, line) in lines {
        if line.starts_with("use ") || line.starts_with("pub use ") {
            statement = Some((*number, String::new()));
        }
        if let Some((first, text)) = &mut statement {
            text.push_str(line);
            if line.ends_with(';') {
                let text = text.replace(' ', "").replace("pubuse", "").replace("use", "");
                if let Some((root, names)) = text.trim_end_matches(';').split_once("::{") {
                    let names = names.replace(['{', '}'], ",");
                    all.extend(names.split(',').map(|name| (*first, format!("{root}::{name}"))));
                }
                statement = None;
            }
        }
    }
    all
}

#[test]
fn pure_folders_name_no_edge() {
    let mut wrong = Vec::new();
    for folder in PURE {
        for path in files(&Path::new("src").join(folder)) {
            if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            for (number, line) in expanded(&code(&path)) {
                for (name, what) in FORBIDDEN {
                    // The budget follows tokio's time, so that simulations run under paused time.
                    let allowed = folder == "budget" && name == "tokio::" && line.contains("tokio::time");
                    if line.contains(name) && !allowed {
                        wrong.push(format!("{}:{number}: {name} ({what}): {line}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_edge_alone_names_its_library() {
    let mut wrong = Vec::new();
    for path in files(Path::new("src")) {
        let below = |folder: &str| path.starts_with(Path::new("src").join(folder));
        for (number, line) in expanded(&code(&path)) {
            let sdk = line.contains("aws_sdk_") && !below("aws");
            let client = ["kube::Api", "kube::Client"].iter().any(|name| line.contains(name)) && !below("k8s");
            if sdk || client {
                wrong.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
