//! A user's HTTP client: finds the load balancer by its DNS name, and checks certificates.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where the client is: an address outside of the VPC's subnets.
const HOME: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Location` of a redirect.
    pub location: Option<String>,
    /// Body.
    pub body: String,
}

/// A client that trusts one certificate.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// A client that trusts the certificate in this PEM text.
    ///
    /// # Errors
    /// Text that is no certificate.
    pub fn new(certificate: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(certificate.as_bytes()) {
            roots.add(der?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(
            config.with_root_certificates(roots).with_no_client_auth(),
        )))
    }

    /// Asks a load balancer, found by its DNS name, for `http://HOST/PATH` or `https://HOST/PATH`.
    ///
    /// # Errors
    /// What a browser would show in place of a page.
    pub async fn get(&self, load_balancer: &str, url: &str) -> Result<Answer> {
        let asked = timeout(PATIENCE, self.ask(load_balancer, url)).await;
        asked
            .context("no answer in time")
            .flatten()
            .with_context(|| format!("{url} by way of {load_balancer}"))
    }

    /// Connects to somebody who shows a certificate for this name.
    ///
    /// # Errors
    /// Nobody is there, or the certificate is not trusted.
    pub async fn handshake(&self, address: SocketAddr, name: &str) -> Result<()> {
        let connected = async {
            let stream = TcpStream::connect(address).await?;
            self.secure(stream, name).await.map(drop)
        };
        timeout(PATIENCE, connected).await.context("no answer in time")?
    }

    async fn secure(&self, stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        Ok(connector.connect(name, stream).await?)
    }

    async fn ask(&self, load_balancer: &str, url: &str) -> Result<Answer> {
        let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if scheme == "https" { 443 } else { 80 };
        let address = lookup_host((load_balancer, port))
            .await?
            .next()
            .context("the name has no address")?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((HOME, 0).into())?;
        let stream = socket.connect(address).await?;
        let request = Request::get(format!("/{path}"))
            .header(HOST, host)
            .body(Empty::<Bytes>::new())?;
        if scheme == "https" {
            send(self.secure(stream, host).await?, request).await
        } else {
            send(stream, request).await
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let location = answer
        .headers()
        .get(http::header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(Answer {
        status,
        location,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
