//! Clients of the API server.

use anyhow::{Context, Result, anyhow};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::path::Path;

/// Clients of one API server.
pub struct Clients {
    /// For everything; retries what may be retried.
    pub ordinary: Client,
    /// For the lease: a renewal that comes late is worse than one that fails.
    pub unretried: Client,
}

/// Connects as the kubeconfig says, or as a pod does.
///
/// # Errors
/// No API server, and which flag names one.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Clients> {
    let config = match kubeconfig {
        // Its text has its causes in it already.
        None => Config::infer()
            .await
            .map_err(|error| anyhow!("no API server: run in a cluster, or give --kubeconfig ({error})"))?,
        Some(path) => {
            let flag = || format!("--kubeconfig={}", path.display());
            let file = Kubeconfig::read_from(path).with_context(|| format!("{}: cannot be read", flag()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(flag)?
        }
    };
    let mut unretried = config.clone();
    unretried.default_retry = false;
    Ok(Clients {
        ordinary: Client::try_from(config).context("the API server cannot be used")?,
        unretried: Client::try_from(unretried).context("the API server cannot be used")?,
    })
}
