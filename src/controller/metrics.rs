//! The controller's figures.
//!
//! What happens is counted where it happens; how long the queue is, is looked up when somebody
//! asks.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{
    lifecycle,
    pool::{Slot, SlotState},
};
use crate::{
    api::{Priority, TransferJob, TransferJobStatus},
    ops::metrics::{FewValues, Metrics},
};

/// What the controller counts. Cheap to clone: all clones count together.
#[derive(Clone)]
pub struct ControllerMetrics(Arc<Figures>);

struct Figures {
    leader: Gauge,
    slots: Family<SlotLabels, Gauge>,
    queue_available: Gauge,
    admission_wait: Histogram,
    attempts: Counter,
    attempts_ended: Family<EndLabels, Counter>,
    transfers_finished: Family<FinishLabels, Counter>,
    transfer_duration: Histogram,
    stored: Counter,
    retried: Counter,
    reconcile_duration: Histogram,
    reconcile_errors: Family<ErrorLabels, Counter>,
    status_writes: Family<WriteLabels, Counter>,
    reasons: FewValues,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SlotLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    phase: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriorityLabels {
    priority: &'static str,
}

impl ControllerMetrics {
    /// Figures that begin at nothing, told by `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        let figures = Figures {
            leader: Gauge::default(),
            slots: Family::default(),
            queue_available: Gauge::default(),
            // 10 ms to 3 h.
            admission_wait: Histogram::new(exponential_buckets(0.01, 4.0, 11)),
            attempts: Counter::default(),
            attempts_ended: Family::default(),
            transfers_finished: Family::default(),
            // 100 ms to 27 min.
            transfer_duration: Histogram::new(exponential_buckets(0.1, 4.0, 8)),
            stored: Counter::default(),
            retried: Counter::default(),
            // 0.1 ms to 26 s.
            reconcile_duration: Histogram::new(exponential_buckets(0.0001, 4.0, 10)),
            reconcile_errors: Family::default(),
            status_writes: Family::default(),
            reasons: FewValues::default(),
        };
        metrics.register(|registry| figures.register(registry));
        Self(Arc::new(figures))
    }

    /// Looks into these jobs when asked how long the queue is.
    pub fn follow(metrics: &Metrics, jobs: Store<TransferJob>) {
        metrics.register(|registry| registry.register_collector(Box::new(Waiting(jobs))));
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// The slots as they are now.
    pub fn slots(&self, slots: &[Slot]) {
        let mut counts = BTreeMap::from(SlotState::NAMES.map(|state| (state, 0)));
        for slot in slots {
            *counts.entry(slot.state.name()).or_default() += 1;
        }
        for (state, count) in counts {
            self.0.slots.get_or_create(&SlotLabels { state }).set(count);
        }
    }

    /// Whether the queue in Redis says who is next.
    pub fn queue_available(&self, is_available: bool) {
        self.0.queue_available.set(i64::from(is_available));
    }

    /// A job was given to a slot.
    pub fn assigned(&self, job: &TransferJob, now: Timestamp) {
        self.0.attempts.inc();
        if let Some(since) = ready_since(job) {
            self.0
                .admission_wait
                .observe(seconds(now.duration_since(since)));
        }
    }

    /// A status was written over that of `job`.
    pub fn wrote(&self, job: &TransferJob, new: &TransferJobStatus, now: Timestamp) {
        let Some(old) = &job.status else { return };
        let reason = new.reason.as_deref().unwrap_or_default();
        if let Some(assignment) = old.assignment.as_ref().filter(|_| new.assignment.is_none()) {
            let outcome = old
                .outcome
                .as_ref()
                .filter(|outcome| outcome.attempt == assignment.attempt);
            let reason = outcome.map_or(reason, |outcome| &outcome.reason);
            let labels = EndLabels {
                reason: self.0.reasons.admit(reason),
            };
            self.0.attempts_ended.get_or_create(&labels).inc();
            let took = now.duration_since(assignment.time.0);
            self.0.transfer_duration.observe(seconds(took));
        }
        if old.completion_time.is_none() && new.completion_time.is_some() {
            let labels = FinishLabels {
                phase: format!("{:?}", new.phase),
                reason: self.0.reasons.admit(reason),
            };
            self.0.transfers_finished.get_or_create(&labels).inc();
            let size = new.object.as_ref().map_or(0, |object| object.size);
            self.0
                .stored
                .inc_by(u64::try_from(size).unwrap_or_default());
        }
    }

    /// So many bytes that were stored before have to be moved again.
    pub fn retries(&self, bytes: u64) {
        self.0.retried.inc_by(bytes);
    }

    /// A step was taken, or tried, in so long.
    pub fn reconciled(&self, took: Duration) {
        self.0.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A step failed.
    pub fn reconcile_failed(&self, source: &'static str) {
        let labels = ErrorLabels { source };
        self.0.reconcile_errors.get_or_create(&labels).inc();
    }

    /// A write of a status ended so.
    pub fn status_write(&self, result: &'static str) {
        let labels = WriteLabels { result };
        self.0.status_writes.get_or_create(&labels).inc();
    }
}

impl Figures {
    fn register(&self, registry: &mut Registry) {
        let Self {
            leader,
            slots,
            queue_available,
            admission_wait,
            attempts,
            attempts_ended,
            transfers_finished,
            transfer_duration,
            stored,
            retried,
            reconcile_duration,
            reconcile_errors,
            status_writes,
            reasons: _,
        } = self;
        registry.register("leader", "1 if this replica leads", leader.clone());
        registry.register("slots", "Slots by what is on them", slots.clone());
        registry.register(
            "queue_available",
            "1 if the queue in Redis says who is next, 0 if jobs run in the order of their creation",
            queue_available.clone(),
        );
        registry.register_with_unit(
            "admission_wait",
            "From when a job might run until it was given to a slot",
            Unit::Seconds,
            admission_wait.clone(),
        );
        registry.register("attempts", "Attempts that were begun", attempts.clone());
        registry.register(
            "attempts_ended",
            "Attempts that ended, by what the worker or its pod said",
            attempts_ended.clone(),
        );
        registry.register(
            "transfers_finished",
            "Transfers that succeeded or were given up",
            transfers_finished.clone(),
        );
        registry.register_with_unit(
            "transfer_duration",
            "How long attempts held their slots",
            Unit::Seconds,
            transfer_duration.clone(),
        );
        registry.register_with_unit(
            "stored",
            "Sizes of the objects of transfers that succeeded",
            Unit::Bytes,
            stored.clone(),
        );
        registry.register_with_unit(
            "retried",
            "What an attempt had stored, as far as it told, and the next one had to move again",
            Unit::Bytes,
            retried.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long the steps of jobs took",
            Unit::Seconds,
            reconcile_duration.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Steps that failed, by what refused: the API server or object storage",
            reconcile_errors.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of status, by how they ended",
            status_writes.clone(),
        );
    }
}

/// The jobs that have not finished, looked at when somebody asks.
struct Waiting(Store<TransferJob>);

impl fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Waiting")
    }
}

impl Collector for Waiting {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Timestamp::now();
        let jobs = self.0.state();
        let mut depth = [("high", 0), ("normal", 0), ("low", 0)];
        let mut oldest = SignedDuration::ZERO;
        for job in jobs.iter().filter(|job| lifecycle::is_waiting(job, now)) {
            let at = match job.spec.priority {
                Priority::High => 0,
                Priority::Normal => 1,
                Priority::Low => 2,
            };
            depth[at].1 += 1;
            if let Some(since) = ready_since(job) {
                oldest = oldest.max(now.duration_since(since));
            }
        }
        let count = Family::<PriorityLabels, Gauge>::default();
        for (priority, depth) in depth {
            count.get_or_create(&PriorityLabels { priority }).set(depth);
        }
        count.encode(encoder.encode_descriptor(
            "queue_depth",
            "Jobs that might run now and have no slot",
            None,
            count.metric_type(),
        )?)?;
        let oldest = ConstGauge::new(seconds(oldest));
        oldest.encode(encoder.encode_descriptor(
            "queue_oldest_age",
            "How long the longest waiting of them has waited",
            Some(&Unit::Seconds),
            oldest.metric_type(),
        )?)?;
        let unfinished = ConstGauge::new(u64::try_from(jobs.len()).unwrap_or(u64::MAX));
        unfinished.encode(encoder.encode_descriptor(
            "unfinished_jobs",
            "Jobs that have not finished, whatever they are at",
            None,
            unfinished.metric_type(),
        )?)
    }
}

/// Since when a job that waits might have run.
fn ready_since(job: &TransferJob) -> Option<Timestamp> {
    let status = job.status.as_ref();
    let due = status.and_then(|status| status.next_attempt_time.as_ref());
    due.map(|time| time.0)
        .max(job.creation_timestamp().map(|time| time.0))
}

fn seconds(duration: SignedDuration) -> f64 {
    duration.max(SignedDuration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    use super::*;
    use crate::controller::api_requests;

    fn job(name: &str, change: serde_json::Value) -> TransferJob {
        let mut job = json!({
            "apiVersion": "telestream.io/v1alpha1", "kind": "TransferJob",
            "metadata": {"name": name, "namespace": "n", "uid": name, "finalizers": ["telestream.io/clean-up"],
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"source": {"chatId": 7, "messageId": 1}},
        });
        for (key, value) in change.as_object().unwrap() {
            job[key] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    /// Figures of which each has something to tell.
    fn happenings(metrics: &Metrics) -> reflector::store::Writer<TransferJob> {
        let figures = ControllerMetrics::new(metrics);
        let (jobs, mut writer) = reflector::store();
        ControllerMetrics::follow(metrics, jobs);
        writer.apply_watcher_event(&watcher::Event::Apply(job("waits", json!({}))));
        let ended = job(
            "ended",
            json!({"status": {"attempt": 1,
                "assignment": {"pod": "p", "podUID": "u", "slot": 0, "attempt": 1, "time": "2026-01-01T00:00:10Z"},
                "outcome": {"attempt": 1, "result": "Succeeded", "reason": "Succeeded", "message": ""}}}),
        );
        let now: Timestamp = "2026-01-01T00:00:12Z".parse().unwrap();
        figures.assigned(&ended, now);
        let mut status = ended.status.clone().unwrap();
        status.assignment = None;
        status.reason = Some("Succeeded".to_owned());
        status.completion_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        figures.wrote(&ended, &status, now);
        figures.slots(&[Slot {
            number: 0,
            state: SlotState::Busy,
        }]);
        figures.status_write("ok");
        figures.retries(7);
        figures.reconcile_failed("api");
        writer
    }

    #[test]
    fn what_happens_is_told() {
        // Given one job that waits, and one that has ended
        let metrics = Metrics::default();
        let _jobs = happenings(&metrics);
        // When somebody asks
        let text = metrics.encode().unwrap();
        // Then it is told, and no name is
        for line in [
            "telestream_queue_depth{priority=\"normal\"} 1",
            "telestream_queue_depth{priority=\"high\"} 0",
            "telestream_unfinished_jobs 1",
            "telestream_attempts_total 1",
            "telestream_attempts_ended_total{reason=\"Succeeded\"} 1",
            "telestream_transfers_finished_total{phase=\"Queued\",reason=\"Succeeded\"} 1",
            "telestream_transfer_duration_seconds_sum 2.0",
            "telestream_admission_wait_seconds_sum 12.0",
            "telestream_slots{state=\"busy\"} 1",
            "telestream_slots{state=\"idle\"} 0",
            "telestream_status_writes_total{result=\"ok\"} 1",
            "telestream_retried_bytes_total 7",
        ] {
            assert!(
                text.lines().any(|told| told == line),
                "{line} is not in:\n{text}"
            );
        }
        assert!(text.contains("telestream_queue_oldest_age_seconds"));
        assert!(!text.contains("waits"), "{text}");
    }
    /// The families of the text: each with the suffix that its samples have.
    fn families(text: &str) -> BTreeSet<String> {
        let of_line = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            let suffix = if kind == "counter" { "_total" } else { "" };
            Some(format!("{name}{suffix}"))
        };
        text.lines().filter_map(of_line).collect()
    }

    /// The names in the first column of the table under a heading.
    fn documented(document: &str, heading: &str) -> BTreeSet<String> {
        let (_, rest) = document.split_once(heading).unwrap();
        let section = rest.split("\n#").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(|name| name.split('{').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_documentation_names_what_is_told_and_nothing_else() {
        let metrics = Metrics::default();
        let _jobs = happenings(&metrics);
        let request = api_requests::Labels {
            verb: "get",
            resource: "pods".to_owned(),
            code: 200,
        };
        api_requests::counts(&metrics).get_or_create(&request).inc();
        let told = families(&metrics.encode().unwrap());
        let document = include_str!("../../docs/operations.md");
        let documented = documented(document, "## What it tells\n");
        let missing: Vec<_> = told.difference(&documented).collect();
        let invented: Vec<_> = documented.difference(&told).collect();
        assert!(
            missing.is_empty() && invented.is_empty(),
            "not documented: {missing:?}; documented, but never told: {invented:?}"
        );
    }
}
