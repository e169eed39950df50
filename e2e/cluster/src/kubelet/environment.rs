//! A container's environment: plain values, the downward API, ConfigMaps and Secrets, and `$(NAME)` in values and arguments.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client, ResourceExt};

use crate::control_plane::API_SERVER;

/// What a field reference can ask for that the Pod object does not say yet.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub node: Ipv4Addr,
    pub pod: Ipv4Addr,
}

/// All variables of `container`, those of its image (`image`) included.
pub(super) async fn variables(
    client: &Client,
    pod: &Pod,
    container: &Container,
    image: &BTreeMap<String, String>,
    addresses: Addresses,
) -> Result<BTreeMap<String, String>> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut variables = BTreeMap::from([
        (
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
        ("HOME".to_owned(), "/".to_owned()),
        ("HOSTNAME".to_owned(), pod.name_any()),
        ("KUBERNETES_SERVICE_HOST".to_owned(), API_SERVER.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), API_SERVER.port().to_string()),
        (
            "KUBERNETES_SERVICE_PORT_HTTPS".to_owned(),
            API_SERVER.port().to_string(),
        ),
    ]);
    variables.extend(image.clone());
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let found = if let Some(reference) = &source.config_map_ref {
            config_map(client, &namespace, &reference.name, reference.optional).await?
        } else if let Some(reference) = &source.secret_ref {
            secret(client, &namespace, &reference.name, reference.optional).await?
        } else {
            BTreeMap::new()
        };
        for (key, value) in found {
            variables.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &variables)),
            Some(source) => referenced(client, pod, &namespace, source, addresses)
                .await
                .with_context(|| variable.name.clone())?,
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

async fn referenced(
    client: &Client,
    pod: &Pod,
    namespace: &str,
    source: &EnvVarSource,
    addresses: Addresses,
) -> Result<Option<String>> {
    let (found, key, optional) = if let Some(field_ref) = &source.field_ref {
        return field(pod, &field_ref.field_path, addresses).map(Some);
    } else if let Some(reference) = &source.config_map_key_ref {
        (
            config_map(client, namespace, &reference.name, reference.optional).await?,
            &reference.key,
            reference.optional,
        )
    } else if let Some(reference) = &source.secret_key_ref {
        (
            secret(client, namespace, &reference.name, reference.optional).await?,
            &reference.key,
            reference.optional,
        )
    } else {
        bail!("only fieldRef, configMapKeyRef and secretKeyRef are supported");
    };
    match found.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => bail!("key {key} is missing"),
    }
}

/// A field of the downward API ("Available fields", Kubernetes documentation).
pub(super) fn field(pod: &Pod, path: &str, addresses: Addresses) -> Result<String> {
    let spec = pod.spec.as_ref();
    let quoted = |map: &BTreeMap<String, String>, path: &str, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    let lines = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(key, value)| format!("{key}={value:?}\n"))
            .collect::<String>()
    };
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.podIP" | "status.podIPs" => addresses.pod.to_string(),
        "status.hostIP" | "status.hostIPs" => addresses.node.to_string(),
        _ => quoted(pod.labels(), path, "metadata.labels")
            .or_else(|| quoted(pod.annotations(), path, "metadata.annotations"))
            .with_context(|| format!("no field {path}"))?,
    })
}

/// A ConfigMap's keys; none when it is optional and missing.
pub(super) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    if found.is_none() && optional != Some(true) {
        bail!("configmap {name:?} not found");
    }
    let found = found.unwrap_or_default();
    let text = found
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.into_bytes()));
    let binary = found
        .binary_data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0));
    Ok(text.chain(binary).collect())
}

/// A Secret's keys; none when it is optional and missing.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    if found.is_none() && optional != Some(true) {
        bail!("secret {name:?} not found");
    }
    Ok(found
        .and_then(|secret| secret.data)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect())
}

/// Replaces `$(NAME)` by the variable's value; an unknown name stays as it is, `$$` means `$`.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        expanded.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

#[test]
fn a_known_variable_is_expanded_and_an_unknown_one_stays() {
    let variables = BTreeMap::from([("REGION".to_owned(), "us-east-1".to_owned())]);
    assert_eq!(
        expand("--region=$(REGION) $(NONE) $$(REGION) 5$", &variables),
        "--region=us-east-1 $(NONE) $(REGION) 5$"
    );
}
