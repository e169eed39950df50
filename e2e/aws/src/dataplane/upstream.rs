//! Connections to targets: opened from the load balancer's own address, kept while idle, given up with their target.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::Failure;
use super::namespace::Reach;
use super::snapshot::{Scheme, Version};
use super::tls;

/// A body on its way through.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A byte stream, in clear or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a connection leads and how it is spoken on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The load balancer's address.
    pub from: IpAddr,
    /// The target.
    pub to: SocketAddr,
    /// In clear or TLS.
    pub scheme: Scheme,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
}

/// An open connection, ready to send a request.
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Body>),
    /// Many.
    Http2(http2::SendRequest<Body>),
}

/// A request that got no answer; `unsent` when the connection was gone before it left.
pub struct SendError {
    unsent: Option<Box<Request<Body>>>,
}

impl Sender {
    /// Sends a request whose URI is in origin form and whose `Host` is set.
    ///
    /// # Errors
    /// When the connection failed or what came was not HTTP.
    pub async fn send(&mut self, request: Request<Body>, scheme: Scheme) -> Result<Response<Incoming>, SendError> {
        let sent = match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(for_http2(request, scheme)).await,
        };
        sent.map_err(|mut error| SendError {
            unsent: error.take_message().map(Box::new),
        })
    }
}

/// HTTP/2 has the scheme and host in pseudo-headers, which hyper takes from the URI. A request that was tried on another
/// connection before has been through here already.
fn for_http2(mut request: Request<Body>, scheme: Scheme) -> Request<Body> {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    if let Some(host) = request.headers_mut().remove(http::header::HOST) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(host.as_bytes())
            .path_and_query(path)
            .build();
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
    }
    *request.version_mut() = http::Version::HTTP_2;
    request
}

#[derive(Default)]
struct Idle {
    /// Targets that may still get requests; connections to others are not kept.
    wanted: BTreeSet<SocketAddr>,
    senders: BTreeMap<Route, Vec<Sender>>,
}

/// Opens and keeps connections.
pub struct Upstream {
    reach: Reach,
    connect_timeout: Duration,
    idle: Arc<Mutex<Idle>>,
}

impl Upstream {
    /// Connections go only where `reach` allows; one that can't be made within `connect_timeout` has failed.
    pub fn new(reach: Reach, connect_timeout: Duration) -> Upstream {
        Upstream {
            reach,
            connect_timeout,
            idle: Arc::default(),
        }
    }

    /// How long a connection may take: also how long one takes that a security group forbids.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// From now on idle connections are kept to these targets only. Requests under way are not touched.
    pub fn keep(&self, wanted: BTreeSet<SocketAddr>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.senders.retain(|route, _| wanted.contains(&route.to));
        idle.wanted = wanted;
    }

    /// Sends a request over an idle connection or a new one. An idle connection that its target had closed before the
    /// request was sent costs nothing: the request goes over another.
    ///
    /// # Errors
    /// `Timeout` when no connection could be made in time, `BadGateway` when it was refused or broke.
    pub async fn send(&self, route: &Route, mut request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        while let Some(mut sender) = self.take(route) {
            match sender.send(request, route.scheme).await {
                Ok(response) => {
                    self.give_back(route.clone(), sender);
                    return Ok(response);
                }
                Err(SendError { unsent: Some(unsent) }) => request = *unsent,
                Err(SendError { unsent: None }) => return Err(Failure::BadGateway),
            }
        }
        let mut sender = timeout(self.connect_timeout, self.open(route))
            .await
            .map_err(|_| Failure::Timeout)?
            .map_err(|error| failure_of(&error))?;
        let response = sender
            .send(request, route.scheme)
            .await
            .map_err(|_| Failure::BadGateway)?;
        self.give_back(route.clone(), sender);
        Ok(response)
    }

    fn take(&self, route: &Route) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.senders.get_mut(route)?;
        while let Some(sender) = senders.pop() {
            match &sender {
                Sender::Http1(open) if open.is_closed() => {}
                Sender::Http1(_) => return Some(sender),
                Sender::Http2(open) if open.is_closed() => {}
                Sender::Http2(open) => {
                    let another = Sender::Http2(open.clone());
                    senders.push(sender);
                    return Some(another);
                }
            }
        }
        None
    }

    /// Keeps the connection once it can take another request. An HTTP/2 connection that is kept already has a twin there.
    fn give_back(&self, route: Route, sender: Sender) {
        let idle = self.idle.clone();
        tokio::spawn(async move {
            let sender = match sender {
                Sender::Http1(mut sender) => sender.ready().await.map(|()| Sender::Http1(sender)),
                Sender::Http2(mut sender) => sender.ready().await.map(|()| Sender::Http2(sender)),
            };
            let Ok(sender) = sender else { return };
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.wanted.contains(&route.to) {
                let kept = idle.senders.entry(route).or_default();
                if matches!(sender, Sender::Http1(_)) || kept.is_empty() {
                    kept.push(sender);
                }
            }
        });
    }

    /// Opens a connection. Without a time limit of its own.
    ///
    /// # Errors
    /// When it can't be opened or is not allowed from here.
    pub async fn open(&self, route: &Route) -> io::Result<Sender> {
        let stream = self.connect(route.from, route.to).await?;
        let stream: Box<dyn Stream> = match route.scheme {
            Scheme::Http => Box::new(stream),
            Scheme::Https => {
                let config = tls::client(route.version).map_err(io::Error::other)?;
                let name = ServerName::IpAddress(route.to.ip().into());
                Box::new(TlsConnector::from(config).connect(name, stream).await?)
            }
        };
        let stream = TokioIo::new(stream);
        Ok(match route.version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
                tokio::spawn(connection.with_upgrades());
                Sender::Http1(sender)
            }
            Version::Http2 | Version::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        })
    }

    async fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
        if !self.reach.permits(from) || !self.reach.permits(to.ip()) {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!("{to} is not a loopback address"),
            ));
        }
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A network that says a target can't be reached is, to ALB, a connection that timed out; a target that answers and does
/// not want the connection is a bad gateway.
fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::BadGateway,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::super::answer::Failure;
    use super::failure_of;

    #[test]
    fn a_refusal_is_a_bad_gateway_and_silence_a_timeout() {
        for (kind, failure) in [
            (ErrorKind::ConnectionRefused, Failure::BadGateway),
            (ErrorKind::ConnectionReset, Failure::BadGateway),
            (ErrorKind::HostUnreachable, Failure::Timeout),
            (ErrorKind::TimedOut, Failure::Timeout),
        ] {
            assert_eq!(failure_of(&Error::from(kind)), failure);
        }
    }
}
