//! What a cluster uses of ALBC that albacore does not act upon yet.

use super::{Fault, fault::timed};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};

/// ALBC's finalizer on the Services that it makes network load balancers for.
const SERVICE_FINALIZER: &str = "service.k8s.aws/resources";
/// Objects of one page.
const PAGE: u32 = 500;

/// Lists it, one line each.
///
/// # Errors
/// What the API server said.
pub async fn survey(client: &Client, namespace: Option<&str>) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let services: Api<Service> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = timed(services.list(&page)).await?;
        for service in &listed.items {
            if service
                .finalizers()
                .iter()
                .any(|finalizer| finalizer == SERVICE_FINALIZER)
            {
                let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
                found.push(format!(
                    "Service {namespace}/{name}: its network load balancer is not kept up to date"
                ));
            }
        }
        match listed.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => break,
        }
    }
    let classes = ApiResource {
        group: "gateway.networking.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "GatewayClass".to_owned(),
        plural: "gatewayclasses".to_owned(),
    };
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &classes);
    match timed(classes.list(&ListParams::default())).await {
        // A cluster without the Gateway API.
        Err(Fault::Missing) => {}
        listed => {
            let ours = |class: &&DynamicObject| {
                let controller = class.data["spec"]["controllerName"].as_str().unwrap_or_default();
                controller.starts_with("gateway.k8s.aws/")
            };
            let classes = listed?;
            let told = classes
                .iter()
                .filter(ours)
                .map(|class| format!("GatewayClass {}: its Gateways are not served", class.name_any()));
            found.extend(told);
        }
    }
    Ok(found)
}
