//! A stand-in for the Amazon EKS Pod Identity webhook: a pod whose ServiceAccount has a role gets the variables and the token
//! that the SDKs look for.
//!
//! ```text
//! pod is created ─► API server ─► webhook: an association of the ServiceAccount? ─► AWS_CONTAINER_…, token for the agent
//!                                          its annotation eks.amazonaws.com/role-arn? ─► AWS_ROLE_ARN, …, token for STS
//! ```
//! Source: the README of the Amazon EKS Pod Identity webhook, "EKS Walkthrough" and "Container credentials".

use albacore_aws::{Double, pod_identity};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, ResourceExt};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::{convert::Infallible, net::SocketAddrV4, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// The annotation of a ServiceAccount that names a role.
pub const ROLE: &str = "eks.amazonaws.com/role-arn";
/// Where the agent answers pods.
pub const AGENT: &str = "169.254.170.23";
/// Life of both tokens.
const SECONDS: i64 = 86_400;

/// The webhook, ready to serve.
pub struct Webhook {
    listener: TcpListener,
    tls: TlsAcceptor,
    /// Its own certificate, which its configuration has the API server trust.
    certificate: String,
    address: SocketAddrV4,
    mutator: Mutator,
}

#[derive(Clone)]
struct Mutator {
    kubernetes: Client,
    double: Double,
    cluster: String,
    region: String,
}

impl Webhook {
    /// Takes the address.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn bind(
        address: SocketAddrV4,
        kubernetes: Client,
        double: Double,
        (cluster, region): (&str, &str),
    ) -> Result<Self> {
        let own = rcgen::generate_simple_self_signed([address.ip().to_string()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)?;
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            tls: TlsAcceptor::from(Arc::new(config)),
            certificate: own.cert.pem(),
            address,
            mutator: Mutator {
                kubernetes,
                double,
                cluster: cluster.to_owned(),
                region: region.to_owned(),
            },
        })
    }

    /// What the API server has to know of it: every pod that is created is shown to it.
    pub fn configuration(&self) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "pod-identity-webhook"},
            "webhooks": [{
                "name": "iam-for-pods.amazonaws.com",
                "failurePolicy": "Ignore",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": format!("https://{}/mutate", self.address),
                    "caBundle": BASE64.encode(&self.certificate),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }],
        })
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn serve(self) -> Result<Infallible> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    let (tls, mutator) = (self.tls.clone(), self.mutator.clone());
                    connections.spawn(async move {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let answer = service_fn(move |request| {
                            let mutator = mutator.clone();
                            async move { Ok::<_, Infallible>(mutator.answer(request).await) }
                        });
                        // Ends with an error when the API server goes away: not our concern.
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Mutator {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.review(request).await {
            Ok(review) => Response::new(Full::new(Bytes::from(review.to_string()))),
            Err(error) => {
                let mut response = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        }
    }

    async fn review(&self, request: Request<Incoming>) -> Result<Value> {
        let body = request.into_body().collect().await?.to_bytes();
        let review: Value = serde_json::from_slice(&body)?;
        let asked = &review["request"];
        let namespace = asked["namespace"].as_str().context("a namespace")?;
        let pod = &asked["object"];
        let mut response = json!({"uid": asked["uid"], "allowed": true});
        if let Some(given) = self.given(namespace, pod).await? {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64.encode(given.patch(pod).to_string()).into();
        }
        Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    }

    /// What a pod is given; nothing if its ServiceAccount has no role.
    async fn given(&self, namespace: &str, pod: &Value) -> Result<Option<Given>> {
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let key = (self.cluster.clone(), namespace.to_owned(), name.to_owned());
        if self.double.world().identity.associations.contains_key(&key) {
            return Ok(Some(self.for_the_agent()));
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.kubernetes.clone(), namespace);
        let account = accounts.get_opt(name).await?;
        Ok(account.and_then(|account| Some(self.for_sts(account.annotations().get(ROLE)?))))
    }

    fn for_sts(&self, role: &str) -> Given {
        let folder = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
        Given {
            volume: "aws-iam-token",
            folder,
            file: "token",
            audience: "sts.amazonaws.com",
            variables: vec![
                ("AWS_STS_REGIONAL_ENDPOINTS", "regional".to_owned()),
                ("AWS_DEFAULT_REGION", self.region.clone()),
                ("AWS_REGION", self.region.clone()),
                ("AWS_ROLE_ARN", role.to_owned()),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", format!("{folder}/token")),
            ],
        }
    }

    fn for_the_agent(&self) -> Given {
        let folder = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount";
        let file = "eks-pod-identity-token";
        Given {
            volume: "eks-pod-identity-token",
            folder,
            file,
            audience: pod_identity::AUDIENCE,
            variables: vec![
                ("AWS_STS_REGIONAL_ENDPOINTS", "regional".to_owned()),
                ("AWS_DEFAULT_REGION", self.region.clone()),
                ("AWS_REGION", self.region.clone()),
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    format!("http://{AGENT}/v1/credentials"),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", format!("{folder}/{file}")),
            ],
        }
    }
}

/// What a pod is given.
struct Given {
    volume: &'static str,
    folder: &'static str,
    file: &'static str,
    audience: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl Given {
    /// As a JSON patch of the pod.
    fn patch(&self, pod: &Value) -> Value {
        let token = json!({"audience": self.audience, "expirationSeconds": SECONDS, "path": self.file});
        let volume = json!({"name": self.volume, "projected": {"sources": [{"serviceAccountToken": token}]}});
        let mut patch = Vec::new();
        append(&mut patch, pod, "/spec/volumes", [volume]);
        let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
        for number in 0..containers {
            let variables = self.variables.iter();
            let variables = variables.map(|(name, value)| json!({"name": name, "value": value}));
            append(&mut patch, pod, &format!("/spec/containers/{number}/env"), variables);
            let mount = json!({"name": self.volume, "mountPath": self.folder, "readOnly": true});
            append(
                &mut patch,
                pod,
                &format!("/spec/containers/{number}/volumeMounts"),
                [mount],
            );
        }
        Value::Array(patch)
    }
}

/// Operations that put items at the end of a list, which is made where there is none.
fn append(patch: &mut Vec<Value>, pod: &Value, list: &str, items: impl IntoIterator<Item = Value>) {
    if pod.pointer(list).is_none() {
        patch.push(json!({"op": "add", "path": list, "value": []}));
    }
    let each = items.into_iter();
    patch.extend(each.map(|item| json!({"op": "add", "path": format!("{list}/-"), "value": item})));
}
