//! Node ports of the real nodes: what kube-proxy does for `target-type: instance`, and nothing else of kube-proxy.
//!
//! ```text
//!   client ──► 10.0.10.10:31234 (node, node port) ──from 10.0.10.10──► 10.0.11.65:8080 (a ready endpoint)
//! ```
//! A node port without endpoints refuses connections, as it does on a node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::node::NodeSpec;

/// Where a node's port leads.
type Routes = BTreeMap<SocketAddrV4, Vec<SocketAddrV4>>;

/// Serves the node ports of `nodes` until dropped.
pub(crate) async fn run(client: Client, nodes: Vec<NodeSpec>) -> Result<()> {
    let (services, writer) = reflector::store::<Service>();
    let changes = watcher(Api::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .map(|_| ());
    let (slices, writer) = reflector::store::<EndpointSlice>();
    let more = watcher(Api::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .map(|_| ());
    let mut changes = std::pin::pin!(futures::stream::select(changes, more));
    let routes = Arc::new(Mutex::new(Routes::new()));
    let mut doors: BTreeMap<SocketAddrV4, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    while changes.next().await.is_some() {
        let wanted = routes_of(&nodes, &services.state(), &slices.state());
        doors.retain(|door, task| {
            let stays = wanted.contains_key(door);
            if !stays {
                task.abort();
            }
            stays
        });
        for &door in wanted
            .keys()
            .filter(|door| !doors.contains_key(door))
            .collect::<Vec<_>>()
        {
            // A port that is taken (a test's own listener) stays whoever's it is.
            if let Ok(listener) = TcpListener::bind(door).await {
                doors.insert(door, tasks.spawn(serve(listener, door, routes.clone())));
            }
        }
        *routes.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

fn routes_of(nodes: &[NodeSpec], services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Routes {
    let mut routes = Routes::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        for port in spec.ports.iter().flatten() {
            let Some(door) = port.node_port.and_then(|number| u16::try_from(number).ok()) else {
                continue;
            };
            for node in nodes {
                let endpoints = endpoints(service, port, slices, local.then_some(node.name.as_str()));
                if !endpoints.is_empty() {
                    routes.insert(SocketAddrV4::new(node.address, door), endpoints);
                }
            }
        }
    }
    routes
}

/// The ready endpoints behind a port; when none is ready, those that still serve while they end (as kube-proxy does).
fn endpoints(
    service: &Service,
    port: &ServicePort,
    slices: &[Arc<EndpointSlice>],
    node: Option<&str>,
) -> Vec<SocketAddrV4> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices {
        let of = slice.labels().get("kubernetes.io/service-name");
        if of != Some(&service.name_any()) || slice.namespace() != service.namespace() {
            continue;
        }
        let named = slice
            .ports
            .iter()
            .flatten()
            .find(|found| found.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default());
        let Some(number) = named.and_then(|found| u16::try_from(found.port?).ok()) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            if node.is_some_and(|node| endpoint.node_name.as_deref() != Some(node)) {
                continue;
            }
            let conditions = endpoint.conditions.as_ref();
            let addresses = endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse::<Ipv4Addr>().ok());
            let addresses = addresses.map(|address| SocketAddrV4::new(address, number));
            if conditions.and_then(|conditions| conditions.ready) != Some(false) {
                ready.extend(addresses);
            } else if conditions.and_then(|conditions| conditions.serving) == Some(true) {
                serving.extend(addresses);
            }
        }
    }
    if ready.is_empty() { serving } else { ready }
}

async fn serve(listener: TcpListener, door: SocketAddrV4, routes: Arc<Mutex<Routes>>) {
    let mut connections = JoinSet::new();
    for turn in 0usize.. {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let endpoint = {
            let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes
                .get(&door)
                .and_then(|endpoints| endpoints.get(turn % endpoints.len().max(1)).copied())
        };
        if let Some(endpoint) = endpoint {
            connections.spawn(forward(stream, *door.ip(), endpoint));
        }
    }
}

async fn forward(mut client: TcpStream, node: Ipv4Addr, endpoint: SocketAddrV4) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(node, 0).into())?;
    let mut server = socket.connect(endpoint.into()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[test]
fn a_local_service_leads_only_to_pods_of_that_node() {
    let service = |policy: &str| -> Arc<Service> {
        Arc::new(
            serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"externalTrafficPolicy": policy, "ports": [{"port": 80, "nodePort": 31000}]}}))
            .unwrap(),
        )
    };
    let slice = Arc::new(
        serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
        "endpoints": [
            {"addresses": ["10.0.10.65"], "nodeName": "host-a", "conditions": {"ready": true}},
            {"addresses": ["10.0.11.65"], "nodeName": "host-b", "conditions": {"ready": false, "serving": true}}]}))
        .unwrap(),
    );
    let routes = |policy| routes_of(&NodeSpec::three(), &[service(policy)], std::slice::from_ref(&slice));
    let pod = |third| SocketAddrV4::new(Ipv4Addr::new(10, 0, third, 65), 8080);
    let door = |third| SocketAddrV4::new(Ipv4Addr::new(10, 0, third, 10), 31000);
    let everywhere = BTreeMap::from([10, 11, 12].map(|third| (door(third), vec![pod(10)])));
    assert_eq!(routes("Cluster"), everywhere);
    assert_eq!(
        routes("Local"),
        BTreeMap::from([(door(10), vec![pod(10)]), (door(11), vec![pod(11)])])
    );
}
