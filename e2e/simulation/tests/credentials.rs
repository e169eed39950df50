//! Credentials that end, tokens that are rotated, roles that are lost and given back: under paused time, with the double's STS.

use albacore_aws::{
    Options,
    call::Service,
    faults::{Fault, Kind},
    identity::{Provider, Role, issuer::Issuer, trust::Trust},
    journal::Entry,
    world::ACCOUNT,
};
use albacore_simulation::{
    bed::{Bed, Calls},
    objects::Ingress,
    world::REGION,
};
use aws_config::{
    Region,
    provider_config::ProviderConfig,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::time::sleep;

const ISSUER: &str = "https://oidc.example.com/id/1";
const ROLE: &str = "arn:aws:iam::123456789012:role/albacore";
const MINUTE: Duration = Duration::from_secs(60);
/// Life of a token; STS' credentials live for an hour whatever the token's life is.
const TOKEN: Duration = Duration::from_secs(2 * 3600);

/// A bed whose AWS takes only credentials that it handed out, and a pod's token for the role.
struct Pod {
    bed: Bed,
    issuer: Issuer,
    trust: Trust,
    folder: TempDir,
}

impl Pod {
    async fn new() -> Self {
        let bed = Bed::new(Options::default()).await;
        let issuer = Issuer::new(ISSUER).expect("a key");
        let provider = Provider {
            url: ISSUER.to_owned(),
            audiences: vec!["sts.amazonaws.com".to_owned()],
            keys: issuer.keys(),
        };
        bed.double.configure(|options| options.strict_credentials = true);
        let provider = bed.double.world().identity.add_provider(ACCOUNT, provider);
        let trust = Trust::parse(json!({"Statement": [{
            "Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"oidc.example.com/id/1:sub": "system:serviceaccount:kube-system:albacore"}},
        }]}));
        let pod = Self {
            bed,
            issuer,
            trust: trust.expect("a trust policy"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        pod.give_role();
        pod.rotate();
        pod
    }

    fn give_role(&self) {
        let role = Role::trusting(self.trust.clone());
        self.bed.double.world().identity.roles.insert(ROLE.to_owned(), role);
    }

    /// The role is deleted, and its sessions with it.
    fn take_role(&self) {
        let mut world = self.bed.double.world();
        world.identity.roles.remove(ROLE);
        world.identity.revoke(ROLE);
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// A new token is in the file, as a kubelet puts one there.
    fn rotate(&self) {
        let until = self.bed.double.now() + TOKEN;
        let token = self
            .issuer
            .token(("kube-system", "albacore"), "sts.amazonaws.com", until);
        fs::write(self.file(), token.expect("a token")).expect("it is written");
    }

    /// Credentials by web identity, as the variables that EKS gives a pod make the SDK look for them.
    fn credentials(&self) -> SharedCredentialsProvider {
        let config = ProviderConfig::without_region()
            .with_region(Some(Region::from_static(REGION)))
            .with_http_client(self.bed.double.http_client());
        let provider = WebIdentityTokenCredentialsProvider::builder()
            .configure(&config)
            .static_configuration(StaticConfiguration {
                web_identity_token_file: self.file(),
                role_arn: ROLE.to_owned(),
                session_name: "albacore".to_owned(),
            })
            .build();
        SharedCredentialsProvider::new(provider)
    }

    fn apply(&self, path: &str) {
        let ingress = Ingress::new("shop", "web").host("shop.example.com", &[(path, "a")]);
        self.bed.apply(ingress.object());
    }

    /// What users were told of their Ingress.
    fn told(&self) -> String {
        let events = self.bed.list("events.k8s.io/v1", "Event");
        events
            .iter()
            .filter_map(|event| event["note"].as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn serves(&self, path: &str) -> bool {
        let world = self.bed.double.world();
        let mut rules = world.regions.values().flat_map(|region| region.elbv2.rules.values());
        rules.any(|rule| format!("{rule:?}").contains(&format!("{path:?}")))
    }
}

fn exchanges(calls: &Calls) -> usize {
    calls.0.iter().filter(|call| call.service == Service::Sts).count()
}

/// Calls that AWS did not take for want of credentials.
fn unauthenticated(calls: &Calls) -> Vec<&Entry> {
    let codes = ["InvalidClientTokenId", "AuthFailure", "ExpiredToken", "RequestExpired"];
    let refused = |call: &&Entry| call.error.as_deref().is_some_and(|code| codes.contains(&code));
    calls.0.iter().filter(refused).collect()
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_before_they_end_with_the_token_that_is_there_then() {
    let mut pod = Pod::new().await;
    pod.bed.start_as(pod.credentials());
    // Six hours: credentials of one hour end six times, tokens of two hours three times.
    for number in 0..36 {
        pod.apply(&format!("/{number}"));
        sleep(MINUTE * 10).await;
        if number % 6 == 0 {
            pod.rotate();
        }
    }
    let calls = pod.bed.take_calls();
    assert!(pod.serves("/35"));
    let failed: Vec<&Entry> = calls.0.iter().filter(|call| call.error.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // Changes come every ten minutes, credentials are renewed when less than five are left: after 60 minutes at the latest.
    assert!((6..=8).contains(&exchanges(&calls)), "{}", exchanges(&calls));
}

#[tokio::test(start_paused = true)]
async fn while_nobody_gives_credentials_the_old_ones_serve_until_they_end() {
    let mut pod = Pod::new().await;
    pod.bed.start_as(pod.credentials());
    let sts_is_down = || {
        let error = Kind::Error {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            message: "down".to_owned(),
        };
        let always = Fault::new(error).of("AssumeRoleWithWebIdentity").times(u64::MAX);
        pod.bed.double.inject(always);
    };
    pod.apply("/0");
    sleep(MINUTE * 50).await;
    sts_is_down();
    sleep(MINUTE * 7).await;
    pod.apply("/57");
    sleep(MINUTE).await;
    assert!(pod.serves("/57"), "with credentials that have three minutes left");
    pod.bed.double.clear_faults();
    pod.apply("/58");
    sleep(MINUTE).await;
    sts_is_down();
    sleep(MINUTE * 2).await;
    pod.apply("/61");
    sleep(MINUTE).await;
    assert!(
        pod.serves("/61"),
        "with credentials that were renewed while the old ones were good"
    );
    assert!(!pod.told().contains("credentials"), "{}", pod.told());
}

#[tokio::test(start_paused = true)]
async fn a_lost_role_is_told_with_what_to_check_burns_no_calls_and_everything_is_made_up_for() {
    let mut pod = Pod::new().await;
    pod.bed.start_as(pod.credentials());
    pod.apply("/before");
    pod.bed.settle().await;
    assert!(pod.serves("/before"));
    let had = pod.bed.holds();
    pod.bed.take_calls();

    pod.take_role();
    pod.apply("/after");
    sleep(MINUTE * 60).await;
    let told = pod.told();
    assert!(told.lines().count() <= 4, "the same is told once: {told}");
    for word in [
        "InvalidClientTokenId",
        "AccessDenied",
        "trust policy",
        "eks.amazonaws.com/role-arn",
    ] {
        assert!(told.contains(word), "no {word} in: {told}");
    }
    let calls = pod.bed.take_calls();
    let refused = unauthenticated(&calls);
    assert_eq!(refused.len(), 1, "the first refusal says enough: {refused:#?}");
    // At most one in five minutes, after the first few.
    assert!((5..=18).contains(&exchanges(&calls)), "{}", exchanges(&calls));
    assert_eq!(calls.0.len(), refused.len() + exchanges(&calls), "{:#?}", calls.told());

    pod.give_role();
    sleep(MINUTE * 10).await;
    assert!(pod.serves("/after") && !pod.serves("/before"));
    assert_eq!(pod.bed.holds(), had, "nothing was lost, nothing made twice");
    let calls = pod.bed.take_calls();
    assert_eq!(
        calls.reads(Service::Elbv2),
        [""; 0],
        "what is remembered is still believed"
    );
    assert_eq!(exchanges(&calls), 1);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_nobody_can_renew_are_tried_again_by_one_call_at_a_time() {
    let mut pod = Pod::new().await;
    let own = Credentials::new("AKIDNOBODY", "secret", None, None, "environment");
    pod.bed.start_as(SharedCredentialsProvider::new(own));
    for name in ["one", "two", "three", "four", "five"] {
        let ingress = Ingress::new("shop", name).host(&format!("{name}.example.com"), &[("/", "a")]);
        pod.bed.apply(ingress.object());
    }
    sleep(MINUTE * 60).await;
    let calls = pod.bed.take_calls();
    // Those under way together, then one each time: 10, 20, 40, … 300 seconds later.
    let refused = unauthenticated(&calls).len();
    assert_eq!(refused, calls.0.len());
    assert!(refused <= 24, "{refused}: {:#?}", calls.told());
    assert_eq!(pod.bed.holds(), (0, 0, 0, 0));
}
