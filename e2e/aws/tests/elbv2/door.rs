//! The door for everybody else: a socket, and the orders under `/_admin/`. In real time, without waiting for any.

use albacore_aws::elbv2::TargetKey;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::place::{build, load_balancer, target_group};
use super::*;

/// A client on the other side of a socket.
struct Caller {
    http: Http<HttpConnector, Full<Bytes>>,
    address: String,
}

impl Caller {
    async fn of(double: &Double) -> Caller {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let double = double.clone();
        tokio::spawn(async move { double.serve(socket).await });
        Caller {
            http: Http::builder(TokioExecutor::new()).build_http(),
            address,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Option<(StatusCode, String)> {
        let response = self.http.request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// A call of a service, signed by nobody in particular.
    async fn call(&self, service: &str, form: &str) -> Option<(StatusCode, String)> {
        let credential =
            format!("AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/{service}/aws4_request, Signature=x");
        let request = Request::post(&self.address).header("authorization", credential);
        self.send(request.body(Full::from(form.to_owned())).unwrap()).await
    }

    /// An order to the double.
    async fn order(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_admin/{path}", self.address));
        let (status, text) = self
            .send(request.body(Full::from(body.to_string())).unwrap())
            .await
            .unwrap();
        (status, serde_json::from_str(&text).unwrap())
    }
}

#[tokio::test]
async fn answers_and_refusals_are_aws_documents() {
    let caller = Caller::of(&Double::new(Options::instant())).await;
    let (status, text) = caller
        .call(
            "elasticloadbalancing",
            "Action=DescribeAccountLimits&Version=2015-12-01&PageSize=1",
        )
        .await
        .unwrap();
    assert_eq!(status, StatusCode::OK);
    let head = "<DescribeAccountLimitsResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><DescribeAccountLimitsResult><Limits><member>";
    assert!(text.contains(head), "{text}");
    let (status, text) = caller
        .call("elasticloadbalancing", "Action=DescribeNothing&Version=2015-12-01")
        .await
        .unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("<Code>InvalidAction</Code><Message>Could not find operation DescribeNothing for version 2015-12-01</Message>"), "{text}");
    let (status, text) = caller
        .call(
            "elasticloadbalancing",
            "Action=DescribeLoadBalancers&Version=2012-06-01",
        )
        .await
        .unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "the older API is not spoken: {text}");
    let unsigned = Request::post(&caller.address)
        .body(Full::from("Action=DescribeLoadBalancers"))
        .unwrap();
    let (status, text) = caller.send(unsigned).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("<Code>MissingAuthenticationToken</Code>"), "{text}");
}

#[tokio::test]
async fn a_scripted_reset_cuts_the_socket() {
    let double = Double::new(Options::instant());
    let caller = Caller::of(&double).await;
    let fault = json!({"service": "elbv2", "operation": "DescribeLoadBalancers", "kind": "reset_before"});
    assert_eq!(caller.order(Method::POST, "faults", fault).await.0, StatusCode::OK);
    let call = || {
        caller.call(
            "elasticloadbalancing",
            "Action=DescribeLoadBalancers&Version=2015-12-01",
        )
    };
    assert_eq!(call().await, None);
    assert_eq!(call().await.unwrap().0, StatusCode::OK);
    let (_, journal) = caller.order(Method::GET, "journal", Value::Null).await;
    assert_eq!((&journal[0]["cut"], &journal[1]["cut"]), (&json!(true), &json!(false)));
    assert_eq!(
        caller
            .order(Method::GET, "journal?after=1", Value::Null)
            .await
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn orders_are_carried_out() {
    let (double, client) = with(Options::instant());
    build(&double);
    load_balancer(&client, "web").await;
    let group = target_group(&client, "one").await;
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(place::target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    let caller = Caller::of(&double).await;
    let count = || {
        double
            .world()
            .regions
            .values()
            .map(|region| region.elbv2.load_balancers.len())
            .sum::<usize>()
    };

    let options = json!({"provisioning": 7.5, "throttling": true, "health": "probed"});
    assert_eq!(caller.order(Method::PATCH, "options", options).await.0, StatusCode::OK);
    assert_eq!(
        double.world().options.provisioning,
        std::time::Duration::from_millis(7500)
    );
    let unknown = caller
        .order(Method::PATCH, "options", json!({"provisionning": 1}))
        .await;
    assert_eq!(
        unknown,
        (StatusCode::BAD_REQUEST, json!({"error": "no option 'provisionning'"}))
    );

    let quota = json!({"region": "eu-west-1", "name": "target-groups", "max": 1});
    caller.order(Method::PUT, "quota", quota).await;
    let more = client
        .create_target_group()
        .name("two")
        .protocol("HTTP".into())
        .port(80)
        .vpc_id(place::VPC)
        .send()
        .await;
    assert_eq!(code(&more), "TooManyTargetGroups");

    let health = json!({"region": "eu-west-1", "target_group": group, "id": "10.0.1.9", "port": 8080, "state": "unhealthy",
                        "reason": "Target.Timeout", "description": "Request timed out"});
    caller.order(Method::PUT, "health", health).await;
    let key = TargetKey {
        id: "10.0.1.9".into(),
        port: 8080,
    };
    let reported = double
        .world()
        .regions
        .values()
        .find_map(|region| region.elbv2.target_groups[&group].targets[&key].report.clone());
    assert!(reported.is_some());

    let before = double.now();
    caller.order(Method::POST, "skip", json!({"seconds": 3600})).await;
    assert!(double.now().duration_since(before).as_secs() >= 3600);

    caller.order(Method::POST, "snapshots/one", Value::Null).await;
    caller.order(Method::POST, "reset", Value::Null).await;
    assert_eq!((count(), double.journal().len()), (0, 0));
    assert_eq!(
        caller.order(Method::POST, "snapshots/one/restore", Value::Null).await.0,
        StatusCode::OK
    );
    assert_eq!(count(), 1);
    assert_eq!(
        caller.order(Method::POST, "snapshots/two/restore", Value::Null).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        caller.order(Method::GET, "nothing", Value::Null).await.0,
        StatusCode::NOT_FOUND
    );
}
