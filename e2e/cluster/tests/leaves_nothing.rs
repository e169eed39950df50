//! Seen from outside: however the program ends, no process, namespace, mount or file stays.

#![expect(clippy::unwrap_used, reason = "a test that cannot read /proc has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_albacore-cluster");

/// How long processes may take to be gone; the kernel needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster under way, with a pod on a real node, and what was there before it.
struct Run {
    child: Child,
    _output: BufReader<ChildStdout>,
    mounts: String,
    files: BTreeSet<PathBuf>,
}

/// Makes a pod, tells its namespaces' pid, and waits.
const SCRIPT: &str = "kubectl create deployment web --image=albacore-demo-http --replicas=2 >&2 \
    && kubectl rollout status deployment/web --timeout=60s >&2 && echo up && exec sleep 600";

impl Run {
    fn start() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let files = traces();
        let mut child = Command::new(PROGRAM)
            .args(["exec", "--", "sh", "-c", SCRIPT])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self {
            child,
            _output: output,
            mounts,
            files,
        }
    }

    fn ended_by(mut self, signal: Signal) {
        let ours = namespace(std::process::id());
        let namespaces: BTreeSet<_> = descendants(self.child.id())
            .into_iter()
            .map(namespace)
            .filter(|found| *found != ours)
            .collect();
        assert_eq!(
            namespaces.len(),
            1,
            "one pid namespace holds them all, so its end is theirs"
        );
        let left = || -> Vec<u32> {
            pids()
                .into_iter()
                .filter(|&pid| namespaces.contains(&namespace(pid)))
                .collect()
        };
        // The program twice, etcd, API server, controller manager, scheduler, kwok, two pods and what holds them.
        assert!(left().len() >= 10, "processes would be seen: {:?}", left());
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let gone = async {
            while !left().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let gone = runtime.block_on(async { tokio::time::timeout(PATIENCE, gone).await });
        assert!(gone.is_ok(), "still there: {:?}", left());
        assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), self.mounts);
        assert_eq!(traces(), self.files);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // For a test that failed before it ended the program.
        let _ = self.child.kill();
    }
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn descendants(of: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let mut all: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    for child in all.clone() {
        all.extend(descendants(child));
    }
    all
}

/// What a careless part would leave: state, caches of kubectl and helm, and anything named after us in the temporary folder.
fn traces() -> BTreeSet<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let known = [
        PathBuf::from(albacore_cluster::STATE),
        home.join(".kube"),
        home.join(".cache/helm"),
        home.join(".config/helm"),
    ];
    let temporary = fs::read_dir(std::env::temp_dir())
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ["albacore-cluster", "kube", "etcd", "helm", "apiserver"]
            .iter()
            .any(|word| name.contains(word))
    };
    known
        .into_iter()
        .filter(|path| Path::exists(path))
        .chain(temporary.filter(ours))
        .collect()
}

#[test]
fn nothing_is_left_after_ctrl_c_or_a_kill() {
    // One after the other: both use most of the machine.
    Run::start().ended_by(Signal::INT);
    Run::start().ended_by(Signal::KILL);
}

#[test]
fn a_commands_exit_code_is_passed_on() {
    let status = Command::new(PROGRAM)
        .args(["exec", "--", "sh", "-c", "exit 7"])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
}

/// The one line that the program fails with.
fn complaint(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(words.lines().count(), 1, "{words}");
    words
}

#[test]
fn what_is_missing_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let words = complaint(Command::new(PROGRAM).arg("up").env("PATH", folder.path()));
    assert_eq!(
        words,
        "error: `unshare` is not on the PATH: install the package util-linux\n"
    );

    let path = std::env::var_os("PATH").unwrap();
    for program in ["unshare", "setpriv", "nsenter", "ip", "true"] {
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
            .unwrap();
        std::os::unix::fs::symlink(found, folder.path().join(program)).unwrap();
    }
    let words = complaint(
        Command::new(PROGRAM)
            .arg("up")
            .env("PATH", folder.path())
            .env("ALBACORE_CACHE", folder.path()),
    );
    assert!(words.contains("install Go 1.26 or later"), "{words}");

    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {PROGRAM} up");
    let words = complaint(Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]));
    assert!(
        words.contains("no right to make a namespace") && words.contains("allow user namespaces"),
        "{words}"
    );
}

#[test]
fn it_needs_no_root() {
    // A user id other than 0 in a namespace that gives no rights: what a login of one's own is.
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            PROGRAM,
            "exec",
            "--",
            "kubectl",
            "get",
            "--raw=/readyz",
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ok",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
