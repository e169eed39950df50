//! Who may call: tokens for credentials of a role (web identity, EKS Pod Identity), and credentials that are not good, as SDK
//! clients see it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use albacore_aws::identity::issuer::Issuer;
use albacore_aws::identity::token::{Keys, Token, Wrong};
use albacore_aws::identity::trust::Trust;
use albacore_aws::identity::{Provider, Role, Session};
use albacore_aws::{Double, Options, pod_identity};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const ISSUER: &str = "https://oidc.example.com/id/1";
const ROLE: &str = "arn:aws:iam::123456789012:role/eks/albacore";
const POD: (&str, &str) = ("kube-system", "albacore");

fn code<T, E: ProvideErrorMetadata>(answer: &Result<T, SdkError<E>>) -> String {
    let error = answer.as_ref().err().and_then(SdkError::as_service_error);
    error.and_then(|error| error.code()).unwrap_or("no error").to_owned()
}

/// A double that asks for credentials, with an issuer, and a role that trusts one ServiceAccount by way of it.
fn place() -> (Double, Issuer) {
    let double = Double::new(Options {
        strict_credentials: true,
        ..Options::instant()
    });
    let issuer = Issuer::new(ISSUER).unwrap();
    let provider = Provider {
        url: ISSUER.to_owned(),
        audiences: vec!["sts.amazonaws.com".to_owned()],
        keys: issuer.keys(),
    };
    let mut world = double.world();
    let provider = world.identity.add_provider("123456789012", provider);
    let trust = Trust::parse(json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            "oidc.example.com/id/1:aud": "sts.amazonaws.com",
            "oidc.example.com/id/1:sub": "system:serviceaccount:kube-system:albacore",
        }},
    }]}));
    world
        .identity
        .roles
        .insert(ROLE.to_owned(), Role::trusting(trust.unwrap()));
    drop(world);
    (double, issuer)
}

async fn config(double: &Double, credentials: Option<Credentials>) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region("eu-west-1")
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(double.http_client());
    match credentials {
        Some(credentials) => loader.credentials_provider(credentials).load().await,
        None => loader.no_credentials().load().await,
    }
}

async fn assume(
    double: &Double,
    role: &str,
    token: &str,
) -> Result<
    aws_sdk_sts::types::Credentials,
    SdkError<aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError>,
> {
    let sts = aws_sdk_sts::Client::new(&config(double, None).await);
    let call = sts.assume_role_with_web_identity().role_arn(role);
    let answer = call.role_session_name("pod").web_identity_token(token).send().await?;
    Ok(answer.credentials.unwrap())
}

fn with(granted: &aws_sdk_sts::types::Credentials, token: Option<&str>) -> Credentials {
    let (key, secret) = (granted.access_key_id(), granted.secret_access_key());
    Credentials::new(key, secret, token.map(str::to_owned), None, "test")
}

#[tokio::test(start_paused = true)]
async fn a_token_is_exchanged_only_if_issuer_signature_audience_time_and_subject_are_right() {
    let (double, issuer) = place();
    let later = double.now() + Duration::from_secs(600);
    let token = |of: &Issuer, pod, audience, until| of.token(pod, audience, until).unwrap();
    let good = token(&issuer, POD, "sts.amazonaws.com", later);
    assert!(assume(&double, ROLE, &good).await.is_ok());

    let impostor = Issuer::new(ISSUER).unwrap();
    let stranger = Issuer::new("https://oidc.example.com/id/2").unwrap();
    let other = "arn:aws:iam::123456789012:role/other";
    let cases = [
        (ROLE, "no token at all".to_owned(), "InvalidIdentityToken"),
        (
            ROLE,
            token(&impostor, POD, "sts.amazonaws.com", later),
            "InvalidIdentityToken",
        ),
        (
            ROLE,
            token(&stranger, POD, "sts.amazonaws.com", later),
            "InvalidIdentityToken",
        ),
        (
            ROLE,
            token(&issuer, POD, "pods.eks.amazonaws.com", later),
            "InvalidIdentityToken",
        ),
        (
            ROLE,
            token(&issuer, POD, "sts.amazonaws.com", double.now()),
            "ExpiredTokenException",
        ),
        (
            ROLE,
            token(&issuer, ("default", "albacore"), "sts.amazonaws.com", later),
            "AccessDenied",
        ),
        (other, good, "AccessDenied"),
    ];
    for (role, token, expected) in cases {
        assert_eq!(code(&assume(&double, role, &token).await), expected, "{role} {token}");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_serve_until_they_end_or_are_revoked_and_each_service_refuses_in_its_own_words() {
    let (double, issuer) = place();
    let later = double.now() + Duration::from_secs(86_400);
    let token = issuer.token(POD, "sts.amazonaws.com", later).unwrap();
    let granted = assume(&double, ROLE, &token).await.unwrap();
    let codes = async |credentials: Credentials| {
        let config = config(&double, Some(credentials)).await;
        let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config);
        let ec2 = aws_sdk_ec2::Client::new(&config);
        let acm = aws_sdk_acm::Client::new(&config);
        [
            code(&elb.describe_load_balancers().send().await),
            code(&ec2.describe_vpcs().send().await),
            code(&acm.list_certificates().send().await),
        ]
    };
    let good = || with(&granted, Some(granted.session_token()));
    let sts = aws_sdk_sts::Client::new(&config(&double, Some(good())).await);
    let who = sts.get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some("arn:aws:sts::123456789012:assumed-role/albacore/pod"));
    assert_eq!(codes(good()).await, ["no error"; 3]);

    let unknown = ["InvalidClientTokenId", "AuthFailure", "UnrecognizedClientException"];
    assert_eq!(codes(with(&granted, None)).await, unknown, "without its session token");
    assert_eq!(
        codes(Credentials::new("AKIDNOBODY", "s", None, None, "test")).await,
        unknown
    );
    tokio::time::advance(Duration::from_secs(3600)).await;
    let expired = ["ExpiredToken", "RequestExpired", "ExpiredTokenException"];
    assert_eq!(codes(good()).await, expired);

    let granted = assume(&double, ROLE, &token).await.unwrap();
    double.world().identity.revoke(ROLE);
    assert_eq!(codes(with(&granted, Some(granted.session_token()))).await, unknown);
}

#[tokio::test(start_paused = true)]
async fn a_users_own_key_needs_no_session_token() {
    let (double, _) = place();
    let session = Session {
        arn: "arn:aws:iam::123456789012:user/admin".to_owned(),
        token: None,
        expiration: None,
    };
    let key = "AKIDEXAMPLE".to_owned();
    double.world().identity.sessions.insert(key, session);
    let user = Credentials::new("AKIDEXAMPLE", "s", None, None, "test");
    let sts = aws_sdk_sts::Client::new(&config(&double, Some(user)).await);
    let who = sts.get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some("arn:aws:iam::123456789012:user/admin"));
}

#[test]
fn a_token_signed_with_rsa_is_verified_too() {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // RSAPublicKey in DER: 256 bytes of modulus begin after nine of headers, and 65537 ends it.
    let public = key.public_key().as_ref();
    let (n, e) = (text(&public[9..265]), text(&public[267..]));
    let jwks = json!({"keys": [{"kid": "k", "kty": "RSA", "alg": "RS256", "n": n, "e": e}]});
    let keys: Keys = serde_json::from_value(jwks).unwrap();
    let sign = |header: Value| {
        let claims = json!({"iss": ISSUER, "sub": "system:serviceaccount:a:b", "aud": "x", "exp": 1});
        let signed = [header, claims].map(|part| text(part.to_string().as_bytes())).join(".");
        let mut signature = vec![0; key.public_modulus_len()];
        let random = SystemRandom::new();
        key.sign(&signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .unwrap();
        Token::parse(&format!("{signed}.{}", text(&signature))).unwrap()
    };
    assert_eq!(keys.verify(&sign(json!({"alg": "RS256", "kid": "k"}))), Ok(()));
    assert_eq!(
        keys.verify(&sign(json!({"alg": "RS512", "kid": "k"}))),
        Err(Wrong::Signature)
    );
    assert_eq!(keys.verify(&sign(json!({"alg": "none", "kid": "k"}))), Err(Wrong::Key));
    assert_eq!(keys.verify(&sign(json!({"alg": "RS256", "kid": "j"}))), Err(Wrong::Key));
}

#[tokio::test]
async fn the_pod_identity_agent_gives_a_pod_the_role_of_its_association() {
    let (double, issuer) = place();
    let options = pod_identity::Options {
        cluster: "demo".to_owned(),
        issuer: ISSUER.to_owned(),
        keys: issuer.keys(),
        life: pod_identity::LIFE,
    };
    let agent = pod_identity::Server::bind(double.clone(), ([127, 0, 0, 1], 0).into(), options)
        .await
        .unwrap();
    let address = agent.local_addr().unwrap();
    let serving = tokio::spawn(agent.serve());
    let ask = async |path: &str, token: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "169.254.170.23")
            .header("authorization", token);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let token = |pod, audience, until: Timestamp| issuer.token(pod, audience, until).unwrap();
    let later = double.now() + Duration::from_secs(600);
    let good = token(POD, pod_identity::AUDIENCE, later);
    let path = "/v1/credentials";

    let (status, text) = ask(path, &good).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("ResourceNotFoundException"), "{text}");
    let associate = |role: &str| {
        let pod = ("demo".to_owned(), POD.0.to_owned(), POD.1.to_owned());
        double.world().identity.associations.insert(pod, role.to_owned());
    };
    associate(ROLE);
    let (_, text) = ask(path, &good).await;
    assert!(
        text.contains("AccessDeniedException"),
        "the role does not trust the agent: {text}"
    );
    let role = "arn:aws:iam::123456789012:role/pods";
    associate(role);
    let trust = Trust::parse(json!({"Statement": [{
        "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"],
    }]}));
    let trusting = Role::trusting(trust.unwrap());
    double.world().identity.roles.insert(role.to_owned(), trusting);

    let (status, text) = ask(path, &good).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let given: Value = serde_json::from_str(&text).unwrap();
    let text = |name: &str| given[name].as_str().unwrap().to_owned();
    let credentials = Credentials::new(
        text("AccessKeyId"),
        text("SecretAccessKey"),
        Some(text("Token")),
        None,
        "test",
    );
    let sts = aws_sdk_sts::Client::new(&config(&double, Some(credentials)).await);
    let who = sts.get_caller_identity().send().await.unwrap();
    let arn = who.arn().unwrap();
    assert!(
        arn.starts_with("arn:aws:sts::123456789012:assumed-role/pods/eks-demo-albacore-"),
        "{arn}"
    );
    let lasts = text("Expiration").parse::<Timestamp>().unwrap() - double.now();
    assert!(
        (5..=6).contains(&lasts.get_hours()) || lasts.get_seconds() > 20_000,
        "{lasts}"
    );

    for (token, says) in [
        (String::new(), "cannot be empty"),
        ("nonsense".to_owned(), "cannot be parsed"),
        (token(POD, pod_identity::AUDIENCE, double.now()), "expired"),
        (token(POD, "sts.amazonaws.com", later), "InvalidTokenException"),
    ] {
        let (status, text) = ask(path, &token).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(ask("/", &good).await.0, StatusCode::NOT_FOUND);
    serving.abort();
}
