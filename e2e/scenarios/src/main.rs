//! `albacore-scenarios demo`, `albacore-scenarios test`; run in the project's folder.

use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

/// albacore end to end, on a real control plane and the AWS double.
#[derive(Parser)]
enum Command {
    /// An Ingress becomes a load balancer, before your eyes.
    Demo {
        /// Leave it running until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Test it.
    Test {
        /// Only the tests whose names contain one of these; most build on those before them.
        names: Vec<String>,
        /// How many groups are made at once where there are many.
        #[arg(long, default_value_t = 12)]
        groups: usize,
    },
}

fn main() -> Result<ExitCode> {
    albacore_cluster::take_part();
    let command = Command::parse();
    albacore_cluster::enter();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let project = std::env::current_dir()?;
        match command {
            Command::Demo { keep } => albacore_scenarios::demo::run(&project, keep)
                .await
                .map(|()| ExitCode::SUCCESS),
            Command::Test { names, groups } => {
                let passed = albacore_scenarios::tests::run(&project, &names, groups).await?;
                Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    })
}
