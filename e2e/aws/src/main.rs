//! `aws-double`: the AWS double alone, for a person or a test in another language.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use albacore_aws::{Double, Options};
use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;

/// A stand-in for AWS: elbv2, ec2, acm, sts on one port.
///
/// aws --endpoint-url http://127.0.0.1:PORT elbv2 describe-load-balancers
#[derive(Parser)]
struct Args {
    /// Port to listen on; 0 takes a free one. The address is printed.
    #[arg(long, default_value_t = 4566)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Seconds for which a new load balancer is `provisioning`.
    #[arg(long, default_value_t = 5)]
    provisioning: u64,
    /// Leave the documented request rates out.
    #[arg(long)]
    no_throttling: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind((args.address, args.port))
        .await
        .with_context(|| format!("cannot listen on {}:{}", args.address, args.port))?;
    let double = Double::new(Options {
        epoch: jiff::Timestamp::now(),
        provisioning: Duration::from_secs(args.provisioning),
        throttling: !args.no_throttling,
        ..Options::default()
    });
    println!("AWS double on http://{}", listener.local_addr()?);
    tokio::select! {
        ended = double.serve(listener) => match ended? {},
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
