//! What the tests are made of: targets that answer as told, a client, and short ways to write a snapshot.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::plane::Plane;
use super::super::probe::Report;
use super::super::snapshot::{
    Action, Attributes, HealthCheck, Listener, LoadBalancer, Rule, Scheme, Snapshot, Target, TargetGroup, TargetState,
    Version,
};
use super::super::{Options, Reach};

/// The port of every load balancer of these tests (below 1024 not everybody may listen).
pub const PORT: u16 = 8080;

/// An address that nobody else has: neither another test of this process nor another run on this machine.
pub fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id() % (254 * 256);
    let [high, low] = u16::try_from(process).unwrap().to_be_bytes();
    Ipv4Addr::new(127, high + 1, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub fn plane() -> (Plane, tokio::sync::mpsc::UnboundedReceiver<Report>) {
    Plane::new(Options {
        connect_timeout: Duration::from_millis(50),
        ..Options::new(Reach::Loopback)
    })
}

pub async fn serve(plane: &Plane, snapshot: &Snapshot) {
    let errors = plane.apply(snapshot.clone()).await;
    assert!(errors.is_empty(), "{errors:?}");
}

type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// A target that answers each request with what `answer` makes of it.
pub async fn target(answer: impl Fn(Request<Incoming>) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let socket = TcpListener::bind((address(), 0)).await.unwrap();
    let local = socket.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    local
}

/// A target that says its name.
pub async fn named(name: &'static str) -> SocketAddr {
    target(move |_| Box::pin(async move { Response::new(Full::from(name)) })).await
}

/// A target that sends the head of the request back, one field a line.
pub async fn mirror() -> SocketAddr {
    target(|request| {
        let mut text = format!("{} {}\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        Box::pin(async move { Response::new(Full::from(text)) })
    })
    .await
}

/// A response, read to its end.
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One client connection.
pub struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client { sender }
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Got> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Got {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    pub async fn get(&mut self, host: &str, path: &str) -> hyper::Result<Got> {
        self.send(Request::get(path).header("host", host).body(Full::default()).unwrap())
            .await
    }
}

pub async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// A request on a connection of its own.
pub async fn get(to: IpAddr, host: &str, path: &str) -> Got {
    let stream = TcpStream::connect((to, PORT)).await.unwrap();
    Client::over(stream).await.get(host, path).await.unwrap()
}

pub fn fixed(status: u16, body: &str) -> Action {
    Action::Fixed {
        status,
        content_type: Some("text/plain".into()),
        body: body.into(),
    }
}

pub fn to(groups: &[(&str, u32)]) -> Action {
    Action::Forward(groups.iter().map(|&(arn, weight)| (arn.to_owned(), weight)).collect())
}

pub fn listener(rules: Vec<Rule>, default: Action) -> Listener {
    Listener {
        arn: "listener".into(),
        port: PORT,
        tls: None,
        rules,
        default,
    }
}

pub fn healthy(at: SocketAddr) -> Target {
    Target {
        id: at.ip().to_string(),
        port: at.port(),
        address: Some(at),
        state: TargetState::Healthy,
    }
}

pub fn group(arn: &str, targets: Vec<Target>) -> TargetGroup {
    TargetGroup {
        arn: arn.into(),
        scheme: Scheme::Http,
        version: Version::Http1,
        check: None,
        targets,
    }
}

pub fn check() -> HealthCheck {
    HealthCheck {
        scheme: Scheme::Http,
        port: None,
        path: "/health".into(),
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(500),
        healthy_threshold: 2,
        unhealthy_threshold: 2,
        matcher: "200".into(),
    }
}

/// One load balancer without a VPC around it, which no security group guards.
pub fn snapshot(listener: Listener, groups: Vec<TargetGroup>) -> (IpAddr, Snapshot) {
    let address = address();
    let load_balancer = LoadBalancer {
        arn: "lb".into(),
        vpc: "vpc".into(),
        addresses: vec![address],
        security_groups: vec!["sg-lb".into()],
        attributes: Attributes::default(),
        listeners: vec![listener],
    };
    let target_groups: BTreeMap<_, _> = groups.into_iter().map(|group| (group.arn.clone(), group)).collect();
    (
        address,
        Snapshot {
            load_balancers: vec![load_balancer],
            target_groups,
            ..Snapshot::default()
        },
    )
}
