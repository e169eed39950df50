//! Into namespaces of our own, and out again without a trace.
//!
//! ```text
//!  the shell's namespaces                 user + network + mount + pid namespace
//!  ┌───────────────────────────┐          ┌──────────────────────────────────────────────────────┐
//!  │ program ── unshare ───────┼─────────►│ program (pid 1: network, mounts, reaps) ── program    │
//!  │  forwards signals,        │          │                                            (returns   │
//!  │  returns the exit code    │          │                                             from enter)│
//!  └───────────────────────────┘          └──────────────────────────────────────────────────────┘
//! ```
//! The program starts itself again, twice, so that the code after [`enter`] is an ordinary process that may start threads.
//! However the program ends (also by SIGKILL: each process asks the kernel to be killed with its parent), pid 1 of the
//! namespace ends, and with it the kernel removes every process, mount, link and address made inside.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::{demo_http, sandbox, tool};

/// Where everything the cluster writes lives: a tmpfs that nobody outside sees.
pub const STATE: &str = "/run/albacore";

/// The address `/etc/resolv.conf` names inside: the VPC's resolver of a 10.0.0.0/16, where the caller serves DNS.
/// (Base of the VPC range plus two: "Amazon DNS server", VPC user guide.)
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Says which part this program plays.
const STAGE: &str = "ALBACORE_CLUSTER_STAGE";
/// The part of a process about to become a container's.
pub(crate) const CONTAINER: &str = "container";
/// The part of the demo image.
pub(crate) const DEMO: &str = "demo";
const TOOLS: &str = "ALBACORE_CLUSTER_TOOLS";
const ENTRANCE: &str = "ALBACORE_CLUSTER_ENTRANCE";

/// How long the program may take to stop after the first signal before it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// Moves the program into namespaces of its own; the first thing in `main`, before any thread starts (so a test binary that
/// uses it has `harness = false`).
///
/// Returns only inside, where all of 10.0.0.0/8 and the two link-local addresses of AWS are local, `/run` is empty and private,
/// and [`RESOLVER`] is the name server. Called inside already, it returns at once. Builds the cluster's tools first, since
/// there is no way to the network from inside. Where something is missing it prints one line that says what to do and ends
/// the program with code 1.
pub fn enter() {
    take_part();
    if stage().to_str() != Some("inside") {
        exit(outside())
    }
}

/// Plays the part that an earlier run of this program started this one for, and ends with it; returns when there is none.
/// For a `main` that looks at its arguments before it calls [`enter`], which does the same.
pub fn take_part() {
    match stage().to_str() {
        Some("first") => exit(first()),
        Some(CONTAINER) => exit(sandbox::exec()),
        Some(DEMO) => exit(demo_http::run()),
        _ => {}
    }
}

fn exit(done: Result<i32>) -> ! {
    match done {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1)
        }
    }
}

fn stage() -> OsString {
    std::env::var_os(STAGE).unwrap_or_default()
}

/// The folder with kubectl, helm, etcd and the other programs that [`enter`] built, each under its own name.
///
/// # Errors
/// When [`enter`] was not called.
pub fn tools() -> Result<PathBuf> {
    std::env::var_os(TOOLS)
        .map(PathBuf::from)
        .context("albacore_cluster::enter() must be the first call in main")
}

/// The pid, as the machine sees it, of the namespaces' first process; what `nsenter --target` takes.
pub(crate) fn entrance() -> Option<u32> {
    std::env::var_os(ENTRANCE)?.to_str()?.parse().ok()
}

/// This program again, to play the part that `stage` names.
pub(crate) fn ourselves(stage: &str) -> Result<Vec<OsString>> {
    let program = std::env::current_exe().context("cannot tell the path of this program")?;
    let (name, value) = part(stage);
    Ok(vec!["env".into(), format!("{name}={value}").into(), program.into()])
}

/// The environment variable that makes this program play the part `stage`.
pub(crate) fn part(stage: &str) -> (String, String) {
    (STAGE.to_owned(), stage.to_owned())
}

fn outside() -> Result<i32> {
    for (program, package) in [
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("nsenter", "util-linux"),
        ("ip", "iproute2"),
    ] {
        if !on_path(program) {
            bail!("`{program}` is not on the PATH: install the package {package}");
        }
    }
    let trial = unshare().args(["--", "true"]).stdin(Stdio::null()).output()?;
    if !trial.status.success() {
        bail!(
            "no right to make a namespace ({}): allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0), or run the container with --privileged",
            String::from_utf8_lossy(&trial.stderr).trim()
        );
    }
    let tools = tool::build_tools()?;
    let child = unshare()
        .arg("--")
        .args(ourselves("first")?)
        .args(std::env::args_os().skip(1))
        .env(TOOLS, tools)
        .spawn()
        .context("cannot start unshare")?;
    let unshare = Pid::from_child(&child);
    // unshare itself blocks SIGINT and SIGTERM: they go to its child, the namespaces' first process.
    supervise(unshare, move || {
        let path = format!("/proc/{0}/task/{0}/children", unshare.as_raw_nonzero());
        let first = fs::read_to_string(path)
            .ok()
            .and_then(|pids| Pid::from_raw(pids.split(' ').next()?.parse().ok()?));
        first.unwrap_or(unshare)
    })
}

/// Whether a program of this name would be found.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn unshare() -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
    ]);
    command.arg("--kill-child=KILL");
    command
}

/// Pid 1: makes the place habitable, then starts the program proper and reaps whatever is orphaned.
fn first() -> Result<i32> {
    // The /proc still mounted is the outside's, where /proc/self is our pid out there.
    let entrance = fs::read_link("/proc/self").context("no /proc")?;
    mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .context("cannot mount /proc in a pid namespace: run the container with an unmasked /proc")?;
    let resolv = resolv_conf();
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .context("cannot mount a tmpfs on /run")?;
    let state = Path::new(STATE);
    fs::create_dir_all(state.join("tmp"))?;
    fs::create_dir_all(state.join("log"))?;
    let ours = state.join("resolv.conf");
    fs::write(
        &ours,
        format!("nameserver {RESOLVER}\noptions ndots:1 timeout:2 attempts:2\n"),
    )?;
    if resolv.starts_with("/run") {
        if let Some(folder) = resolv.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&ours, &resolv)?;
    } else {
        mount_bind(&ours, &resolv).with_context(|| format!("cannot mount over {}", resolv.display()))?;
    }
    network()?;
    let again = ourselves("inside")?;
    let child = Command::new(&again[0])
        .args(&again[1..])
        .args(std::env::args_os().skip(1))
        .env(ENTRANCE, entrance)
        .env("TMPDIR", state.join("tmp"))
        .spawn()
        .context("cannot start the program again")?;
    let program = Pid::from_child(&child);
    supervise(program, move || program)
}

/// The file behind `/etc/resolv.conf`, which many systems keep below /run.
pub(crate) fn resolv_conf() -> PathBuf {
    fs::canonicalize("/etc/resolv.conf").unwrap_or_else(|_| "/etc/resolv.conf".into())
}

/// Every 10.x.y.z becomes local, on all ports; longer routes to pods win over it later.
fn network() -> Result<()> {
    ip(&format!(
        "link set lo up\n\
         route add local 10.0.0.0/8 dev lo\n\
         route add local {METADATA}/32 dev lo\n\
         route add local {POD_IDENTITY}/32 dev lo\n"
    ))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on forwarding")
}

/// Instance metadata service ("Access instance metadata", EC2 user guide).
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Credentials endpoint of the EKS Pod Identity agent ("Pod Identity agent", EKS user guide).
const POD_IDENTITY: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);

/// Runs a batch of `ip` commands, one a line.
pub(crate) fn ip(batch: &str) -> Result<()> {
    run_batch(Command::new("ip").args(["-batch", "-"]), batch)
}

/// Runs a batch of `ip` commands in the network namespace of process `pid`.
pub(crate) fn ip_in(pid: u32, batch: &str) -> Result<()> {
    run_batch(
        Command::new("nsenter").args([&format!("--net=/proc/{pid}/ns/net"), "ip", "-batch", "-"]),
        batch,
    )
}

fn run_batch(ip: &mut Command, batch: &str) -> Result<()> {
    let mut child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`ip` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Waits for `child`, passes signals on to `target`, reaps every other child, and returns the code to exit with.
fn supervise(child: Pid, target: impl Fn() -> Pid) -> Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::child())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut deadline = None;
        loop {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == child {
                    let status = std::process::ExitStatus::from_raw(status.as_raw());
                    return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
                }
            }
            let passed = tokio::select! {
                _ = ended.recv() => continue,
                _ = interrupt.recv() => Signal::INT,
                _ = terminate.recv() => Signal::TERM,
                _ = hangup.recv() => Signal::TERM,
                _ = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => Signal::KILL,
            };
            deadline.get_or_insert_with(|| tokio::time::Instant::now() + GRACE);
            // The target may be gone already; then its end is what the next round sees.
            let _ = kill_process(target(), passed);
        }
    })
}
