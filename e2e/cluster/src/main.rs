//! `albacore-cluster up`: a real Kubernetes cluster to play with; `albacore-cluster exec -- CMD`: one for a single command.

use std::process::ExitCode;

use albacore_cluster::{Cluster, Options, STATE};
use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A real Kubernetes cluster without containers, in namespaces of its own; nothing stays behind.
#[derive(Parser)]
enum Command {
    /// Start a cluster, say how to enter it, and keep it until Ctrl-C.
    Up,
    /// Build the cluster's programs into the cache, where they are missing; minutes the first time.
    Tools,
    /// Start a cluster, run a command with KUBECONFIG and PATH set, and stop the cluster.
    Exec {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> Result<ExitCode> {
    albacore_cluster::take_part();
    let command = Command::parse();
    if matches!(command, Command::Tools) {
        println!("{}", albacore_cluster::build_tools()?.display());
        return Ok(ExitCode::SUCCESS);
    }
    albacore_cluster::enter();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(command))
}

async fn run(command: Command) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let work = async {
        let cluster = Cluster::start(Options::default()).await?;
        match command {
            Command::Tools => Ok(ExitCode::SUCCESS),
            Command::Up => {
                println!(
                    "The cluster is ready. Enter it from another shell with\n\n  {}\n\n\
                     and then, for example, `kubectl get nodes`. Logs are in {STATE}/log. Ctrl-C ends it; nothing stays behind.",
                    cluster.entrance()
                );
                std::future::pending().await
            }
            Command::Exec { command } => {
                let status = cluster.command(&command[0]).args(&command[1..]).status().await?;
                cluster.stop().await;
                Ok(ExitCode::from(
                    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
                ))
            }
        }
    };
    // Dropping the cluster is enough: with this process ends the pid namespace and everything in it.
    tokio::select! {
        done = work => done,
        () = stopped => Ok(ExitCode::from(130)),
    }
}
