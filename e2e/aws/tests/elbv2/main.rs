//! elbv2 as an SDK client sees it, through the door in process and under paused time.

mod core;

use albacore_aws::{Double, Options};
use aws_sdk_elasticloadbalancingv2::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
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
    let double = Double::new(Options::instant());
    let client = client(&double);
    (double, client)
}
