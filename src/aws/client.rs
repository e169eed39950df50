//! The SDK's clients, and the only way out of the process for their requests.
//!
//! ```text
//! call ─► permit ─► SDK (no retries) ─► Gate: paid? ─► HTTP
//!                                         │ no
//!                                         ▼ refused: a bug, not a call
//! credentials ─► their own HTTP client, no permit needed, counted; held and renewed by `credentials`
//! ```

use super::credentials::{Renewed, Signed};
use super::fault::Fault;
use crate::budget::{Ask, Budget, Outcome, Permit, Service};
use crate::model::{Lane, Unit, VpcId};
use crate::telemetry::Clock;
use anyhow::{Context, Result, bail};
use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, imds, provider_config::ProviderConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::{ConnectorError, SdkError},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::{cell::Cell, collections::BTreeMap, convert::Infallible, fmt, time::Duration};

/// How long a call may take: shorter than what the lease must still be ours for when it is sent.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long instance metadata may take to answer; it is on the same machine.
const METADATA: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// Whether the call that is being made has a permit that was not used yet.
    static PAID: Cell<bool>;
}

/// What the operator said of AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsConfig {
    /// `--aws-region`; else found.
    pub region: Option<String>,
    /// `--aws-vpc-id`; else found.
    pub vpc: Option<VpcId>,
    /// `--aws-api-endpoints`: service id → URL.
    pub endpoints: BTreeMap<String, String>,
}

/// Where we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Region.
    pub region: String,
    /// VPC.
    pub vpc: VpcId,
}

/// Region and VPC: as given, else from instance metadata.
///
/// # Errors
/// What could not be found, and which flags to give.
pub async fn discover(config: &AwsConfig, budget: &Budget) -> Result<Place> {
    if let (Some(region), Some(vpc)) = (&config.region, &config.vpc) {
        return Ok(Place {
            region: region.clone(),
            vpc: vpc.clone(),
        });
    }
    // Without a region: looking for one would ask instance metadata too, through a client that is not ours.
    let provider = ProviderConfig::without_region().with_http_client(metered(https(), budget));
    let client = imds::Client::builder()
        .configure(&provider)
        .max_attempts(2)
        .connect_timeout(METADATA)
        .read_timeout(METADATA)
        .build();
    let ask = async |path: &str| -> Result<String> {
        let answer = client.get(path).await.with_context(|| {
            "region and VPC were not both given, and instance metadata cannot be reached (a pod is one hop too far \
             away unless the instance's hop limit is 2). Give --aws-region and --aws-vpc-id"
                .to_owned()
        })?;
        Ok(answer.as_ref().to_owned())
    };
    let region = match &config.region {
        Some(region) => region.clone(),
        None => ask("/latest/meta-data/placement/region").await?,
    };
    let vpc = match &config.vpc {
        Some(vpc) => vpc.clone(),
        None => {
            let mac = ask("/latest/meta-data/mac").await?;
            let vpc = ask(&format!(
                "/latest/meta-data/network/interfaces/macs/{}/vpc-id",
                mac.trim()
            ))
            .await?;
            if !vpc.starts_with("vpc-") {
                bail!("instance metadata names no VPC but `{vpc}`. Give --aws-vpc-id");
            }
            VpcId::from(vpc.trim())
        }
    };
    Ok(Place { region, vpc })
}

/// The clients.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub acm: aws_sdk_acm::Client,
}

impl Clients {
    /// Clients that send through `http`, with credentials of `source`.
    pub fn new(
        config: &AwsConfig,
        place: &Place,
        http: SharedHttpClient,
        source: SharedCredentialsProvider,
        clock: &Clock,
    ) -> Self {
        let mut shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(place.region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build())
            .credentials_provider(SharedCredentialsProvider::new(Renewed::new(source, clock.clone())))
            .identity_cache(IdentityCache::no_cache())
            .time_source(clock.clone())
            .http_client(Gate(http));
        shared.set_sleep_impl(Some(aws_smithy_runtime_api::shared::IntoShared::into_shared(
            aws_smithy_async::rt::sleep::TokioSleep::new(),
        )));
        let shared = shared.build();
        let url = |service: &str| config.endpoints.get(service).cloned();
        let mut elb = aws_sdk_elasticloadbalancingv2::config::Builder::from(&shared);
        elb.set_endpoint_url(url("Elastic Load Balancing v2"));
        let mut ec2 = aws_sdk_ec2::config::Builder::from(&shared);
        ec2.set_endpoint_url(url("EC2"));
        let mut acm = aws_sdk_acm::config::Builder::from(&shared);
        acm.set_endpoint_url(url("ACM"));
        Self {
            elb: aws_sdk_elasticloadbalancingv2::Client::from_conf(elb.build()),
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            acm: aws_sdk_acm::Client::from_conf(acm.build()),
        }
    }
}

/// The default chain of credentials: environment, profile, web identity, Pod Identity, instance metadata. Its own requests need
/// no permit.
///
/// # Errors
/// It cannot be set up.
pub(super) async fn default_chain(place: &Place, budget: &Budget) -> Result<SharedCredentialsProvider> {
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(place.region.clone()))
        .http_client(metered(https(), budget))
        .load()
        .await;
    shared.credentials_provider().context("no provider of credentials")
}

pub(super) fn https() -> SharedHttpClient {
    Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build_https()
}

/// The client of credential providers and of instance metadata: their requests need no permit, and are counted.
fn metered(http: SharedHttpClient, budget: &Budget) -> SharedHttpClient {
    SharedHttpClient::new(Metered {
        next: http,
        budget: budget.clone(),
    })
}

/// Sends a call that is paid for, and books how it ended.
pub(super) async fn send<T, E>(
    mut permit: Permit,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (service, operation) = (permit.ask().service, permit.ask().operation);
    permit.sent();
    // The SDK's futures are tens of kilobytes: on the heap they do not add up in whoever awaits them.
    let (answer, signed) = Signed::watching(PAID.scope(Cell::new(true), Box::pin(call))).await;
    let answer = answer.map_err(|error| Fault::new(service, operation, &error));
    if let Some(signed) = signed {
        signed.settle(&answer);
    }
    match &answer {
        // It was not signed, so it was not sent.
        Err(fault) if fault.is_unsent() => drop(permit),
        answer => {
            let outcome = answer.as_ref().map_or_else(|fault| fault.outcome(), |_| Outcome::Done);
            tracing::debug!(
                target: "albacore::calls",
                service = service.name(),
                operation,
                lane = permit.ask().lane.name(),
                unit = %permit.ask().unit,
                waited = ?permit.waited(),
                outcome = outcome.name(),
            );
            permit.settle(outcome);
        }
    }
    answer
}

/// Waits for the token of a read and sends it; a throttled one waits for the next.
pub(super) async fn read<T, E, F>(
    budget: &Budget,
    unit: &Unit,
    lane: Lane,
    what: (Service, &'static str),
    call: impl Fn() -> F,
) -> Result<T, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let never = std::future::pending::<Infallible>();
    match read_unless(budget, unit, lane, what, call, never).await? {
        Ok(answer) => Ok(answer),
        Err(never) => match never {},
    }
}

/// The same, unless `stop` ends before it is sent.
pub(super) async fn read_unless<T, E, F, S>(
    budget: &Budget,
    unit: &Unit,
    lane: Lane,
    what: (Service, &'static str),
    call: impl Fn() -> F,
    stop: impl Future<Output = S>,
) -> Result<Result<T, S>, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut stop = std::pin::pin!(stop);
    let mut again = false;
    loop {
        let ask = Ask {
            service: what.0,
            operation: what.1,
            lane,
            unit: unit.clone(),
        };
        if lane == Lane::Audit {
            budget.pace(what.0, what.1).await;
        }
        let permit = tokio::select! {
            biased;
            stopped = &mut stop => return Ok(Err(stopped)),
            permit = budget.acquire(ask).again(again) => permit,
        };
        match send(permit, call()).await {
            Err(fault) if fault.class == super::Class::Throttled => again = true,
            answer => return answer.map(Ok),
        }
    }
}

/// Lets requests out that are paid for, one a permit.
#[derive(Debug)]
struct Gate<T>(T);

impl HttpClient for Gate<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Gate(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for Gate<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if PAID.try_with(|paid| paid.replace(false)).unwrap_or(false) {
            return self.0.call(request);
        }
        debug_assert!(false, "a request without a permit: {}", request.uri());
        let error = ConnectorError::other("a request without a permit; this is a bug of albacore".into(), None);
        HttpConnectorFuture::ready(Err(error))
    }
}

/// Lets every request out, and counts it.
struct Metered<T> {
    next: T,
    budget: Budget,
}

impl<T> fmt::Debug for Metered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metered")
    }
}

impl HttpClient for Metered<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Metered {
            next: self.next.http_connector(settings, components),
            budget: self.budget.clone(),
        })
    }
}

impl HttpConnector for Metered<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.budget.book_credentials();
        self.next.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BudgetConfig;
    use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
    use aws_credential_types::provider::ProvideCredentials;
    use aws_smithy_types::body::SdkBody;
    use std::io::Write;

    /// Answers every request with this text.
    #[derive(Clone, Debug)]
    struct Answer(&'static str);

    impl HttpClient for Answer {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    impl HttpConnector for Answer {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let status = 200_u16.try_into().expect("a status");
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.0))))
        }
    }

    #[tokio::test]
    async fn a_token_is_exchanged_without_a_permit_and_counted() {
        let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
            <AccessKeyId>AKIA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
            <Expiration>2126-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
            </AssumeRoleWithWebIdentityResponse>";
        let mut token = tempfile::NamedTempFile::new().expect("a file");
        token.write_all(b"a token").expect("it is written");
        let budget = Budget::new(BudgetConfig::default());
        let provider = ProviderConfig::without_region()
            .with_region(Some(Region::from_static("us-east-1")))
            .with_http_client(metered(SharedHttpClient::new(Answer(answer)), &budget));
        let exchange = WebIdentityTokenCredentialsProvider::builder()
            .configure(&provider)
            .static_configuration(StaticConfiguration {
                web_identity_token_file: token.path().to_owned(),
                role_arn: "arn:aws:iam::123456789012:role/albacore".to_owned(),
                session_name: "albacore".to_owned(),
            })
            .build();
        let credentials = exchange.provide_credentials().await.expect("credentials");
        assert_eq!(credentials.access_key_id(), "AKIA");
        assert_eq!(budget.ledger().credentials, 1);
        assert_eq!(budget.ledger().by_kind.len(), 0, "no call was booked");
    }

    #[tokio::test]
    #[should_panic(expected = "a request without a permit")]
    async fn a_call_without_a_permit_does_not_leave() {
        let place = Place {
            region: "us-east-1".to_owned(),
            vpc: VpcId::from("vpc-1"),
        };
        let credentials = SharedCredentialsProvider::new(aws_credential_types::Credentials::for_tests());
        let http = SharedHttpClient::new(Answer(""));
        let clients = Clients::new(&AwsConfig::default(), &place, http, credentials, &Clock::system());
        drop(clients.elb.describe_load_balancers().send().await);
    }
}
