//! The server over real TLS on loopback: who is refused, who is answered, and that nobody notices a rotation.

use super::{
    certificate::{Pair, Served},
    rotation::tests::Stage,
    route::Desk,
    server::{self, Limits},
};
use crate::{
    facts::{Change, Facts},
    k8s::{custom, slim},
    model::{Scheme, Settings, TargetType},
    telemetry::Metrics,
};
use axum::{
    body::{Body, Bytes},
    http::Request,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, time_provider::TimeProvider};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use serde_json::{Value, json};
use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::ServiceExt;

const NAME: &str = "albacore-webhook-service.kube-system.svc";

/// Facts with Services and bindings as users write them, in the namespace `shop`.
pub(super) fn facts(services: &[Value], bindings: &[Value]) -> Facts {
    let facts = Facts::new(Settings {
        cluster: "demo".to_owned(),
        vpc: "vpc-1".into(),
        ingress_class: "alb".to_owned(),
        disable_class_annotation: false,
        disable_group_name_annotation: false,
        default_tags: Default::default(),
        external_managed_tags: Default::default(),
        default_target_type: TargetType::Instance,
        default_scheme: Scheme::Internal,
        default_ssl_policy: String::new(),
        backend_security_group: true,
        manage_backend_rules: false,
    });
    for service in services {
        let service: slim::SlimService = serde_json::from_value(service.clone()).unwrap();
        facts.cluster().apply(Change::Service(service.into()));
    }
    for binding in bindings {
        let binding: custom::TargetGroupBinding = serde_json::from_value(binding.clone()).unwrap();
        facts.cluster().apply(Change::Binding(binding.into()));
    }
    facts
}

/// A Service of `shop`.
pub(super) fn service(name: &str, selector: &Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": { "selector": selector, "ports": [{ "port": 80 }] } })
}

/// A binding of `shop`, as albacore makes them.
pub(super) fn binding(name: &str, service: &str, target_type: &str) -> Value {
    json!({
        "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": { "name": name, "namespace": "shop", "labels": { "ingress.k8s.aws/stack": "shop" } },
        "spec": { "targetGroupARN": "arn", "targetType": target_type, "serviceRef": { "name": service, "port": 80 } },
    })
}

fn review(pod: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "namespace": "shop", "operation": "CREATE",
            "resource": { "group": "", "version": "v1", "resource": "pods" }, "object": pod,
        },
    })
    .to_string()
}

fn shop_pod() -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "web" }] } })
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

struct Running {
    address: SocketAddr,
    served: Served,
    authority: String,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

const SHORT: Duration = Duration::from_millis(300);

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let served = Served::default();
    let pair = Pair::make(&[NAME.to_owned()], Timestamp::now()).unwrap();
    served
        .exchange(pair.certificate.as_bytes(), pair.key.as_bytes())
        .unwrap();
    let metrics = Metrics::default();
    metrics.synced();
    let facts = facts(
        &[service("web", &json!({ "app": "web" }))],
        &[binding("k8s-shop-web", "web", "ip")],
    );
    let (closing, closed) = watch::channel(false);
    let (stop, mut stopped) = watch::channel(false);
    let desk = Desk::new((facts, metrics), (true, 30), limits.body, closed);
    let address = listener.local_addr().unwrap();
    let tls = Arc::new(served.tls().unwrap()).into();
    let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let ended = tokio::spawn(server::serve(listener, tls, desk.router(), limits, closing, stopped));
    Running {
        address,
        served,
        authority: pair.ca,
        stop,
        ended,
    }
}

/// A client that trusts these authorities, and believes that it is this time.
fn client(authorities: &str, now: Timestamp) -> TlsConnector {
    #[derive(Debug)]
    struct At(u64);
    impl TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
        }
    }
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let now = At(now.as_second().try_into().unwrap());
    let config = ClientConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), Arc::new(now))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

impl Running {
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let client = client(&self.authority, Timestamp::now());
        let stream = TcpStream::connect(self.address).await?;
        client.connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    fn exchange(&self, pair: &Pair) {
        let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
        self.served.exchange(certificate, key).unwrap();
    }

    /// What is answered to one that asks once, until the connection ends; nothing when it breaks.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await.expect("a connection");
        let request = request.replacen("host: x\r\n", "host: x\r\nconnection: close\r\n", 1);
        stream.write_all(request.as_bytes()).await.expect("it is read");
        let mut answer = Vec::new();
        // It may be cut off without a word.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }
}

/// The head and the body of the next answer.
async fn answer(stream: &mut TlsStream<TcpStream>) -> (String, Value) {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.expect("an answer");
        assert!(read > 0, "it ended after {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..read]);
        let so_far = String::from_utf8_lossy(&text);
        if let Some((head, body)) = so_far.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (head.to_owned(), body);
        }
    }
}

#[tokio::test]
async fn pods_are_answered_on_a_connection_that_stays() {
    let running = start(Limits::default()).await;
    let mut stream = running.connect().await.unwrap();
    for (path, says) in [
        ("/mutate-v1-pod", "/spec/readinessGates"),
        ("/mutate-v1-pod-deregister", "/spec/containers/0/lifecycle"),
    ] {
        stream
            .write_all(post(path, &review(&shop_pod())).as_bytes())
            .await
            .unwrap();
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(
            (&body["response"]["allowed"], &body["response"]["uid"]),
            (&json!(true), &json!("u"))
        );
        assert_eq!(body["response"]["patchType"], "JSONPatch");
        let patch = STANDARD.decode(body["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch[0]["path"], says);
    }
}

#[tokio::test]
async fn whoever_asks_something_else_is_refused() {
    let running = start(Limits::default()).await;
    let path = "/mutate-v1-pod";
    let head = |more: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
    let other = review(&shop_pod()).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    for (request, status) in [
        (post("/", "{}"), "404"),
        (post("/mutate-v1-service", "{}"), "404"),
        (format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"), "405"),
        (
            format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"),
            "405",
        ),
        (head("content-type: text/plain\r\ncontent-length: 2"), "415"),
        (head("content-length: 2"), "415"),
        (
            head("content-type: application/json\r\ntransfer-encoding: chunked"),
            "411",
        ),
        (head("content-type: application/json\r\ncontent-length: 3145729"), "413"),
        (post(path, ""), "400"),
        (post(path, "{}"), "400"),
        (post(path, "nonsense"), "400"),
        (post(path, &"[".repeat(100_000)), "400"),
        (post(path, &other), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(20_000)), "4"),
    ] {
        let answer = running.ask(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:.200}\n{answer}"
        );
    }
}

#[tokio::test]
async fn nothing_is_answered_from_half_the_facts() {
    let (_closing, closed) = watch::channel(false);
    let desk = Desk::new((facts(&[], &[]), Metrics::default()), (true, 30), SHORT, closed);
    let body = review(&shop_pod());
    let request = Request::post("/mutate-v1-pod")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Body::from(body))
        .unwrap();
    let answer = desk.router().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 503);
}

#[tokio::test]
async fn without_tls_there_is_no_answer() {
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(post("/mutate-v1-pod", "{}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP") && answer.len() < 20, "{answer:?}");
}

#[tokio::test]
async fn whoever_is_slow_is_left() {
    let running = start(Limits {
        handshake: SHORT,
        silence: SHORT,
        body: SHORT,
        ..Limits::default()
    })
    .await;
    // No handshake.
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or_default(), 0);
    // Half a head.
    let answer = running.ask("POST /mutate-v1-pod HTTP/1.1\r\nho").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    // Half a body.
    let whole = post("/mutate-v1-pod", &review(&shop_pod()));
    let answer = running.ask(&whole[..whole.len() - 1]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_there_is_room_for() {
    let (_closing, closed) = watch::channel(false);
    let router = Desk::new((facts(&[], &[]), Metrics::default()), (true, 30), SHORT, closed).router();
    let ask = |length: usize, body: Body| {
        let request = Request::post("/mutate-v1-pod")
            .header("content-type", "application/json")
            .header("content-length", length)
            .body(body)
            .unwrap();
        let router = router.clone();
        async move { (router.oneshot(request).await.unwrap().status().as_u16(), Instant::now()) }
    };
    let begun = Instant::now();
    // 32 MiB hold ten bodies of 3 MiB.
    let large = 3 << 20;
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
    let slow: Vec<_> = (0..10).map(|_| tokio::spawn(ask(large, never()))).collect();
    tokio::time::sleep(SHORT / 2).await;
    let another = tokio::spawn(ask(large, Body::from(vec![b' '; large])));
    tokio::time::sleep(SHORT / 4).await;
    let now = begun + SHORT / 2 + SHORT / 4;
    for small in [2, 128 << 10] {
        let small = ask(small, Body::from(vec![b' '; small])).await;
        assert_eq!(small, (400, now), "it needs no room");
    }
    let another = another.await.unwrap();
    assert_eq!(another, (400, begun + SHORT), "it was not read before there was room");
    for slow in slow {
        assert_eq!(slow.await.unwrap(), (408, begun + SHORT));
    }
}

#[tokio::test]
async fn an_old_connection_is_told_to_end_and_an_idle_one_outlasts_an_api_servers() {
    assert!(Limits::default().silence > Duration::from_secs(90));
    assert!(Limits::default().body < Duration::from_secs(5));
    let running = start(Limits {
        age: SHORT,
        ..Limits::default()
    })
    .await;
    let mut stream = running.connect().await.unwrap();
    let request = post("/mutate-v1-pod", &review(&shop_pod()));
    for is_old in [false, true] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        assert_eq!(head.contains("connection: close"), is_old, "{head}");
        assert_eq!(body["response"]["allowed"], true);
        if !is_old {
            tokio::time::sleep(SHORT * 2).await;
        }
    }
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or_default(), 0);
}

#[tokio::test]
async fn a_connection_more_than_there_may_be_waits_for_another_to_end() {
    let running = start(Limits {
        connections: 2,
        handshake: Duration::from_secs(60),
        ..Limits::default()
    })
    .await;
    let one = TcpStream::connect(running.address).await.unwrap();
    let _other = TcpStream::connect(running.address).await.unwrap();
    let request = post("/mutate-v1-pod", "{}");
    let third = running.ask(&request);
    let mut third = std::pin::pin!(third);
    assert!(tokio::time::timeout(SHORT, third.as_mut()).await.is_err());
    drop(one);
    assert!(third.await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn whoever_comes_while_it_stops_is_still_answered() {
    let running = start(Limits {
        linger: Duration::from_secs(2),
        ..Limits::default()
    })
    .await;
    let mut standing = running.connect().await.unwrap();
    let request = post("/mutate-v1-pod", &review(&shop_pod()));
    standing.write_all(request.as_bytes()).await.unwrap();
    let (head, _) = answer(&mut standing).await;
    assert!(!head.contains("connection: close"), "{head}");
    running.stop.send_replace(true);
    // The one that stands is told to go elsewhere next time; one that comes is answered.
    tokio::task::yield_now().await;
    standing.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut standing).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body["response"]["allowed"], true);
    assert!(running.ask(&request).await.starts_with("HTTP/1.1 200"));
    let address = running.address;
    running.ended.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Two replicas and an API server that learn of everything half an hour late, through two rotations.
#[tokio::test]
async fn a_rotation_fails_no_admission() {
    let begun = Timestamp::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let mut stage = Stage::default();
    let make = |now| move || Pair::make(&[NAME.to_owned()], now).unwrap();
    stage.settle(begun, make(begun));
    let replicas = [start(Limits::default()).await, start(Limits::default()).await];
    let (mut known, mut serves) = (stage.bundle.clone(), stage.current());
    for replica in &replicas {
        replica.exchange(&serves);
    }
    let mut bundles = BTreeSet::new();
    let mut admitted = 0;
    // Once a day; every half an hour while something goes on.
    let moments = (1..123 * 48).filter(|half| half % 48 == 0 || [59, 60, 61, 119, 120, 121].contains(&(half / 48)));
    for half in moments {
        let now = begun + Duration::from_secs(half * 1800);
        let client = client(&known, now);
        for replica in &replicas {
            let admit = || async {
                let stream = TcpStream::connect(replica.address).await.unwrap();
                let connected = client.connect(ServerName::try_from(NAME).unwrap(), stream).await;
                let mut stream = connected.unwrap_or_else(|error| panic!("on day {}: {error}", half / 48));
                stream
                    .write_all(post("/mutate-v1-pod", &review(&shop_pod())).as_bytes())
                    .await
                    .unwrap();
                assert_eq!(answer(&mut stream).await.1["response"]["allowed"], true);
            };
            // What was served before is served to those who are already there.
            tokio::join!(admit(), async { replica.exchange(&serves) }, admit());
            admitted += 2;
        }
        bundles.insert(known);
        (known, serves) = (stage.bundle.clone(), stage.current());
        stage.settle(now, make(now));
    }
    assert!(admitted > 1_500, "{admitted}");
    assert_eq!(
        bundles.len(),
        5,
        "one, with the next, the next, with one more, that one"
    );
}
