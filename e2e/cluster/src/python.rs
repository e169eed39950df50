//! Python programs that tests talk with: boto3, the AWS CLI, moto; in virtualenvs in the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::tool::cache;

/// The Python of a virtualenv that has what a file of pinned requirements names; made once for each state of that file, in the
/// cache of [`crate::build_tools`].
///
/// # Errors
/// There is no Python 3 with venv, or what pip says.
pub fn python(requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read(requirements).with_context(|| requirements.display().to_string())?;
    let digest = Sha256::digest(wanted);
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let venv = cache()?.join(format!("venv-{hash}"));
    fs::create_dir_all(&venv)?;
    // Two test runs at once make it once.
    let lock = File::create(venv.join("lock"))?;
    lock.lock()?;
    let (python, complete) = (venv.join("bin/python"), venv.join("complete"));
    if !complete.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(requirements))?;
        fs::write(&complete, "")?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
