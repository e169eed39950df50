//! kwok plays the fake nodes: objects that say what a kubelet would say, with nothing behind them.
//!
//! Only nodes with the annotation `kwok.x-k8s.io/node: fake` are its. A pod's address comes from its node's `podCIDR`.
//! Unlike kwok's stock stages ours leave readiness gates to whoever owns them, as a kubelet does.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::process::Process;

/// What happens to an object of which kind, and when.
const STAGES: &str = include_str!("kwok.yaml");

pub(crate) fn start(tools: &Path, state: &Path, kubeconfig: &Path) -> Result<Process> {
    let stages = state.join("kwok.yaml");
    fs::write(&stages, STAGES)?;
    Process::start(
        "kwok",
        &state.join("log"),
        Command::new(tools.join("kwok"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--config={}", stages.display()))
            .args([
                "--manage-all-nodes=false",
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            ])
            .args(["--node-lease-duration-seconds=40", "--server-address=127.0.0.1:10247"]),
    )
}
