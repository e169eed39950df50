//! The EKS Pod Identity agent, on every node at 169.254.170.23: a pod's token for credentials of the role that its
//! ServiceAccount is associated with.
//!
//! ```text
//! GET /v1/credentials   Authorization: TOKEN  ─► {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "AccountId": …, "Expiration": …}
//! ```
//! A refusal is a text, with the status and the code of EKS Auth's `AssumeRoleForPodIdentity` that the agent calls. These
//! requests are no AWS calls: the journal does not have them.
//! Sources: "Learn how EKS Pod Identity grants pods access to AWS services", Amazon EKS user guide; AssumeRoleForPodIdentity,
//! Amazon EKS API reference; "Container credential provider", AWS SDKs and tools reference guide.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Double;
use crate::door::serve_each;
use crate::identity::RoleArn;
use crate::identity::token::{Keys, Token};
use crate::identity::trust::Principal;

/// Whom tokens for the agent are meant for.
pub const AUDIENCE: &str = "pods.eks.amazonaws.com";

/// How long credentials last at AWS.
pub const LIFE: SignedDuration = SignedDuration::from_hours(6);

/// The cluster that an agent belongs to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the cluster, as in its associations.
    pub cluster: String,
    /// Who issues its tokens.
    pub issuer: String,
    /// What they are signed with.
    pub keys: Keys,
    /// How long credentials last; [`LIFE`], but for whoever wants to see them end.
    pub life: SignedDuration,
}

/// An agent, ready to serve.
#[derive(Debug)]
pub struct Server {
    agent: Agent,
    listener: TcpListener,
}

#[derive(Clone, Debug)]
struct Agent {
    double: Double,
    options: Options,
}

/// Why there are no credentials.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    /// What the agent finds by itself.
    fn by_agent(text: &str) -> Self {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            text: text.to_owned(),
        }
    }

    /// What EKS Auth answers.
    fn by_service(status: StatusCode, code: &str, message: &str) -> Self {
        Refusal {
            status,
            text: format!("({code}): {message}, fault: client"),
        }
    }
}

impl Server {
    /// Takes the address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn bind(double: Double, address: SocketAddr, options: Options) -> io::Result<Server> {
        let agent = Agent { double, options };
        let listener = TcpListener::bind(address).await?;
        Ok(Server { agent, listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn serve(self) -> io::Result<Infallible> {
        let agent = self.agent;
        serve_each(self.listener, move |_, request| agent.answer(request)).await
    }
}

impl Agent {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let answered = match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/credentials") => self.credentials(request),
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                text: "404 page not found".to_owned(),
            }),
        };
        let (status, kind, body) = match answered {
            Ok(document) => (StatusCode::OK, "application/json", document.to_string()),
            Err(refusal) => (refusal.status, "text/plain; charset=utf-8", refusal.text),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    fn credentials<B>(&self, request: &Request<B>) -> Result<Value, Refusal> {
        let given = request.headers().get(AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given.is_empty() {
            return Err(Refusal::by_agent("Service account token cannot be empty"));
        }
        let token = Token::parse(given).map_err(|_| Refusal::by_agent("Service account token cannot be parsed"))?;
        let now = self.double.now();
        if token.expires <= now.as_second() {
            let message =
                "Service account token failed basic claim validations: token has invalid claims: token is expired";
            return Err(Refusal::by_agent(message));
        }
        self.assume(&token, now)
    }

    /// `AssumeRoleForPodIdentity`.
    fn assume(&self, token: &Token, now: Timestamp) -> Result<Value, Refusal> {
        let bad = |code: &str, message: &str| Refusal::by_service(StatusCode::BAD_REQUEST, code, message);
        let ours = token.issuer == self.options.issuer && token.audiences.iter().any(|audience| audience == AUDIENCE);
        if !ours || self.options.keys.verify(token).is_err() {
            return Err(bad(
                "InvalidTokenException",
                "The token included in the request is invalid",
            ));
        }
        let Some((namespace, account)) = token.service_account() else {
            return Err(bad("InvalidTokenException", "The token is not of a service account"));
        };
        let mut world = self.double.world();
        let world = &mut *world;
        let key = (self.options.cluster.clone(), namespace.to_owned(), account.to_owned());
        let associated = world.identity.associations.get(&key).cloned();
        let arn = associated.ok_or_else(|| {
            let message = format!(
                "No association found for service account {namespace}/{account} in cluster {}",
                self.options.cluster
            );
            Refusal::by_service(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message)
        })?;
        let service = Principal::Service(AUDIENCE);
        let none = BTreeMap::new();
        let trusted = world.identity.roles.get(&arn).filter(|role| {
            let allows = |action| role.trust.allows(&service, action, &none);
            allows("sts:AssumeRole") && allows("sts:TagSession")
        });
        let (Some(_), Some(role)) = (trusted, RoleArn::parse(&arn)) else {
            return Err(bad(
                "AccessDeniedException",
                "Unauthorized Exception! EKS does not have permissions to assume the associated role.",
            ));
        };
        let session = format!("eks-{}-{account}-{}", self.options.cluster, world.ids.uuid());
        let until = now.saturating_add(self.options.life).unwrap_or(Timestamp::MAX);
        let granted = world.identity.grant(&mut world.ids, role, &session, until);
        let accounts = &mut world.options.accounts;
        accounts.insert(granted.access_key.clone(), granted.account.clone());
        Ok(json!({
            "AccessKeyId": granted.access_key, "SecretAccessKey": granted.secret, "Token": granted.token,
            "AccountId": granted.account, "Expiration": granted.expiration.to_string(),
        }))
    }
}
