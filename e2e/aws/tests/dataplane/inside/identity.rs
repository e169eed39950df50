//! What programs learn of the instance they run on.

use std::net::{IpAddr, Ipv4Addr};

use albacore_aws::metadata::{self, Server};
use http::Request;
use serde_json::Value;

use super::place::{Place, probed};
use super::traffic::{Got, ask, connect};

const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

async fn send(from: IpAddr, method: &str, path: &str, header: (&str, &str)) -> Got {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "169.254.169.254");
    let request = request.header(header.0, header.1).body(String::new()).unwrap();
    ask(connect(from, (SERVICE, 80).into()).await.unwrap(), request).await
}

async fn read(from: IpAddr, path: &str) -> String {
    let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = send(from, "PUT", "/latest/api/token", ttl).await;
    assert_eq!((token.status, token.headers[ttl.0].to_str().unwrap()), (200, "60"));
    let got = send(from, "GET", path, ("x-aws-ec2-metadata-token", &token.body)).await;
    assert_eq!(got.status, 200, "{path}: {}", got.body);
    got.body
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn a_program_learns_region_vpc_and_credentials_of_its_own_instance() {
    let place = Place::build(30, probed()).await;
    let run = |subnet: usize, address: IpAddr| {
        let place = &place;
        async move {
            let params = [
                ("ImageId", "ami-0123456789abcdef0"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("SubnetId", &place.subnets[subnet]),
                ("PrivateIpAddress", &address.to_string()),
            ];
            let made = place.ec2("RunInstances", &params).await;
            (
                made.one("instanceId"),
                made.one("macAddress"),
                made.one("networkInterfaceId"),
            )
        }
    };
    let (one, one_mac, _) = run(0, place.at(0, 50)).await;
    let (other, _, interface) = run(1, place.at(1, 50)).await;
    let prefix = [
        ("NetworkInterfaceId", &*interface),
        ("Ipv4Prefix.1", &place.net("1.64/28")),
    ];
    place.ec2("AssignPrivateIpAddresses", &prefix).await;
    let options = metadata::Options {
        pods: vec![(place.net("100.0/24").parse().unwrap(), other.clone())],
        instance: Some(one.clone()),
        role: "node-role".into(),
    };
    let server = Server::bind(place.double.clone(), (SERVICE, 80).into(), options)
        .await
        .unwrap();
    tokio::spawn(server.serve());
    let calls = place.double.journal().len();

    let friend = place.friend();
    for (path, value) in [
        ("placement/region", "eu-west-1"),
        ("placement/availability-zone", "eu-west-1a"),
        ("mac", &one_mac),
        (&format!("network/interfaces/macs/{one_mac}/vpc-id"), &place.vpc),
        (
            &format!("network/interfaces/macs/{one_mac}/subnet-id"),
            &place.subnets[0],
        ),
        ("network/interfaces/macs/", &format!("{one_mac}/")),
        ("instance-id", &one),
        ("local-ipv4", &place.net("0.50")),
        ("iam/security-credentials/", "node-role"),
    ] {
        assert_eq!(
            read(friend, &format!("/latest/meta-data/{path}")).await,
            value,
            "{path}"
        );
    }
    let document = read(friend, "/latest/dynamic/instance-identity/document").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        (&document["region"], &document["instanceId"], &document["accountId"]),
        (&"eu-west-1".into(), &one.into(), &"123456789012".into())
    );
    let credentials = read(friend, "/latest/meta-data/iam/security-credentials/node-role").await;
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["Code"], "Success");
    assert!(credentials["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    let until: jiff::Timestamp = credentials["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(until > jiff::Timestamp::now());

    for (caller, why) in [
        (place.at(1, 50), "its own address"),
        (place.at(1, 65), "an address of a prefix delegated to it"),
        (place.at(100, 7), "an address of its pods"),
    ] {
        assert_eq!(read(caller, "/latest/meta-data/instance-id").await, other, "{why}");
    }
    assert_eq!(place.double.journal().len(), calls, "none of this is an AWS call");
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn version_one_is_off_and_tokens_are_given_to_instances_only() {
    let place = Place::build(31, probed()).await;
    let at = (place.at(0, 9), 80).into();
    let server = Server::bind(place.double.clone(), at, metadata::Options::default())
        .await
        .unwrap();
    tokio::spawn(server.serve());
    let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
    for (method, path, header, status) in [
        ("GET", "/latest/meta-data/instance-id", ("accept", "*/*"), 401),
        (
            "GET",
            "/latest/meta-data/instance-id",
            ("x-aws-ec2-metadata-token", "made-up"),
            401,
        ),
        ("PUT", "/latest/api/token", ("accept", "*/*"), 400),
        ("PUT", "/latest/api/token", (ttl, "0"), 400),
        ("PUT", "/latest/api/token", (ttl, "21601"), 400),
        ("PUT", "/latest/api/token", ("x-forwarded-for", "10.0.0.1"), 403),
        ("PUT", "/latest/meta-data/instance-id", (ttl, "60"), 405),
    ] {
        let request = Request::builder().method(method).uri(path).header(header.0, header.1);
        let stream = connect(place.friend(), at).await.unwrap();
        let got = ask(stream, request.body(String::new()).unwrap()).await;
        assert_eq!(got.status, status, "{method} {path} {header:?}");
    }
}
