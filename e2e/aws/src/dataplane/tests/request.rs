//! What becomes of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::matcher::Pattern;
use super::super::plane::ListenError;
use super::super::snapshot::{Certificate, Condition, Redirect, Rule, Scheme, Tls, Version};
use super::super::tls;
use super::kit::{
    Client, PORT, address, connect, fixed, get, group, healthy, listener, mirror, named, plane, serve, snapshot,
    target, to,
};

fn rule(priority: u32, path: &str, action: super::super::snapshot::Action) -> Rule {
    let conditions = vec![Condition::Path(vec![Pattern::exact_case(path)])];
    Rule {
        arn: format!("rule/{priority}"),
        priority,
        conditions,
        action,
    }
}

#[tokio::test]
async fn a_target_sees_the_request_as_alb_sends_it() {
    let (lb, world) = snapshot(
        listener(vec![], to(&[("g", 1)])),
        vec![group("g", vec![healthy(mirror().await)])],
    );
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let client_address = address();
    let mut client = Client::over(connect(client_address, (lb, PORT).into()).await).await;
    let request = Request::post("/a/b?c=d&e")
        .header("host", "Shop.example.com:8080")
        .header("x-forwarded-for", "192.0.2.1")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .body(Full::from("body"));
    let got = client.send(request.unwrap()).await.unwrap();
    assert_eq!(got.status, 200);
    let mut lines: Vec<&str> = got.body.lines().collect();
    assert_eq!(lines.remove(0), "POST /a/b?c=d&e");
    for line in [
        "host: Shop.example.com:8080",
        &format!("x-forwarded-for: 192.0.2.1, {client_address}"),
        "x-forwarded-proto: http",
        "x-forwarded-port: 8080",
        "content-length: 4",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("x-amzn-trace-id: Root=1-")),
        "{lines:?}"
    );
    assert!(!got.body.contains("x-hop"), "{lines:?}");
    assert_eq!(got.header("server"), "", "the load balancer signs only its own answers");
}

#[tokio::test]
async fn a_load_balancer_answers_fixed_responses_and_redirects_itself() {
    let https = Redirect {
        protocol: "HTTPS".into(),
        port: "443".into(),
        ..Redirect::default()
    };
    let rules = vec![
        rule(1, "/moved/*", super::super::snapshot::Action::Redirect(https)),
        rule(
            2,
            "/login",
            super::super::snapshot::Action::Unsupported("authenticate-oidc".into()),
        ),
    ];
    let (lb, world) = snapshot(listener(rules, fixed(404, "nothing here")), vec![]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let got = get(lb, "a.com", "/x").await;
    assert_eq!(
        (got.status, got.body.as_str(), got.header("content-type")),
        (404, "nothing here", "text/plain")
    );
    assert_eq!(got.header("server"), "awselb/2.0");
    let got = get(lb, "a.com:8080", "/moved/x?y=1").await;
    assert_eq!(
        (got.status, got.header("location")),
        (301, "https://a.com:443/moved/x?y=1")
    );
    assert_eq!(get(lb, "a.com", "/login").await.status, 501);
}

#[tokio::test]
async fn requests_are_spread_by_weight_and_then_in_turn() {
    let groups = vec![
        group("heavy", vec![healthy(named("h1").await), healthy(named("h2").await)]),
        group("light", vec![healthy(named("l").await)]),
    ];
    let (lb, world) = snapshot(listener(vec![], to(&[("heavy", 80), ("light", 20)])), groups);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let mut client = Client::over(connect(address(), (lb, PORT).into()).await).await;
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..100 {
        *count.entry(client.get("a.com", "/").await.unwrap().body).or_default() += 1;
    }
    assert!(
        count["h1"].abs_diff(40) <= 1 && count["h2"].abs_diff(40) <= 1 && count["l"].abs_diff(20) <= 1,
        "{count:?}"
    );
}

#[tokio::test]
async fn each_way_to_fail_has_its_status() {
    let refused = {
        let socket = TcpListener::bind((address(), 0)).await.unwrap();
        socket.local_addr().unwrap()
    };
    let closing = TcpListener::bind((address(), 0)).await.unwrap();
    let closing_at = closing.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = closing.accept().await {
            let mut head = [0; 16];
            let _ = stream.read(&mut head).await;
        }
    });
    let silent = target(|_| Box::pin(std::future::pending())).await;
    let mut lost = healthy(silent);
    lost.address = None;
    let groups = vec![
        group("empty", vec![]),
        group("refused", vec![healthy(refused)]),
        group("closing", vec![healthy(closing_at)]),
        group("silent", vec![healthy(silent)]),
        group("lost", vec![lost]),
    ];
    let names = ["empty", "refused", "closing", "silent", "lost", "unknown"];
    let rules = names
        .iter()
        .zip(1..)
        .map(|(name, n)| rule(n, &format!("/{name}"), to(&[(name, 1)])))
        .collect();
    let (lb, mut world) = snapshot(listener(rules, fixed(404, "")), groups);
    world.load_balancers[0].attributes.idle_timeout = std::time::Duration::from_millis(100);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    for (name, status) in [
        ("empty", 503),
        ("refused", 502),
        ("closing", 502),
        ("silent", 504),
        ("lost", 504),
        ("unknown", 503),
    ] {
        let got = get(lb, "a.com", &format!("/{name}")).await;
        assert_eq!((got.status, got.header("server")), (status, "awselb/2.0"), "{name}");
        assert!(got.body.contains(&format!("<h1>{status} ")), "{}", got.body);
    }
}

fn certificate(names: &[&str]) -> Certificate {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Certificate {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    }
}

async fn tls_connect(to: std::net::IpAddr, name: &str, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect((to, PORT)).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn an_https_listener_shows_the_certificate_of_the_name_asked_for() {
    let (lb, mut world) = snapshot(
        listener(vec![], to(&[("g", 1)])),
        vec![group("g", vec![healthy(mirror().await)])],
    );
    let all = [("main", "main.com"), ("shop", "shop.com"), ("wild", "*.shop.com")];
    world.certificates = all.map(|(arn, name)| (arn.to_owned(), certificate(&[name]))).into();
    world.load_balancers[0].listeners[0].tls = Some(Tls {
        default_certificate: "main".into(),
        certificates: vec!["shop".into(), "wild".into()],
        policy: "ELBSecurityPolicy-TLS13-1-2-2021-06".into(),
    });
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let config = tls::client(Version::Http1).unwrap();
    for (name, arn) in [
        ("shop.com", "shop"),
        ("a.shop.com", "wild"),
        ("other.org", "main"),
        ("MAIN.com", "main"),
    ] {
        let stream = tls_connect(lb, name, config.clone()).await;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let pem = x509_parser::pem::parse_x509_pem(world.certificates[arn].chain.as_bytes())
            .unwrap()
            .1;
        assert_eq!(shown, pem.contents, "{name}");
        let got = Client::over(stream).await.get(name, "/").await.unwrap();
        assert!(got.body.contains("x-forwarded-proto: https\n"), "{}", got.body);
    }
    world.certificates.remove("wild");
    let errors = plane.apply(world).await;
    assert!(
        matches!(&errors[..], [ListenError::Tls(arn, _)] if arn == "listener"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn http2_comes_in_over_tls_and_goes_on_as_http1() {
    let (lb, mut world) = snapshot(
        listener(vec![], to(&[("g", 1)])),
        vec![group("g", vec![healthy(mirror().await)])],
    );
    world.certificates = [("main".to_owned(), certificate(&["main.com"]))].into();
    world.load_balancers[0].listeners[0].tls = Some(Tls {
        default_certificate: "main".into(),
        certificates: vec![],
        policy: "ELBSecurityPolicy-2016-08".into(),
    });
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let stream = tls_connect(lb, "main.com", tls::client(Version::Http2).unwrap()).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://main.com/x")
        .body(Full::<bytes::Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(
        body.starts_with("GET /x\n") && body.contains("host: main.com:8080\n"),
        "{body}"
    );
}

#[tokio::test]
async fn targets_are_spoken_to_in_their_own_protocol() {
    // HTTPS with a certificate for another name, which ALB does not mind.
    let made = certificate(&["elsewhere.org"]);
    let certificates = BTreeMap::from([("any".to_owned(), made)]);
    let any = Tls {
        default_certificate: "any".into(),
        certificates: vec![],
        policy: String::new(),
    };
    let acceptor = TlsAcceptor::from(tls::server(&any, &certificates, false).unwrap());
    let socket = TcpListener::bind((address(), 0)).await.unwrap();
    let secure = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
                .await
                .unwrap();
        }
    });
    let http2 = target(|request| {
        let text = format!("{:?} {}", request.version(), request.uri());
        Box::pin(async move { Response::new(Full::from(text)) })
    });
    let mut https = group("https", vec![healthy(secure)]);
    https.scheme = Scheme::Https;
    let mut h2 = group("h2", vec![healthy(http2.await)]);
    h2.version = Version::Http2;
    let rules = vec![rule(1, "/https", to(&[("https", 1)])), rule(2, "/h2", to(&[("h2", 1)]))];
    let (lb, world) = snapshot(listener(rules, fixed(404, "")), vec![https, h2]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    assert_eq!(get(lb, "a.com", "/https").await.body, "secret");
    for _ in 0..2 {
        assert_eq!(get(lb, "a.com:8080", "/h2").await.body, "HTTP/2.0 http://a.com:8080/h2");
    }
}

#[tokio::test]
async fn a_websocket_is_passed_through_both_ways() {
    let echo = target(|request| {
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let response = Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket");
        Box::pin(async move { response.body(Full::default()).unwrap() })
    });
    let (lb, world) = snapshot(
        listener(vec![], to(&[("g", 1)])),
        vec![group("g", vec![healthy(echo.await)])],
    );
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let mut stream = TcpStream::connect((lb, PORT)).await.unwrap();
    let ask = b"GET /ws HTTP/1.1\r\nhost: a.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}
