//! Logs: one line an event, JSON for machines or text for people, with the span of the reconcile it happened in.

use std::io::IsTerminal;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{ParseError, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Libraries that tell much: what is of interest to us is not what is of interest to whoever writes a client.
const LIBRARIES: [&str; 11] = [
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk",
    "aws_smithy",
    "h2",
    "hyper",
    "hyper_util",
    "kube",
    "rustls",
    "tower",
];

/// Begins to log to `to`. A panic is an event too.
///
/// # Errors
/// A filter that cannot be read, or that somebody logs already.
pub fn begin<W>(filter: &str, json: bool, to: W) -> anyhow::Result<()>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber(filter, json, to)?.try_init()?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a panic; this is a bug of albacore");
        before(panic);
    }));
    Ok(())
}

fn subscriber<W>(filter: &str, json: bool, writer: W) -> Result<impl Subscriber + Send + Sync, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stdout().is_terminal());
    let layer = if json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.boxed()
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(targets(filter)?)))
}

/// What is told: at a level, libraries tell less than we do, unless the filter names them.
fn targets(filter: &str) -> Result<Targets, ParseError> {
    let asked: Targets = filter.parse()?;
    let quiet = match asked.default_level() {
        Some(LevelFilter::INFO) => Some(LevelFilter::WARN),
        Some(LevelFilter::DEBUG | LevelFilter::TRACE) => Some(LevelFilter::INFO),
        _ => None,
    };
    let libraries = LIBRARIES.into_iter().filter_map(|library| Some((library, quiet?)));
    let all = Targets::new().with_targets(libraries);
    let all = match asked.default_level() {
        Some(level) => all.with_default(level),
        None => all,
    };
    Ok(all.with_targets(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };
    use tracing::Level;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(filter: &str, json: bool, events: impl FnOnce()) -> String {
        let paper = Paper::default();
        let own = paper.clone();
        let subscriber = subscriber(filter, json, move || own.clone()).expect("a filter");
        tracing::subscriber::with_default(subscriber, events);
        let bytes = paper.0.lock().expect("nobody panicked").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn an_event_carries_the_span_it_happened_in() {
        let line = told("info", true, || {
            let _span = tracing::info_span!("reconcile", unit = "group shop/main").entered();
            tracing::info!(calls = 3, "done");
        });
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["message"], "done");
        assert_eq!((&line["calls"], &line["level"]), (&3.into(), &"INFO".into()));
        assert_eq!(line["span"]["name"], "reconcile");
        assert_eq!(line["span"]["unit"], "group shop/main");
    }

    #[test]
    fn text_is_for_people() {
        let line = told("info", false, || tracing::warn!("careful"));
        assert!(line.contains("WARN") && line.contains("careful"), "{line}");
    }

    #[test]
    fn libraries_tell_less_than_we_do_unless_they_are_asked() {
        let tells =
            |filter: &str, target: &str, level: Level| targets(filter).expect(filter).would_enable(target, &level);
        assert!(tells("info", "albacore::plan", Level::INFO));
        assert!(!tells("info", "albacore::plan", Level::DEBUG));
        assert!(!tells("info", "kube_client::client", Level::INFO));
        assert!(tells("info", "kube_client::client", Level::WARN));
        assert!(tells("debug", "albacore::plan", Level::DEBUG));
        assert!(!tells("debug", "aws_smithy_runtime::client", Level::DEBUG));
        assert!(tells("info,kube=debug", "kube_runtime::watcher", Level::DEBUG));
        assert!(tells("error,albacore::plan=trace", "albacore::plan", Level::TRACE));
        assert!(!tells("error,albacore::plan=trace", "kube", Level::WARN));
    }
}
