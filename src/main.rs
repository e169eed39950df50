//! The controller's process.

use albacore::{
    config::{Command, Config},
    run::{check, run},
    telemetry,
};
use std::process::ExitCode;

#[cfg(all(tokio_unstable, not(debug_assertions)))]
compile_error!("a release is built without tokio's unstable parts, which only tests use: `make release`");

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// It could not be found out.
const UNCLEAR: u8 = 2;

// As many on every machine: it waits nearly always, and each has memory of its own.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let checks = std::env::args_os().nth(1).is_some_and(|word| word == "migrate");
    let in_vain = if checks { UNCLEAR.into() } else { ExitCode::FAILURE };
    let (command, config) = match Config::from_environment() {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("{wrong}");
            return in_vain;
        }
    };
    let logs = match command {
        Command::Run => telemetry::log(&config.log_filter, config.log_json, std::io::stdout),
        Command::MigrateCheck { .. } => telemetry::log(&config.log_filter, false, std::io::stderr),
    };
    if let Err(error) = logs {
        eprintln!("logs cannot be written: {error:#}");
        return in_vain;
    }
    match command {
        Command::Run => match run(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Command::MigrateCheck { json } => match check(config).await {
            Ok(preview) => {
                let told = if json {
                    format!("{:#}", serde_json::json!(preview))
                } else {
                    preview.to_string()
                };
                println!("{told}");
                if preview.is_nothing() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                eprintln!("it could not be found out what would change: {error:#}");
                UNCLEAR.into()
            }
        },
    }
}
