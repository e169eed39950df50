//! `aws-double`: the AWS double alone, for a person or a test in another language.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use albacore_aws::dataplane::{self, DataPlane, Reach};
use albacore_aws::{Double, HealthMode, Options, dns, metadata};
use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A stand-in for AWS: elbv2, ec2, acm, sts, resourcegroupstaggingapi on one port.
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
    /// Let load balancers serve on their own addresses, and check targets. Only in a network namespace that leads nowhere:
    /// unshare --user --map-root-user --net sh -c 'ip link set lo up; ip route add local 10.0.0.0/8 dev lo; aws-double --dataplane'
    #[arg(long)]
    dataplane: bool,
    /// Answer DNS queries for the load balancers' names here, over UDP and TCP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns: Option<SocketAddr>,
    /// Serve instance metadata (IMDSv2) here: of the instance whose address asks, of the first one to others.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metadata: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let double = Double::new(Options {
        epoch: jiff::Timestamp::now(),
        provisioning: Duration::from_secs(args.provisioning),
        throttling: !args.no_throttling,
        health: if args.dataplane {
            HealthMode::Probed
        } else {
            HealthMode::Modelled
        },
        ..Options::default()
    });
    let _plane = match args.dataplane {
        true => Some(DataPlane::start(
            double.clone(),
            dataplane::Options::new(Reach::namespace()?),
        )),
        false => None,
    };
    let cannot = |address: SocketAddr| format!("cannot listen on {address}");
    let mut servers: JoinSet<Result<Infallible>> = JoinSet::new();
    if let Some(address) = args.dns {
        let server = dns::Server::bind(double.clone(), address, dns::Records::new()).await;
        let server = server.with_context(|| cannot(address))?;
        println!("DNS on {}", server.local_addr()?);
        servers.spawn(async { Ok(server.serve().await?) });
    }
    if let Some(address) = args.metadata {
        let server = metadata::Server::bind(double.clone(), address, metadata::Options::default()).await;
        let server = server.with_context(|| cannot(address))?;
        println!("instance metadata on http://{}", server.local_addr()?);
        servers.spawn(async { Ok(server.serve().await?) });
    }
    let address = SocketAddr::new(args.address, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| cannot(address))?;
    println!("AWS double on http://{}", listener.local_addr()?);
    servers.spawn(async move { Ok(double.serve(listener).await?) });
    tokio::select! {
        Some(ended) = servers.join_next() => match ended?? {},
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
