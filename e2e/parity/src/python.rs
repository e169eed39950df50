//! A Python with boto3, made once a machine.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The interpreter of a virtual environment with what `requirements` names; made in the cache when it is not there.
/// Needs the way to the package index, so it is called before the namespaces are entered.
///
/// # Errors
/// A missing `python3`, or what pip said.
pub fn interpreter(requirements: &Path) -> Result<PathBuf> {
    let pins = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let hash: String = Sha256::digest(&pins)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = cache()?.join(format!("venv-{hash}"));
    fs::create_dir_all(&folder)?;
    // Whoever comes meanwhile waits for the first.
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock()?;
    let interpreter = folder.join("bin/python");
    let done = folder.join("complete");
    if done.exists() {
        return Ok(interpreter);
    }
    eprintln!("installing what {} names (once a machine)", requirements.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&interpreter).args(pip).arg(requirements))?;
    fs::write(done, "")?;
    Ok(interpreter)
}

#[expect(
    clippy::disallowed_methods,
    reason = "where caches are is told by the environment only"
)]
fn cache() -> Result<PathBuf> {
    if let Ok(folder) = std::env::var("ALBACORE_CACHE") {
        return Ok(folder.into());
    }
    let base = std::env::var("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || {
        Ok::<_, anyhow::Error>(
            PathBuf::from(std::env::var("HOME").context("neither HOME nor ALBACORE_CACHE is set")?).join(".cache"),
        )
    };
    Ok(base.or_else(|_| home())?.join("albacore"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
