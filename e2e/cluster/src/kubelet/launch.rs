//! What is run for a container: which program, with which arguments, environment and files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::ResourceExt;

use super::Host;
use super::environment::{self, Addresses};
use super::volumes::{self, Volumes};
use crate::image;
use crate::sandbox::Container;

/// What of the pod cannot be done with processes, or was not needed so far.
pub(super) fn unsupported(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if spec.host_network == Some(true) {
        return Some("hostNetwork".into());
    }
    if let Some(volume) = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volumes::unsupported(volume))
    {
        return Some(format!("the kind of volume {}", volume.name));
    }
    if spec
        .init_containers
        .iter()
        .flatten()
        .any(|container| container.restart_policy.is_some())
    {
        return Some("a sidecar (init container with a restartPolicy)".into());
    }
    let probes = spec
        .containers
        .iter()
        .flat_map(|spec| [&spec.startup_probe, &spec.liveness_probe, &spec.readiness_probe]);
    for probe in probes.flatten() {
        let https = probe
            .http_get
            .as_ref()
            .is_some_and(|get| get.scheme.as_deref() == Some("HTTPS"));
        if probe.grpc.is_some() || https {
            return Some("a gRPC or HTTPS probe".into());
        }
    }
    None
}

/// How to start a container, and the file of its log.
///
/// # Errors
/// When something that it names is missing: its image, a ConfigMap, a Secret; worth another try later.
pub(super) async fn container(
    host: &Host,
    pod: &Pod,
    spec: &Spec,
    volumes: &Volumes,
    folder: &Path,
    addresses: Addresses,
) -> Result<(Container, PathBuf)> {
    let name = spec.image.as_deref().unwrap_or_default();
    let image =
        image::find(&host.images, name).with_context(|| format!("no executable is known for the image {name}"))?;
    let env = environment::variables(&host.client, pod, spec, &image.env, addresses).await?;
    let expand = |texts: &Option<Vec<String>>| -> Vec<String> {
        texts
            .iter()
            .flatten()
            .map(|text| environment::expand(text, &env))
            .collect()
    };
    let command = expand(&spec.command);
    // As in an image: a command of the container's own does without the image's arguments.
    let args = if spec.args.is_none() && command.is_empty() {
        image.args.clone()
    } else {
        expand(&spec.args)
    };
    let logs = super::logs(&host.state, &pod.namespace().unwrap_or_default(), &pod.name_any());
    fs::create_dir_all(&logs)?;
    let read_only_root = spec
        .security_context
        .as_ref()
        .and_then(|context| context.read_only_root_filesystem);
    let container = Container {
        hostname: pod.name_any(),
        root: folder.join("root").join(&spec.name),
        read_only_root: read_only_root == Some(true),
        mounts: volumes.mounts(spec)?,
        executable: image.executable.clone(),
        command,
        args,
        folder: spec.working_dir.as_deref().unwrap_or("/").into(),
        env,
    };
    Ok((container, logs.join(format!("{}.log", spec.name))))
}
