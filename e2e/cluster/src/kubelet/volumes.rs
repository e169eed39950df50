//! A pod's volumes as folders of the state folder, from where they are mounted into containers.
//!
//! Files are replaced by renaming, so that a reader sees the old content or the new one. Tokens are renewed after 80 % of their
//! life, as a kubelet does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, SecretProjection,
    ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::environment::{self, Addresses};
use crate::sandbox::Mount;

/// A token's default life in a projected volume ("ServiceAccountTokenProjection", Kubernetes API reference).
const TOKEN_LIFE: i64 = 3600;

/// The volumes of one pod.
pub(super) struct Volumes {
    client: Client,
    pod: Pod,
    addresses: Addresses,
    folder: PathBuf,
    /// When each token is to be renewed.
    renewals: BTreeMap<PathBuf, Timestamp>,
}

impl Volumes {
    pub fn new(client: Client, pod: Pod, addresses: Addresses, folder: PathBuf) -> Self {
        Self {
            client,
            pod,
            addresses,
            folder,
            renewals: BTreeMap::new(),
        }
    }

    /// Writes all volumes as they should be now.
    ///
    /// # Errors
    /// When something that a volume names is missing; worth another try later.
    pub async fn write(&mut self) -> Result<()> {
        let volumes = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.clone())
            .unwrap_or_default();
        for volume in &volumes {
            let folder = self.folder.join(&volume.name);
            if volume.host_path.is_none() {
                fs::create_dir_all(&folder)?;
            }
            self.fill(volume, &folder)
                .await
                .with_context(|| format!("volume {}", volume.name))?;
        }
        Ok(())
    }

    async fn fill(&mut self, volume: &Volume, folder: &Path) -> Result<()> {
        if let Some(source) = &volume.config_map {
            self.config_map(
                &ConfigMapProjection {
                    items: source.items.clone(),
                    name: source.name.clone(),
                    optional: source.optional,
                },
                folder,
            )
            .await
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.clone().unwrap_or_default();
            self.secret(
                &SecretProjection {
                    items: source.items.clone(),
                    name,
                    optional: source.optional,
                },
                folder,
            )
            .await
        } else if let Some(source) = &volume.downward_api {
            self.downward(source.items.iter().flatten(), folder)
        } else if let Some(source) = &volume.projected {
            self.projected(source, folder).await
        } else {
            Ok(())
        }
    }

    async fn projected(&mut self, projected: &ProjectedVolumeSource, folder: &Path) -> Result<()> {
        for source in projected.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                self.token(token, &folder.join(&token.path)).await?;
            }
            if let Some(config_map) = &source.config_map {
                self.config_map(config_map, folder).await?;
            }
            if let Some(secret) = &source.secret {
                self.secret(secret, folder).await?;
            }
            if let Some(downward) = &source.downward_api {
                self.downward(downward.items.iter().flatten(), folder)?;
            }
        }
        Ok(())
    }

    async fn config_map(&self, source: &ConfigMapProjection, folder: &Path) -> Result<()> {
        let found = environment::config_map(&self.client, &self.namespace(), &source.name, source.optional).await?;
        write_keys(&found, source.items.as_deref(), folder)
    }

    async fn secret(&self, source: &SecretProjection, folder: &Path) -> Result<()> {
        let found = environment::secret(&self.client, &self.namespace(), &source.name, source.optional).await?;
        write_keys(&found, source.items.as_deref(), folder)
    }

    fn downward<'a>(&self, items: impl Iterator<Item = &'a DownwardAPIVolumeFile>, folder: &Path) -> Result<()> {
        for item in items {
            let field = item
                .field_ref
                .as_ref()
                .context("only fieldRef is supported in a downward API volume")?;
            replace(
                &folder.join(&item.path),
                environment::field(&self.pod, &field.field_path, self.addresses)?.as_bytes(),
            )?;
        }
        Ok(())
    }

    /// A token of the pod's own ServiceAccount, bound to the pod, when there is none or the one there grows old.
    async fn token(&mut self, projection: &ServiceAccountTokenProjection, path: &Path) -> Result<()> {
        let now = Timestamp::now();
        if self.renewals.get(path).is_some_and(|&renewal| now < renewal) {
            return Ok(());
        }
        let account = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_else(|| "default".into());
        let life = projection.expiration_seconds.unwrap_or(TOKEN_LIFE);
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": projection.audience.iter().collect::<Vec<_>>(),
                "expirationSeconds": life,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.pod.name_any(), "uid": self.pod.uid()}},
        });
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace());
        let answer: Value = accounts
            .create_subresource("token", &account, &PostParams::default(), &request)
            .await?;
        let token = answer["status"]["token"]
            .as_str()
            .context("a TokenRequest without a token")?;
        replace(path, token.as_bytes())?;
        let renewal = now + Duration::from_secs(u64::try_from(life).unwrap_or_default() * 8 / 10);
        self.renewals.insert(path.to_owned(), renewal);
        Ok(())
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    /// Where `container` wants which volume.
    pub fn mounts(&self, container: &Container) -> Result<Vec<Mount>> {
        let volumes = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_deref())
            .unwrap_or_default();
        let wanted = container.volume_mounts.iter().flatten();
        wanted
            .map(|wanted| {
                let volume = volumes.iter().find(|volume| volume.name == wanted.name);
                let volume = volume.with_context(|| format!("no volume {}", wanted.name))?;
                let source = match &volume.host_path {
                    Some(host_path) => PathBuf::from(&host_path.path),
                    None => self.folder.join(&volume.name),
                };
                let ours = volume.empty_dir.is_some() || volume.host_path.is_some();
                Ok(Mount {
                    source: source.join(wanted.sub_path.as_deref().unwrap_or_default()),
                    target: PathBuf::from(&wanted.mount_path),
                    read_only: !ours || wanted.read_only == Some(true),
                })
            })
            .collect()
    }

    /// Removes what was written.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Kinds of volumes that pods of this cluster cannot have.
pub(super) fn unsupported(volume: &Volume) -> bool {
    volume.config_map.is_none()
        && volume.secret.is_none()
        && volume.downward_api.is_none()
        && volume.projected.is_none()
        && volume.empty_dir.is_none()
        && volume.host_path.is_none()
}

fn write_keys(keys: &BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>, folder: &Path) -> Result<()> {
    match items {
        None => keys
            .iter()
            .try_for_each(|(key, value)| replace(&folder.join(key), value)),
        Some(items) => items.iter().try_for_each(|item| match keys.get(&item.key) {
            Some(value) => replace(&folder.join(&item.path), value),
            None => bail!("key {} is missing", item.key),
        }),
    }
}

/// Puts `content` at `path` in one step, unless it is there already.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = path.parent().context("a file in a volume has a folder")?;
    fs::create_dir_all(folder)?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, content)?;
    fs::rename(&new, path)?;
    Ok(())
}
