//! Where a pod's processes live: a network namespace per pod, a mount namespace and a root folder per container.
//!
//! ```text
//!   outer namespace                                pod's network namespace (held by `cat`)
//!   10.0.10.65/32 dev v10-0-10-65 src 10.0.0.1     eth0 10.0.10.65/32, default via 169.254.1.1
//!   169.254.1.1/32 on v10-0-10-65 ─────veth──────── eth0
//! ```
//! A container's root is a tmpfs: everything of the machine is bound into it, except that `/tmp` and `/run` are empty and that
//! folders on the way to a mounted volume are made anew, so that a volume can be mounted at any path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::namespace;

/// The pod's end of every veth routes through this address on the outer end.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// What a pod sees as the source of a connection whose sender bound no address.
const ANONYMOUS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A pod's network namespace, there as long as this value.
pub(crate) struct Sandbox {
    holder: Child,
    pid: u32,
    link: String,
}

impl Sandbox {
    /// Makes the namespace and connects `address`.
    pub async fn start(address: Ipv4Addr) -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .context("cannot start unshare")?;
        // cat's echo proves that unshare is done.
        let pid = holder.id();
        let (Some(stdin), Some(stdout), Some(pid)) = (holder.stdin.as_mut(), holder.stdout.as_mut(), pid) else {
            bail!("the pod's namespace ended at once");
        };
        stdin.write_all(b"\n").await?;
        stdout
            .read_exact(&mut [0])
            .await
            .context("cannot make a network namespace")?;
        let link = format!("v{}", address.to_string().replace('.', "-"));
        let sandbox = Self { holder, pid, link };
        let link = sandbox.link.clone();
        tokio::task::spawn_blocking(move || {
            // An earlier pod of this address may leave its link behind for a moment.
            let _ = namespace::ip(&format!("link del {link}\n"));
            namespace::ip(&format!(
                "link add {link} type veth peer name eth0 netns {pid}\n\
                 addr add {GATEWAY}/32 dev {link}\n\
                 link set {link} up\n"
            ))?;
            namespace::ip_in(
                pid,
                &format!(
                    "link set lo up\n\
                     addr add {address}/32 dev eth0\n\
                     link set eth0 up\n\
                     route add {GATEWAY} dev eth0 scope link\n\
                     route add default via {GATEWAY} dev eth0 src {address}\n"
                ),
            )?;
            namespace::ip(&format!("route add {address}/32 dev {link} src {ANONYMOUS}\n"))
        })
        .await??;
        Ok(sandbox)
    }

    /// The command that starts `container` in here; the process it starts becomes the container's.
    pub fn command(&self, container: &Container, spec: &Path) -> Result<Command> {
        fs::write(spec, serde_json::to_vec(container)?)?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .args(["--", "unshare", "--mount", "--uts", "--"]);
        command.args(namespace::ourselves(namespace::CONTAINER)?).arg(spec);
        Ok(command)
    }

    /// Ends the namespace; returns when the address can be used again.
    pub async fn stop(mut self) {
        let _ = self.holder.kill().await;
        let link = self.link;
        let _ = tokio::task::spawn_blocking(move || namespace::ip(&format!("link del {link}\n"))).await;
    }
}

/// All that is needed to become a container's process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Container {
    pub hostname: String,
    pub root: PathBuf,
    pub read_only_root: bool,
    pub mounts: Vec<Mount>,
    /// The image's program, on this machine.
    pub executable: PathBuf,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub folder: PathBuf,
}

/// A file or folder of this machine at a path of the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// Becomes the container that the file named by the last argument describes. Runs in namespaces of its own, before any thread.
pub(crate) fn exec() -> Result<i32> {
    let spec = std::env::args_os().next_back().context("no container named")?;
    let container: Container = serde_json::from_slice(&fs::read(&spec)?)?;
    rustix::system::sethostname(container.hostname.as_bytes())?;
    let image = Path::new("/image").join(
        container
            .executable
            .file_name()
            .context("an image's executable is a file")?,
    );
    let mut mounts = container.mounts.clone();
    mounts.push(Mount {
        source: container.executable.clone(),
        target: image.clone(),
        read_only: false,
    });
    let resolv = namespace::resolv_conf();
    if resolv.starts_with("/run") {
        mounts.push(Mount {
            source: resolv.clone(),
            target: resolv,
            read_only: true,
        });
    }
    furnish(&container.root, &mounts).with_context(|| format!("cannot furnish {}", container.root.display()))?;
    if container.read_only_root {
        mount_remount(
            &container.root,
            MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
            "",
        )?;
    }
    rustix::process::chroot(&container.root)?;
    std::env::set_current_dir(&container.folder)
        .with_context(|| format!("no folder {}", container.folder.display()))?;
    // A command that this machine does not have is a path inside the image: its program.
    let (program, first) = match container.command.split_first() {
        Some((program, rest)) if on_this_machine(program, &container.env) => (PathBuf::from(program), rest),
        Some((_, rest)) => (image, rest),
        None => (image, [].as_slice()),
    };
    let mut command = std::process::Command::new(&program);
    command
        .args(first)
        .args(&container.args)
        .env_clear()
        .envs(&container.env);
    Err(anyhow::Error::from(command.exec()).context(format!("cannot run {}", program.display())))
}

fn on_this_machine(program: &str, env: &BTreeMap<String, String>) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    env.get("PATH")
        .is_some_and(|path| std::env::split_paths(path).any(|folder| folder.join(program).exists()))
}

/// Mounts a container's root at `root`: the machine's files, with `mounts` at their places.
fn furnish(root: &Path, mounts: &[Mount]) -> Result<()> {
    fs::create_dir_all(root)?;
    mount("tmpfs", root, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    let mut mounts: Vec<Mount> = mounts
        .iter()
        .map(|mount| Mount {
            target: settle(&mount.target),
            ..mount.clone()
        })
        .collect();
    mounts.sort_by_key(|mount| mount.target.components().count());
    let targets: BTreeSet<&Path> = mounts.iter().map(|mount| mount.target.as_path()).collect();
    // Folders that are made anew rather than bound, so that something can be put into them.
    let mut anew: BTreeSet<&Path> = mounts
        .iter()
        .flat_map(|mount| mount.target.ancestors().skip(1))
        .collect();
    anew.extend([Path::new("/"), Path::new("/tmp"), Path::new("/run")]);
    make(root, Path::new("/"), &anew, &targets)?;
    for mount in &mounts {
        let target = inside(root, &mount.target);
        if mount.source.is_dir() {
            fs::create_dir_all(&target)?;
            mount_bind_recursive(&mount.source, &target)?;
        } else {
            touch(&target)?;
            mount_bind(&mount.source, &target)?;
        }
        if mount.read_only {
            mount_remount(
                &target,
                MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
                "",
            )?;
        }
    }
    Ok(())
}

/// Makes `folder` below `root`: its entries are the machine's, except for those of `anew`.
fn make(root: &Path, folder: &Path, anew: &BTreeSet<&Path>, targets: &BTreeSet<&Path>) -> Result<()> {
    let empty = folder == Path::new("/tmp") || folder == Path::new("/run");
    let entries = if empty || !folder.is_dir() {
        Vec::new()
    } else {
        fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?
    };
    for entry in entries {
        let path = entry.path();
        let target = inside(root, &path);
        if anew.contains(path.as_path()) || targets.contains(path.as_path()) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &target)?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            mount_bind_recursive(&path, &target)?;
        } else {
            touch(&target)?;
            mount_bind(&path, &target)?;
        }
    }
    for child in anew.iter().filter(|child| child.parent() == Some(folder)) {
        fs::create_dir(inside(root, child))?;
        make(root, child, anew, targets)?;
    }
    Ok(())
}

/// A file to mount on. It may lie within a volume, so what it holds stays.
fn touch(path: &Path) -> Result<()> {
    fs::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// `path` with the symbolic links of this machine resolved as far as it exists: /var/run/secrets is /run/secrets.
fn settle(path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, fs::canonicalize(ancestor).ok()?)));
    match existing {
        Some((ancestor, real)) => match path.strip_prefix(ancestor) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => path.to_owned(),
        },
        None => path.to_owned(),
    }
}
