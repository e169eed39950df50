//! What a change of the configuration does to requests: nothing to those under way, everything to the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::super::plane::ListenError;
use super::super::snapshot::TargetState;
use super::kit::{
    Client, PORT, address, connect, fixed, get, group, healthy, listener, named, plane, serve, snapshot, target, to,
};

/// A target that tells when a request has arrived and answers when it is let go.
async fn patient() -> (SocketAddr, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let answer = go.clone();
    let at = target(move |_| {
        arrived.send(()).unwrap();
        let answer = answer.clone();
        Box::pin(async move {
            answer.acquire().await.unwrap().forget();
            Response::new(Full::from("patient"))
        })
    });
    (at.await, arrivals, go)
}

#[tokio::test]
async fn a_request_in_flight_survives_draining_and_the_end_of_its_listener() {
    let (at, mut arrivals, go) = patient().await;
    let (lb, mut world) = snapshot(listener(vec![], to(&[("g", 1)])), vec![group("g", vec![healthy(at)])]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let in_flight = tokio::spawn(get(lb, "a.com", "/"));
    arrivals.recv().await.unwrap();

    world.target_groups.get_mut("g").unwrap().targets[0].state = TargetState::Draining;
    world
        .target_groups
        .get_mut("g")
        .unwrap()
        .targets
        .push(healthy(named("other").await));
    serve(&plane, &world).await;
    for _ in 0..3 {
        assert_eq!(
            get(lb, "a.com", "/").await.body,
            "other",
            "a draining target gets no new requests"
        );
    }

    world.load_balancers.clear();
    world.target_groups.clear();
    serve(&plane, &world).await;
    TcpStream::connect((lb, PORT)).await.expect_err("the listener is gone");

    go.add_permits(1);
    assert_eq!(in_flight.await.unwrap().body, "patient");
}

#[tokio::test]
async fn stopping_waits_for_what_is_in_flight() {
    let (at, mut arrivals, go) = patient().await;
    let (lb, world) = snapshot(listener(vec![], to(&[("g", 1)])), vec![group("g", vec![healthy(at)])]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let in_flight = tokio::spawn(get(lb, "a.com", "/"));
    arrivals.recv().await.unwrap();
    let stopping = tokio::spawn(plane.stop());
    go.add_permits(1);
    assert_eq!(in_flight.await.unwrap().body, "patient");
    stopping.await.unwrap();
}

#[tokio::test]
async fn the_next_request_on_a_connection_meets_the_new_rules() {
    let (lb, mut world) = snapshot(listener(vec![], fixed(200, "old")), vec![]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let mut client = Client::over(connect(address(), (lb, PORT).into()).await).await;
    assert_eq!(client.get("a.com", "/").await.unwrap().body, "old");
    world.load_balancers[0].listeners[0].default = fixed(200, "new");
    serve(&plane, &world).await;
    assert_eq!(client.get("a.com", "/").await.unwrap().body, "new");
    world.load_balancers[0].listeners.clear();
    serve(&plane, &world).await;
    // Whether the connection is closed already or answers once more: the rules of the past hold, and then it ends.
    if let Ok(got) = client.get("a.com", "/").await {
        assert_eq!(got.body, "new");
    }
    assert!(client.get("a.com", "/").await.is_err());
}

#[tokio::test]
async fn a_listener_that_comes_back_listens_again() {
    let (lb, world) = snapshot(listener(vec![], fixed(200, "here")), vec![]);
    let (plane, _reports) = plane();
    for _ in 0..3 {
        serve(&plane, &world).await;
        assert_eq!(get(lb, "a.com", "/").await.body, "here");
        serve(&plane, &Default::default()).await;
        TcpStream::connect((lb, PORT)).await.expect_err("not listening");
    }
}

#[tokio::test]
async fn connections_to_targets_are_used_again_and_one_that_the_target_closed_is_replaced() {
    let socket = TcpListener::bind((address(), 0)).await.unwrap();
    let at = socket.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            // Two requests a connection, then it is closed without a word.
            for _ in 0..2 {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        }
    });
    let (lb, world) = snapshot(listener(vec![], to(&[("g", 1)])), vec![group("g", vec![healthy(at)])]);
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    let mut client = Client::over(connect(address(), (lb, PORT).into()).await).await;
    for _ in 0..2 {
        assert_eq!(client.get("a.com", "/").await.unwrap().status, 200);
    }
    assert!(connections.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn an_address_outside_of_loopback_is_refused_here() {
    let (_, mut world) = snapshot(listener(vec![], fixed(200, "")), vec![]);
    world.load_balancers[0].addresses = vec!["10.0.0.1".parse().unwrap()];
    let (plane, _reports) = plane();
    let errors = plane.apply(world).await;
    assert!(matches!(errors[..], [ListenError::Forbidden(_)]), "{errors:?}");
}
