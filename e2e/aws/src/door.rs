//! The two doors: an HTTP client for SDKs in the same process, and an HTTP server for everybody else.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::shared::IntoShared;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::{ConnectionReset, Double};

impl Double {
    /// The door for SDK clients in this process: no socket, real wire format.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(InProcess(self.clone()))
    }

    /// The door for everybody else: serves HTTP/1 and HTTP/2 until dropped.
    ///
    /// # Errors
    /// The listener cannot accept any more.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<Infallible> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let double = self.clone();
                    connections.spawn(async move {
                        let service = service_fn(|request| receive(double.clone(), request));
                        // Connections end with an error when a client goes away or a fault cuts them: not our concern.
                        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves requests without a body over HTTP/1 until dropped.
///
/// # Errors
/// The listener cannot accept any more.
pub(crate) async fn serve_each<F>(listener: TcpListener, answer: F) -> io::Result<Infallible>
where
    F: Fn(IpAddr, &Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, caller) = accepted?;
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = answer(caller.ip(), &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    // Ends with an error when the caller goes away: not our concern.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn receive(double: Double, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ConnectionReset> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| ConnectionReset)?.to_bytes();
    Ok(double.answer(Request::from_parts(parts, body)).await?.map(Full::new))
}

#[derive(Debug)]
struct InProcess(Double);

impl HttpClient for InProcess {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        Connector {
            double: self.0.clone(),
            settings: settings.clone(),
        }
        .into_shared()
    }
}

#[derive(Debug)]
struct Connector {
    double: Double,
    settings: HttpConnectorSettings,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (double, patience) = (self.double.clone(), self.settings.read_timeout());
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let answer = double.answer(Request::from_parts(parts, body));
            let answered = match patience {
                Some(patience) => tokio::time::timeout(patience, answer)
                    .await
                    .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
                None => answer.await,
            };
            let response = answered.map_err(|reset| ConnectorError::io(reset.into()))?;
            let response = response.map(|body: Bytes| SdkBody::from(body));
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
