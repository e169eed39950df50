//! The controller's process.

use albacore::{config::Config, run::run, telemetry};
use std::process::ExitCode;

#[cfg(all(tokio_unstable, not(debug_assertions)))]
compile_error!("a release is built without tokio's unstable parts, which only tests use: `make release`");

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = telemetry::log(&config.log_filter, config.log_json) {
        eprintln!("logs cannot be written: {error:#}");
        return ExitCode::FAILURE;
    }
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
