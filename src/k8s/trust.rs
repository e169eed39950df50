//! What the webhook's certificate needs of the API server: the Secret that replicas share, and the bundle of authorities by
//! which API servers know the webhook.

use super::fault::{Fault, timed};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// The only key of the Secret.
const KEY: &str = "webhook.json";

/// The Secret and the MutatingWebhookConfiguration of a webhook.
pub struct Trust {
    secrets: Api<Secret>,
    secret: String,
    configurations: Api<MutatingWebhookConfiguration>,
    configuration: String,
}

/// The bundle as it was read.
pub struct Bundle {
    /// The authorities; empty when the configuration's webhooks do not have the same.
    pub authorities: String,
    webhooks: Vec<String>,
    version: Option<String>,
}

impl Trust {
    /// Those of these names.
    pub fn new(client: Client, namespace: &str, secret: &str, configuration: &str) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            secret: secret.to_owned(),
            configurations: Api::all(client),
            configuration: configuration.to_owned(),
        }
    }

    /// The bundle; `None` where there is no such configuration, or one without webhooks, and so nobody who would ask.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn bundle(&self) -> Result<Option<Bundle>, Fault> {
        let Some(found) = timed(self.configurations.get_opt(&self.configuration)).await? else {
            return Ok(None);
        };
        let webhooks = found.webhooks.unwrap_or_default();
        if webhooks.is_empty() {
            return Ok(None);
        }
        let mut texts = webhooks.iter().map(|webhook| {
            let bundle = webhook.client_config.ca_bundle.as_ref();
            bundle.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes.0).into_owned())
        });
        let first = texts.next().unwrap_or_default();
        let same = texts.all(|text| text == first);
        Ok(Some(Bundle {
            authorities: if same { first } else { String::new() },
            webhooks: webhooks.into_iter().map(|webhook| webhook.name).collect(),
            version: found.metadata.resource_version,
        }))
    }

    /// Puts authorities in place of those that were read.
    ///
    /// # Errors
    /// What the API server said; a Conflict when the configuration is another one by now.
    pub async fn trust(&self, read: &Bundle, authorities: &str) -> Result<(), Fault> {
        let bundle = ByteString(authorities.as_bytes().to_vec());
        let webhook = |name: &String| json!({ "name": name, "clientConfig": { "caBundle": bundle } });
        // Webhooks are merged by their names.
        let patch = Patch::Strategic(json!({
            "metadata": { "resourceVersion": read.version },
            "webhooks": read.webhooks.iter().map(webhook).collect::<Vec<_>>(),
        }));
        let how = PatchParams::default();
        let call = self.configurations.patch(&self.configuration, &how, &patch);
        timed(call).await.map(drop)
    }

    /// What the Secret holds, if it can be read, and the Secret.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn keys<K: DeserializeOwned>(&self) -> Result<(Option<K>, Secret), Fault> {
        let secret = timed(self.secrets.get(&self.secret)).await?;
        let bytes = secret.data.as_ref().and_then(|data| data.get(KEY));
        Ok((bytes.and_then(|bytes| serde_json::from_slice(&bytes.0).ok()), secret))
    }

    /// Puts keys in place of those that were read.
    ///
    /// # Errors
    /// What the API server said; a Conflict when somebody else was faster.
    pub async fn store<K: Serialize + Sync>(&self, keys: &K, mut read: Secret) -> Result<(), Fault> {
        let bytes = serde_json::to_vec(keys).map_err(|error| Fault::Rejected(error.to_string()))?;
        read.data = Some([(KEY.to_owned(), ByteString(bytes))].into());
        // The resource version in it makes this fail when somebody else was faster.
        let how = PostParams::default();
        let call = self.secrets.replace(&self.secret, &how, &read);
        timed(call).await.map(drop)
    }
}
