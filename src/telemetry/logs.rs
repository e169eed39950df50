//! Logs: one line an event, JSON for machines or text for people, with the span of the reconcile it happened in.

use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Begins to log to standard output. A panic is an event too.
///
/// # Errors
/// A filter that cannot be read, or that somebody logs already.
pub fn begin(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter: Targets = filter.parse()?;
    // At info, what libraries say at info is noise.
    let filter = match filter.default_level() {
        Some(tracing::level_filters::LevelFilter::INFO) => [
            "kube",
            "hyper",
            "h2",
            "tower",
            "rustls",
            "aws_smithy_runtime",
            "aws_config",
            "aws_sdk",
        ]
        .into_iter()
        .fold(filter, |filter, library| {
            filter.with_target(library, tracing::Level::WARN)
        }),
        _ => filter,
    };
    let layer = if json {
        fmt::layer().json().flatten_event(true).boxed()
    } else {
        fmt::layer().boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a panic; this is a bug of albacore");
        before(panic);
    }));
    Ok(())
}
