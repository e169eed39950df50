//! What a cluster uses of ALBC that albacore does not act upon yet.

use super::{Fault, custom, fault::timed};
use crate::{facts, model::TargetType};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::PartialObjectMeta,
};

/// ALBC's finalizer on the Services that it makes network load balancers for.
const SERVICE_FINALIZER: &str = "service.k8s.aws/resources";
/// The label that has pods of a namespace wait for their target groups.
const READINESS_GATES: &str = "elbv2.k8s.aws/pod-readiness-gate-inject=enabled";
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
    found.extend(ungated(client, namespace).await?);
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

/// Namespaces that want readiness gates, also for bindings whose targets nobody registers.
async fn ungated(client: &Client, only: Option<&str>) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let labelled = timed(namespaces.list_metadata(&ListParams::default().labels(READINESS_GATES))).await?;
    let names = labelled.iter().map(ResourceExt::name_any);
    for name in names.filter(|name| only.is_none_or(|only| only == name)) {
        let bindings: Api<custom::TargetGroupBinding> = Api::namespaced(client.clone(), &name);
        let listed = timed(bindings.list(&ListParams::default())).await?;
        let is_untended = |binding: custom::TargetGroupBinding| {
            let binding = facts::TargetGroupBinding::from(binding);
            binding.target_type == Some(TargetType::Ip) && binding.group.is_none()
        };
        if listed.into_iter().any(is_untended) {
            found.push(format!(
                "Namespace {name}: its new pods get no readiness gates for TargetGroupBindings that no Ingress made"
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::convert::Infallible;

    /// A cluster with two namespaces that want gates; in one of them a user made a binding.
    fn client() -> Client {
        let binding = |name: &str, labels: Value| {
            json!({
                "metadata": { "name": name, "namespace": "shop", "labels": labels },
                "spec": { "targetGroupARN": "arn", "targetType": "ip", "serviceRef": { "name": "web", "port": 80 } },
            })
        };
        let ours = binding("k8s-shop-web", json!({ "ingress.k8s.aws/stack": "shop" }));
        let bindings = "/apis/elbv2.k8s.aws/v1beta1/namespaces";
        let answers = [
            ("/api/v1/services".to_owned(), json!([])),
            (
                "/api/v1/namespaces".to_owned(),
                json!([{ "metadata": { "name": "blog" } }, { "metadata": { "name": "shop" } }]),
            ),
            (format!("{bindings}/blog/targetgroupbindings"), json!([ours])),
            (
                format!("{bindings}/shop/targetgroupbindings"),
                json!([ours, binding("mine", json!({}))]),
            ),
            (
                "/apis/gateway.networking.k8s.io/v1/gatewayclasses".to_owned(),
                json!([]),
            ),
        ];
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path();
            let found = answers.iter().find(|(known, _)| path == known);
            let items = found.unwrap_or_else(|| panic!("{path}")).1.clone();
            let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items });
            let answer = Response::new(Body::from(list.to_string().into_bytes()));
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn gates_that_nobody_opens_are_told() {
        let found = survey(&client(), None).await.unwrap();
        assert_eq!(
            found,
            ["Namespace shop: its new pods get no readiness gates for TargetGroupBindings that no Ingress made"]
        );
    }
}
