//! elbv2 as an SDK client sees it, through the door in process and under paused time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod door;
mod errors;
mod gate;
mod health;
mod life;
mod place;
mod rules;

use albacore_aws::{Double, Options};
use aws_sdk_elasticloadbalancingv2::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::{Client, Config};

/// A client of a double, in eu-west-1, that never retries.
fn client(double: &Double) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .http_client(double.http_client())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// A double without waits and its client.
fn instant() -> (Double, Client) {
    with(Options::instant())
}

/// A double and its client.
fn with(options: Options) -> (Double, Client) {
    let double = Double::new(options);
    let client = client(&double);
    (double, client)
}

/// How a call ended: `ok`, or the error code.
fn code<T, E: ProvideErrorMetadata, R>(result: &Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no answer").to_owned(),
    }
}
