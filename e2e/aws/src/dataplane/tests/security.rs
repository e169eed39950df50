//! Security groups between client, load balancer and target.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::snapshot::{Interface, Peer, Permission, SecurityGroup, Snapshot, Vpc};
use super::kit::{Client, PORT, address, connect, get, group, healthy, listener, named, plane, serve, snapshot, to};

fn everybody(ports: (u16, u16)) -> Permission {
    Permission {
        ports,
        peer: Peer::Net("0.0.0.0/0".parse().unwrap()),
    }
}

fn only(address: IpAddr, ports: (u16, u16)) -> Permission {
    Permission {
        ports,
        peer: Peer::Net(address.into()),
    }
}

const ANY: (u16, u16) = (0, u16::MAX);

/// A load balancer that everybody may reach, before a target that lets the load balancer in.
async fn guarded() -> (IpAddr, Snapshot) {
    let at = named("inside").await;
    let (lb, mut world) = snapshot(listener(vec![], to(&[("g", 1)])), vec![group("g", vec![healthy(at)])]);
    let groups = BTreeMap::from([
        (
            "sg-lb".to_owned(),
            SecurityGroup {
                ingress: vec![everybody((PORT, PORT))],
                egress: vec![everybody(ANY)],
            },
        ),
        (
            "sg-node".to_owned(),
            SecurityGroup {
                ingress: vec![Permission {
                    ports: ANY,
                    peer: Peer::Group("sg-lb".into()),
                }],
                egress: vec![everybody(ANY)],
            },
        ),
    ]);
    let interface = |address: IpAddr, group: &str| Interface {
        net: address.into(),
        groups: vec![group.to_owned()],
    };
    let interfaces = vec![interface(lb, "sg-lb"), interface(at.ip(), "sg-node")];
    world.vpcs.insert("vpc".into(), Vpc { groups, interfaces });
    (lb, world)
}

#[tokio::test]
async fn a_target_that_does_not_let_the_load_balancer_in_times_out() {
    let (lb, mut world) = guarded().await;
    let (plane, _reports) = plane();
    serve(&plane, &world).await;
    assert_eq!(get(lb, "a.com", "/").await.body, "inside");
    world
        .vpcs
        .get_mut("vpc")
        .unwrap()
        .groups
        .get_mut("sg-node")
        .unwrap()
        .ingress
        .clear();
    serve(&plane, &world).await;
    assert_eq!(get(lb, "a.com", "/").await.status, 504);
}

#[tokio::test]
async fn a_client_that_is_not_let_in_hears_nothing_until_a_rule_lets_it_in() {
    let (lb, mut world) = guarded().await;
    let (plane, _reports) = plane();
    let (friend, stranger) = (address(), address());
    fn ingress(world: &mut Snapshot) -> &mut Vec<Permission> {
        &mut world
            .vpcs
            .get_mut("vpc")
            .unwrap()
            .groups
            .get_mut("sg-lb")
            .unwrap()
            .ingress
    }
    *ingress(&mut world) = vec![only(friend, (PORT, PORT))];
    serve(&plane, &world).await;
    let mut waiting = Client::over(connect(stranger, (lb, PORT).into()).await).await;
    let waiting = tokio::spawn(async move { waiting.get("a.com", "/").await.unwrap().body });
    let mut client = Client::over(connect(friend, (lb, PORT).into()).await).await;
    assert_eq!(client.get("a.com", "/").await.unwrap().body, "inside");
    assert!(
        !waiting.is_finished(),
        "the stranger came first and would have been answered first"
    );
    ingress(&mut world).push(only(stranger, (PORT, PORT)));
    serve(&plane, &world).await;
    assert_eq!(waiting.await.unwrap(), "inside");
}
