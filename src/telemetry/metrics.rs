//! What is counted. Labels come from closed sets: no namespace, no name, no ARN, so that a scrape does not grow with the
//! cluster.

use crate::{aws::CacheFigures, budget::Budget, model::Unit};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit as Of},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

type Labels = Vec<(&'static str, &'static str)>;
type OwnedLabels = Vec<(&'static str, String)>;

/// The metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    synced: AtomicBool,
    certified: AtomicBool,
    leads: Gauge,
    waiting: Gauge,
    running: Gauge,
    held: Gauge,
    reconciles: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    drifts: Family<Labels, Counter>,
    admissions: Family<Labels, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::with_prefix("albacore")),
            synced: AtomicBool::default(),
            certified: AtomicBool::default(),
            leads: Gauge::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            held: Gauge::default(),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 10))),
            drifts: Family::default(),
            admissions: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 4.0, 9))),
        };
        {
            let mut registry = inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.register("leader", "1 while this process leads", inner.leads.clone());
            registry.register("units_waiting", "Units that are due, or will be", inner.waiting.clone());
            registry.register("units_running", "Units being worked on", inner.running.clone());
            let text = "Units whose deletions are held until somebody confirms them";
            registry.register("units_held", text, inner.held.clone());
            registry.register(
                "reconciles",
                "Tasks by kind of unit and how they ended",
                inner.reconciles.clone(),
            );
            registry.register(
                "drift_found",
                "What somebody else changed in AWS, by kind of unit",
                inner.drifts.clone(),
            );
            registry.register_with_unit(
                "reconcile_duration",
                "How long tasks took",
                Of::Seconds,
                inner.durations.clone(),
            );
            registry.register_with_unit(
                "admission_duration",
                "How long answers of the webhook took, by what they were",
                Of::Seconds,
                inner.admissions.clone(),
            );
        }
        Self(Arc::new(inner))
    }
}

impl Metrics {
    /// Every kind of object was told once.
    pub fn synced(&self) {
        self.0.synced.store(true, Ordering::Relaxed);
    }

    /// Whether every kind of object was told once.
    pub fn is_synced(&self) -> bool {
        self.0.synced.load(Ordering::Relaxed)
    }

    /// The webhook has a certificate.
    pub fn certified(&self) {
        self.0.certified.store(true, Ordering::Relaxed);
    }

    /// Whether the webhook has a certificate.
    pub fn is_certified(&self) -> bool {
        self.0.certified.load(Ordering::Relaxed)
    }

    /// A webhook answered.
    pub fn admitted(&self, webhook: &'static str, outcome: &'static str, took: Duration) {
        let labels = vec![("webhook", webhook), ("outcome", outcome)];
        self.0.admissions.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.0.leads.set(leads.into());
    }

    /// Units waiting, and units running.
    pub fn queue(&self, (waiting, running): (usize, usize)) {
        self.0.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.0.running.set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    /// So many units' deletions are held.
    pub fn held(&self, units: usize) {
        self.0.held.set(i64::try_from(units).unwrap_or(i64::MAX));
    }

    /// Somebody else changed in AWS what belongs to a unit of this kind.
    pub fn drift(&self, kind: &'static str) {
        self.0.drifts.get_or_create(&vec![("kind", kind)]).inc();
    }

    /// A task ended.
    pub fn reconciled(&self, unit: &Unit, outcome: &'static str, took: Duration) {
        let kind = match unit {
            Unit::Network => "network",
            Unit::Group(_) => "group",
            Unit::Binding(_) => "binding",
        };
        self.0
            .reconciles
            .get_or_create(&vec![("kind", kind), ("outcome", outcome)])
            .inc();
        self.0
            .durations
            .get_or_create(&vec![("kind", kind)])
            .observe(took.as_secs_f64());
    }

    /// Tells what the budget's ledger and buckets say too, from now on.
    pub fn watch(&self, budget: Budget) {
        self.registry(|registry| registry.register_collector(Box::new(Spending(budget))));
    }

    /// Tells how lookups were answered too, from now on.
    pub fn watch_cache(&self, figures: impl Fn() -> CacheFigures + Send + Sync + 'static) {
        self.registry(|registry| registry.register_collector(Box::new(Caching(Box::new(figures)))));
    }

    /// Everything, in the text format of OpenMetrics.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let written = self.registry(|registry| encode(&mut text, registry));
        debug_assert!(written.is_ok(), "a String takes everything");
        text
    }

    fn registry<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.0.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the budget knows, read when somebody asks.
struct Spending(Budget);

impl fmt::Debug for Spending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spending")
    }
}

impl Collector for Spending {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let ledger = self.0.ledger();
        let kinds = || {
            ledger.by_kind.iter().map(|(kind, spent)| {
                let labels: Labels = vec![
                    ("service", kind.service.name()),
                    ("operation", kind.operation),
                    ("lane", kind.lane.name()),
                    ("outcome", kind.outcome.name()),
                ];
                (labels, spent)
            })
        };
        let calls = Family::<Labels, Counter>::default();
        let waited = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (labels, spent) in kinds() {
            calls.get_or_create(&labels).inc_by(spent.calls);
            waited.get_or_create(&labels).inc_by(spent.waited.as_secs_f64());
        }
        let descriptor = encoder.encode_descriptor("aws_calls", "Calls to AWS", None, calls.metric_type())?;
        calls.encode(descriptor)?;
        let waits = "What calls waited for their tokens";
        let descriptor =
            encoder.encode_descriptor("aws_calls_waited", waits, Some(&Of::Seconds), waited.metric_type())?;
        waited.encode(descriptor)?;
        let credentials = ConstCounter::new(ledger.credentials);
        let text = "Requests of credential providers, which need no token";
        let descriptor = encoder.encode_descriptor("aws_credential_requests", text, None, credentials.metric_type())?;
        credentials.encode(descriptor)?;
        let namespaces = Family::<OwnedLabels, Counter>::default();
        let others = ("", ledger.by_namespace.others);
        let named = ledger.by_namespace.named.iter();
        for (name, calls) in named.map(|(name, calls)| (name.as_str(), *calls)).chain([others]) {
            let name = if name.is_empty() { "other" } else { name };
            namespaces
                .get_or_create(&vec![("namespace", name.to_owned())])
                .inc_by(calls);
        }
        let text = "Calls to AWS by namespace, those that make most by name; a group that spans namespaces counts as `group NAME`, what all share as `the cluster`";
        let descriptor = encoder.encode_descriptor("aws_calls_by_namespace", text, None, namespaces.metric_type())?;
        namespaces.encode(descriptor)?;
        let saved = Family::<Labels, Counter>::default();
        for (by, calls) in &ledger.saved {
            saved.get_or_create(&vec![("by", by.name())]).inc_by(*calls);
        }
        let text = "Calls to AWS that were not needed, by what saved them";
        let descriptor = encoder.encode_descriptor("aws_calls_saved", text, None, saved.metric_type())?;
        saved.encode(descriptor)?;
        // A family is declared once, whatever it has in it: who reads this format refuses a second time.
        let rates = Family::<OwnedLabels, Gauge<f64, AtomicU64>>::default();
        let tokens = Family::<OwnedLabels, Gauge<f64, AtomicU64>>::default();
        let lines = Family::<OwnedLabels, Gauge>::default();
        for level in self.0.levels() {
            let bucket = ("bucket", level.bucket.to_string());
            rates.get_or_create(&vec![bucket.clone()]).set(level.per_second);
            tokens.get_or_create(&vec![bucket.clone()]).set(level.tokens);
            for (lane, waiting) in level.waiting {
                let labels = vec![bucket.clone(), ("lane", lane.name().to_owned())];
                lines
                    .get_or_create(&labels)
                    .set(i64::try_from(waiting).unwrap_or(i64::MAX));
            }
        }
        let text = "Tokens a second that AWS is believed to grant";
        let descriptor = encoder.encode_descriptor("aws_bucket_rate", text, None, rates.metric_type())?;
        rates.encode(descriptor)?;
        let text = "Tokens that AWS is believed to have left";
        let descriptor = encoder.encode_descriptor("aws_bucket_tokens", text, None, tokens.metric_type())?;
        tokens.encode(descriptor)?;
        let text = "Calls that wait for a token";
        let descriptor = encoder.encode_descriptor("aws_bucket_waiting", text, None, lines.metric_type())?;
        lines.encode(descriptor)
    }
}

/// What lookups say, read when somebody asks.
struct Caching(Box<dyn Fn() -> CacheFigures + Send + Sync>);

impl fmt::Debug for Caching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caching")
    }
}

impl Collector for Caching {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let figures = (self.0)();
        let lookups = Family::<Labels, Counter>::default();
        for (answer, count) in [
            ("hit", figures.hits),
            ("shared", figures.shared),
            ("miss", figures.misses),
            ("stale", figures.stale),
        ] {
            lookups.get_or_create(&vec![("answer", answer)]).inc_by(count);
        }
        let text = "Lookups of what groups share (subnets, security groups, certificates), by how they were answered";
        let descriptor = encoder.encode_descriptor("lookups", text, None, lookups.metric_type())?;
        lookups.encode(descriptor)?;
        let evictions = ConstCounter::new(figures.evictions);
        let text = "Lookups dropped for want of room, or since nobody asked for an hour";
        let descriptor = encoder.encode_descriptor("lookup_evictions", text, None, evictions.metric_type())?;
        evictions.encode(descriptor)?;
        for (name, text, value) in [
            ("lookup_entries", "Lookups held", figures.entries),
            (
                "lookup_bytes",
                "Memory of the lookups held, roughly, in bytes",
                figures.bytes,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let descriptor = encoder.encode_descriptor(name, text, None, gauge.metric_type())?;
            gauge.encode(descriptor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{budget::*, model::Lane};

    fn ask(operation: &'static str) -> Ask {
        Ask {
            service: Service::Ec2,
            operation,
            lane: Lane::Change,
            unit: Unit::Network,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_spent_is_told() {
        let metrics = Metrics::default();
        let budget = Budget::new(BudgetConfig {
            overrides: vec!["ec2.DescribeSubnets=1:1".parse().expect("an override")],
            ..BudgetConfig::default()
        });
        metrics.watch(budget.clone());
        budget.acquire(ask("DescribeSubnets")).await.settle(Outcome::Done);
        budget
            .acquire(ask("DescribeInstances"))
            .await
            .settle(Outcome::Throttled);
        let budget_seen = budget.clone();
        let second = tokio::spawn(async move { budget.acquire(ask("DescribeSubnets")).await.settle(Outcome::Done) });
        tokio::task::yield_now().await;
        metrics.reconciled(&Unit::Network, "settled", Duration::from_millis(20));
        metrics.queue((3, 1));
        metrics.leads(true);
        budget_seen.save(Saving::Census, 3);
        metrics.watch_cache(|| CacheFigures {
            hits: 7,
            bytes: 4096,
            ..CacheFigures::default()
        });
        let text = metrics.text();
        for line in [
            "albacore_aws_calls_total{service=\"ec2\",operation=\"DescribeSubnets\",lane=\"change\",outcome=\"done\"} 1",
            "albacore_aws_calls_total{service=\"ec2\",operation=\"DescribeInstances\",lane=\"change\",outcome=\"throttled\"} 1",
            "albacore_aws_bucket_rate{bucket=\"ec2.DescribeSubnets\"} 1.0",
            "albacore_aws_bucket_tokens{bucket=\"ec2.DescribeSubnets\"} 0.0",
            "albacore_aws_calls_by_namespace_total{namespace=\"the cluster\"} 2",
            "albacore_aws_calls_by_namespace_total{namespace=\"other\"} 0",
            "albacore_aws_calls_saved_total{by=\"census\"} 3",
            "albacore_lookups_total{answer=\"hit\"} 7",
            "albacore_lookup_bytes 4096",
            "albacore_aws_bucket_waiting{bucket=\"ec2.DescribeSubnets\",lane=\"change\"} 1",
            "albacore_reconciles_total{kind=\"network\",outcome=\"settled\"} 1",
            "albacore_reconcile_duration_seconds_count{kind=\"network\"} 1",
            "albacore_units_waiting 3",
            "albacore_units_running 1",
            "albacore_leader 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
        }
        second.await.expect("its token comes");
        let waited = "albacore_aws_calls_waited_seconds_total{service=\"ec2\",operation=\"DescribeSubnets\",lane=\"change\",outcome=\"done\"} 1.0";
        let text = metrics.text();
        assert!(
            text.lines().any(|told| told.starts_with(waited)),
            "{waited} is not in:\n{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_is_declared_once_and_before_what_is_in_it() {
        let metrics = Metrics::default();
        let budget = Budget::new(BudgetConfig::default());
        metrics.watch(budget.clone());
        for operation in ["DescribeSubnets", "DescribeInstances", "DescribeSecurityGroups"] {
            budget.acquire(ask(operation)).await.settle(Outcome::Done);
        }
        let text = metrics.text();
        let mut declared = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
                assert!(declared.insert(family), "{family} is declared twice:\n{text}");
            } else if !line.starts_with('#') {
                let last = declared.iter().any(|family| line.starts_with(family));
                assert!(last, "{line} stands before its family:\n{text}");
            }
        }
        assert!(declared.len() == 12 && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_labelled_does_not_grow_with_the_cluster() {
        let metrics = Metrics::default();
        for number in 0..50 {
            let key = crate::model::ObjectKey::new("shop", format!("web-{number}"));
            metrics.reconciled(&Unit::Binding(key), "settled", Duration::from_millis(1));
        }
        let text = metrics.text();
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("albacore_reconciles_total"))
                .count(),
            1,
            "{text}"
        );
        assert!(!text.contains("web-"), "{text}");
    }
}
