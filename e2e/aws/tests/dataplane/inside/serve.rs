//! What clients get.

use std::io::ErrorKind;
use std::time::Duration;

use albacore_aws::Options;
use hickory_proto::op::ResponseCode;
use http::Request;
use tokio::time::timeout;

use super::place::{Place, probed};
use super::traffic::{ask, connect, get, get_tls, target};

const NOT_FOUND: [(&str, &str); 4] = [
    ("Protocol", "HTTP"),
    ("DefaultActions.member.1.Type", "fixed-response"),
    ("DefaultActions.member.1.FixedResponseConfig.StatusCode", "404"),
    ("DefaultActions.member.1.FixedResponseConfig.MessageBody", "nobody"),
];

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn http_and_https_reach_a_healthy_target_and_each_name_shows_its_certificate() {
    let place = Place::build(10, probed()).await;
    let pod = place.at(0, 100);
    target((pod, 8080).into(), "pod").await;
    let group = place.target_group("pods", "ip", 8080).await;
    place.register(&group, &pod.to_string(), 8080).await;
    let [first, second] =
        ["a.example.com", "*.b.org"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let (one, other) = (place.import(&first).await, place.import(&second).await);
    let forward = [
        ("Protocol", "HTTP"),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", &group),
    ];
    place.listener(80, &forward).await;
    let mut https = forward.to_vec();
    https[0] = ("Protocol", "HTTPS");
    https.push(("Certificates.member.1.CertificateArn", &one));
    let https = place.listener(443, &https).await;
    let params = [
        ("ListenerArn", &*https),
        ("Certificates.member.1.CertificateArn", &other),
    ];
    place.elbv2("AddListenerCertificates", &params).await;
    place.becomes(&group, &pod.to_string(), "healthy").await;

    let addresses = place.resolve(&place.name).await.unwrap();
    assert_eq!(addresses.len(), 2, "one in each zone");
    let friend = place.friend();
    for address in addresses {
        let got = get(friend, address, "a.example.com", "/x?y=1").await;
        assert_eq!((got.status, got.name()), (200, "pod"));
        for line in [
            "GET /x?y=1",
            &format!("peer: {address}"),
            &format!("x-forwarded-for: {friend}"),
            "x-forwarded-proto: http",
            "x-forwarded-port: 80",
            "host: a.example.com",
        ] {
            assert!(got.saw(line), "{line} in {}", got.body);
        }
        for (name, certificate) in [("a.example.com", &first), ("www.b.org", &second), ("c.net", &first)] {
            let (got, shown) = get_tls(friend, address, name, "/").await;
            assert!(
                got.saw("x-forwarded-proto: https") && got.saw("x-forwarded-port: 443"),
                "{}",
                got.body
            );
            assert_eq!(&shown, certificate.cert.der(), "{name}");
        }
    }
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn a_client_that_no_rule_admits_hears_nothing_until_one_does() {
    let place = Place::build(11, probed()).await;
    place.listener(80, &NOT_FOUND).await;
    let (address, stranger) = (place.address().await, place.at(201, 1));
    assert_eq!(get(place.friend(), address, "a", "/").await.body, "nobody");
    let request = Request::get("/").header("host", "a").body(String::new()).unwrap();
    let waiting = ask(connect(stranger, (address, 80).into()).await.unwrap(), request);
    let mut waiting = std::pin::pin!(waiting);
    let silence = timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(silence.is_err(), "{silence:?}");
    let everybody = place.net("0.0/16");
    place
        .let_in(&place.group, "80", ("IpRanges.1.CidrIp", &everybody))
        .await;
    assert_eq!(waiting.await.body, "nobody");
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn rules_are_met_in_their_order_and_change_under_an_open_load_balancer() {
    let place = Place::build(12, probed()).await;
    let listener = place.listener(80, &NOT_FOUND).await;
    let rule = |priority: &'static str, more: Vec<(&'static str, &'static str)>| {
        let (place, listener) = (&place, &listener);
        async move {
            let mut params = vec![("ListenerArn", &**listener), ("Priority", priority)];
            params.extend(more);
            let arn = place.elbv2("CreateRule", &params).await.one("RuleArn");
            place.settled().await;
            arn
        }
    };
    rule(
        "2",
        vec![
            ("Conditions.member.1.Field", "host-header"),
            ("Conditions.member.1.Values.member.1", "*.example.com"),
            ("Actions.member.1.Type", "redirect"),
            ("Actions.member.1.RedirectConfig.Protocol", "HTTPS"),
            ("Actions.member.1.RedirectConfig.Port", "443"),
            ("Actions.member.1.RedirectConfig.StatusCode", "HTTP_301"),
        ],
    )
    .await;
    let teapot = rule(
        "1",
        vec![
            ("Conditions.member.1.Field", "path-pattern"),
            ("Conditions.member.1.Values.member.1", "/tea/*"),
            ("Actions.member.1.Type", "fixed-response"),
            ("Actions.member.1.FixedResponseConfig.StatusCode", "418"),
        ],
    )
    .await;
    let (friend, address) = (place.friend(), place.address().await);
    assert_eq!(get(friend, address, "shop.example.com", "/tea/pot").await.status, 418);
    let moved = get(friend, address, "shop.example.com", "/tea?hot").await;
    assert_eq!(
        (moved.status, moved.location()),
        (301, "https://shop.example.com:443/tea?hot")
    );
    assert_eq!(get(friend, address, "example.com", "/").await.status, 404);
    place.elbv2("DeleteRule", &[("RuleArn", &teapot)]).await;
    place.settled().await;
    assert_eq!(get(friend, address, "shop.example.com", "/tea/pot").await.status, 301);
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn a_load_balancer_serves_from_active_until_deleted_and_its_name_lives_as_long() {
    let provisioning = Duration::from_secs(3600);
    let place = Place::build(
        13,
        Options {
            provisioning,
            ..probed()
        },
    )
    .await;
    place.listener(80, &NOT_FOUND).await;
    let (friend, address) = (place.friend(), place.address().await);
    let refused = connect(friend, (address, 80).into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    place.double.skip(provisioning);
    place.settled().await;
    assert_eq!(get(friend, address, "a", "/").await.status, 404);
    let dualstack = format!("dualstack.{}", place.name);
    assert_eq!(place.resolve(&dualstack).await.unwrap()[0], address);
    let balancer = [("LoadBalancerArn", &*place.balancer)];
    place.elbv2("DeleteLoadBalancer", &balancer).await;
    place.settled().await;
    let refused = connect(friend, (address, 80).into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(place.resolve(&place.name).await, Err(ResponseCode::NXDomain));
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn what_only_the_passing_of_time_changes_is_served_too() {
    let provisioning = Duration::from_secs(1);
    let place = Place::build(
        14,
        Options {
            provisioning,
            ..probed()
        },
    )
    .await;
    place.listener(80, &NOT_FOUND).await;
    let (friend, address) = (place.friend(), place.address().await);
    let served = async {
        while connect(friend, (address, 80).into()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), served).await.unwrap();
    assert_eq!(get(friend, address, "a", "/").await.status, 404);
}
