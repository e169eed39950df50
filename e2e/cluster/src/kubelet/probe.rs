//! Probes: asked from the node, as a kubelet does, and counted against their thresholds.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Where a container's probes and hooks go: from the node's address to the pod's, or into the process' namespaces.
#[derive(Clone)]
pub(super) struct Target {
    pub node: Ipv4Addr,
    pub pod: Ipv4Addr,
    pub process: u32,
    pub container: Container,
}

/// Results in a row against the thresholds.
#[derive(Debug, PartialEq)]
struct Tally {
    up: bool,
    against: u32,
}

impl Tally {
    /// Notes a result; the answer changes only after as many in a row as the threshold of that direction says.
    fn note(&mut self, success: bool, success_threshold: u32, failure_threshold: u32) -> bool {
        if success == self.up {
            self.against = 0;
        } else {
            self.against += 1;
            if self.against >= if success { success_threshold } else { failure_threshold } {
                *self = Self {
                    up: success,
                    against: 0,
                };
            }
        }
        self.up
    }
}

/// Reports the answer of a readiness probe to `changed` after every check, forever.
pub(super) async fn readiness(probe: &Probe, target: &Target, mut up: bool, changed: impl Fn(bool)) {
    let mut tally = Tally { up, against: 0 };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    loop {
        let success = check(probe, target).await.is_ok();
        let now = tally.note(
            success,
            count(probe.success_threshold, 1),
            count(probe.failure_threshold, 3),
        );
        if now != up {
            up = now;
            changed(up);
        }
        sleep(seconds(probe.period_seconds, 10)).await;
    }
}

/// Returns, with the last reason, when a liveness probe has failed as often in a row as it may.
pub(super) async fn until_failed(probe: &Probe, target: &Target) -> anyhow::Error {
    let mut tally = Tally { up: true, against: 0 };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    loop {
        let result = check(probe, target).await;
        if !tally.note(result.is_ok(), 1, count(probe.failure_threshold, 3)) {
            return result.err().unwrap_or_else(|| anyhow::anyhow!("failed"));
        }
        sleep(seconds(probe.period_seconds, 10)).await;
    }
}

/// Waits until a startup probe succeeds.
///
/// # Errors
/// When it has failed as often as it may.
pub(super) async fn started(probe: &Probe, target: &Target) -> Result<()> {
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut left = count(probe.failure_threshold, 3);
    loop {
        match check(probe, target).await {
            Ok(()) => return Ok(()),
            Err(error) if left <= 1 => return Err(error),
            Err(_) => left -= 1,
        }
        sleep(seconds(probe.period_seconds, 10)).await;
    }
}

async fn check(probe: &Probe, target: &Target) -> Result<()> {
    let patience = seconds(probe.timeout_seconds, 1);
    let asked = async {
        if let Some(get) = &probe.http_get {
            http_get(get, target).await
        } else if let Some(socket) = &probe.tcp_socket {
            connect(target, &socket.port).await.map(|_| ())
        } else if let Some(action) = &probe.exec {
            exec(action, target).await
        } else {
            Ok(())
        }
    };
    timeout(patience, asked)
        .await
        .with_context(|| format!("no answer within {patience:?}"))?
}

/// A probe's or a hook's request; any status from 200 to 399 is a success.
pub(super) async fn http_get(get: &HTTPGetAction, target: &Target) -> Result<()> {
    let stream = connect(target, &get.port).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request =
        Request::get(get.path.as_deref().unwrap_or("/")).header(http::header::USER_AGENT, "kube-probe/1.36");
    let given = get.http_headers.iter().flatten();
    if !given.clone().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header(http::header::HOST, target.pod.to_string());
    }
    for header in given {
        request = request.header(&header.name, &header.value);
    }
    let answer = async { anyhow::Ok(sender.send_request(request.body(Empty::<Bytes>::new())?).await?) };
    let response = tokio::select! {
        response = answer => response?,
        ended = connection => bail!("connection ended: {ended:?}"),
    };
    if !(200..400).contains(&response.status().as_u16()) {
        bail!("status {}", response.status());
    }
    Ok(())
}

async fn connect(target: &Target, port: &IntOrString) -> Result<TcpStream> {
    let port = match port {
        IntOrString::Int(number) => u16::try_from(*number)?,
        IntOrString::String(name) => named(&target.container, name).with_context(|| format!("no port named {name}"))?,
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(target.node, 0).into())?;
    Ok(socket.connect(SocketAddrV4::new(target.pod, port).into()).await?)
}

fn named(container: &Container, name: &str) -> Option<u16> {
    let port = container
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Runs a command where the container's process lives.
pub(super) async fn exec(action: &ExecAction, target: &Target) -> Result<()> {
    let pid = target.process;
    let status = Command::new("nsenter")
        .args([
            format!("--net=/proc/{pid}/ns/net"),
            format!("--mount=/proc/{pid}/ns/mnt"),
        ])
        .args([format!("--root=/proc/{pid}/root"), "--".into()])
        .args(action.command.iter().flatten())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    if !status.success() {
        bail!("the command ended with {status}");
    }
    Ok(())
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

fn count(value: Option<i32>, default: u32) -> u32 {
    value
        .and_then(|value| u32::try_from(value).ok())
        .filter(|&value| value > 0)
        .unwrap_or(default)
}

#[test]
fn an_answer_changes_only_after_a_threshold_of_results_in_a_row() {
    let mut tally = Tally { up: false, against: 0 };
    let answers: Vec<bool> = [true, false, true, true, false, false, true, false, false, false]
        .into_iter()
        .map(|success| tally.note(success, 2, 3))
        .collect();
    assert_eq!(
        answers,
        [false, false, false, true, true, true, true, true, true, false]
    );
}
