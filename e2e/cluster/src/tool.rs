//! The programs the cluster is made of, built from the Go module proxy.
//!
//! `go.mod` beside this crate pins them; both it and `go.sum` are compiled in, so a built binary works from anywhere.
//! They land in `<cache>/tools/<hash of go.mod, go.sum and flags>/`, outside the checkout: every clone with the same pins
//! uses the same files. A tool is complete when its name exists (it is renamed into place), so an interrupted build goes
//! on where it stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::namespace;

const GO_MOD: &str = include_str!("../go.mod");
const GO_SUM: &str = include_str!("../go.sum");

/// Name and Go package, in the order they are built.
const TOOLS: [(&str, &str); 7] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    ("helm", "helm.sh/helm/v3/cmd/helm"),
];

/// Without the version the API server calls itself v0.0.0 and charts with a `kubeVersion` refuse to install.
const LINK: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// Builds those of the cluster's programs that the cache lacks, and returns their folder. Progress goes to stderr.
///
/// [`crate::enter`] does it too; this is for doing it ahead of time. The cache is `$ALBACORE_CACHE`, else
/// `$XDG_CACHE_HOME/albacore`, else `~/.cache/albacore`.
///
/// # Errors
/// In one line: no Go toolchain, or what the Go compiler said.
pub fn build_tools() -> Result<PathBuf> {
    let folder = cache()?.join("tools").join(fingerprint());
    if missing(&folder).is_empty() {
        return Ok(folder);
    }
    if !namespace::on_path("go") {
        bail!(
            "`go` is not on the PATH: install Go 1.26 or later, which builds the Kubernetes programs of the test cluster"
        );
    }
    let module = folder.join("module");
    fs::create_dir_all(&module).with_context(|| format!("cannot create {}", module.display()))?;
    let lock = fs::File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        eprintln!(
            "waiting for another build of the cluster's tools in {}",
            folder.display()
        );
        lock.lock()?;
    }
    fs::write(module.join("go.mod"), GO_MOD)?;
    fs::write(module.join("go.sum"), GO_SUM)?;
    for (name, package) in missing(&folder) {
        let position = TOOLS
            .iter()
            .position(|tool| tool.0 == name)
            .map_or(0, |index| index + 1);
        eprintln!(
            "building {name} ({position} of {}), minutes on a cold cache …",
            TOOLS.len()
        );
        let unfinished = folder.join(format!(".{name}"));
        let built = Command::new("go")
            .args(["build", "-trimpath", "-ldflags", LINK, "-o"])
            .arg(&unfinished)
            .arg(package)
            .current_dir(&module)
            .env("CGO_ENABLED", "0")
            .output()
            .context("cannot run `go`")?;
        if !built.status.success() {
            let output = String::from_utf8_lossy(&built.stderr);
            let last: Vec<&str> = output.lines().rev().take(5).collect();
            bail!(
                "`go build {package}` failed: {}",
                last.into_iter().rev().collect::<Vec<_>>().join("; ")
            );
        }
        fs::rename(&unfinished, folder.join(name))?;
    }
    Ok(folder)
}

fn missing(folder: &Path) -> Vec<(&'static str, &'static str)> {
    TOOLS
        .into_iter()
        .filter(|(name, _)| !folder.join(name).exists())
        .collect()
}

fn fingerprint() -> String {
    let mut hash = Sha256::new();
    for part in [GO_MOD, GO_SUM, LINK] {
        hash.update(part.as_bytes());
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("ALBACORE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("albacore")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/albacore")))
        .context("no place for the cluster's tools: set ALBACORE_CACHE to a folder")
}
