//! Which of several controllers acts: the one that holds a Lease.
//!
//! The holder renews it every few seconds; another takes it once the holder has been silent for
//! the lease's duration. Silence is judged by one's own monotonic clock, from when the record was
//! last seen to change: clocks of different machines are never compared. A holder that could not
//! renew in time ends its process, well before another can take over.
//!
//! The record also tells the next holder from where on to look for what nobody may have seen: the
//! version that it had a little before its last renewal.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::apply::{ApiError, call};

/// How long a holder may be silent before another takes the lease.
const DURATION: Duration = Duration::from_secs(15);

/// How long a holder goes on without having renewed. A call that began in time ends before the
/// lease does: it takes 4 s at most.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How often it is renewed, or looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long what a holder has seen may take to have its effects.
const HINDSIGHT: Duration = Duration::from_secs(20);

/// The version of the record that is [`HINDSIGHT`] older than it.
const SINCE_ANNOTATION: &str = "telestream.io/since";

/// The record of a lease as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// What changes with every write.
    version: Option<String>,
    holder: Option<String>,
}

/// A record, and since when it has been like that.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    since: Instant,
}

/// What somebody who does not hold the lease may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is free: nobody else holds it, or its holder is silent.
    Take,
    /// Its holder may be alive until then.
    Wait(Instant),
}

/// The lease is held, and renewed until this is dropped.
#[derive(Debug)]
pub struct Leadership {
    lease: Handle,
    renewing: JoinHandle<()>,
    /// The resource version from which on the holder before may have missed something.
    pub since: Option<String>,
}

/// Who holds the lease, or would.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The pod's name.
    pod: Option<String>,
    /// No other process has this.
    process: String,
}

#[derive(Clone, Debug)]
struct Handle {
    api: Api<Lease>,
    name: String,
    identity: Identity,
}

/// Versions that the record had, and when.
type Versions = VecDeque<(Instant, String)>;

/// Waits until the lease of that name, which exists, is held by `identity`. None: told to stop.
pub async fn acquire(
    client: Client,
    namespace: &str,
    name: &str,
    identity: Identity,
    stop: &CancellationToken,
) -> Option<Leadership> {
    let lease = Handle {
        api: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity,
    };
    let mut seen = None;
    let mut is_told = false;
    loop {
        match lease.try_to_take(&mut seen).await {
            Ok(Some((renewed, since))) => {
                info!(lease = name, "leads");
                let renewing = tokio::spawn(lease.clone().keep_renewing(renewed, since.clone()));
                return Some(Leadership {
                    lease,
                    renewing,
                    since,
                });
            }
            Ok(None) if !is_told => {
                is_told = true;
                info!(lease = name, "stands by");
            }
            Ok(None) => {}
            Err(error) => warn!(lease = name, %error, "the lease cannot be had; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(INTERVAL) => {}
        }
    }
}

impl Leadership {
    /// Returns when the lease is no longer held, or may soon not be.
    pub async fn lost(&mut self) {
        // However it ended, nobody renews any more.
        drop((&mut self.renewing).await);
    }

    /// Lets go, so that another need not wait. Nothing that the lease guards may be done any more.
    pub async fn release(self) {
        self.renewing.abort();
        if let Err(error) = self.lease.release().await {
            warn!(lease = self.lease.name, %error, "the lease was not released; it runs out by itself");
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Handle {
    /// Takes the lease if it is free, and returns when the write was begun, and from which version
    /// on the holder before may have missed something.
    async fn try_to_take(
        &self,
        seen: &mut Option<Seen>,
    ) -> Result<Option<(Instant, Option<String>)>, ApiError> {
        let found = call(self.api.get(&self.name)).await?;
        let now = Instant::now();
        let seen = look(seen, record_of(&found), now);
        if evaluate(seen, &self.identity, now) != Verdict::Take {
            return Ok(None);
        }
        let since = found.annotations().get(SINCE_ANNOTATION).cloned();
        let written = self.write(&found, since.as_deref()).await?;
        Ok(written.map(|_| (now, since)))
    }

    /// Renews until it fails for too long, or another holds the lease.
    async fn keep_renewing(self, mut renewed: Instant, mut since: Option<String>) {
        let mut versions = Versions::new();
        loop {
            let deadline = renewed + RENEW_DEADLINE;
            let next = Instant::now() + INTERVAL;
            tokio::select! {
                biased;
                () = sleep_until(deadline) => {
                    warn!(lease = self.name, "the lease was not renewed in time");
                    return;
                }
                () = sleep_until(next) => {}
            }
            let begun = Instant::now();
            if let Some(version) = versions_until(&mut versions, begun) {
                since = Some(version);
            }
            let renewal = async {
                match call(self.api.get_opt(&self.name)).await? {
                    Some(found) if self.identity.is(record_of(&found).holder.as_deref()) => {
                        self.write(&found, since.as_deref()).await
                    }
                    _ => Ok(None),
                }
            };
            let result = tokio::select! {
                biased;
                result = renewal => result,
                () = sleep_until(deadline) => continue,
            };
            match result {
                Ok(Some(version)) => {
                    renewed = begun;
                    versions.push_back((begun, version));
                }
                // A conflict: somebody wrote, perhaps we ourselves, whose reply was lost.
                Ok(None) if self.is_taken().await => {
                    warn!(lease = self.name, "another holds the lease");
                    return;
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(lease = self.name, %error, "the lease was not renewed; trying again");
                }
            }
        }
    }

    /// Whether another holds it, as far as can be told.
    async fn is_taken(&self) -> bool {
        match call(self.api.get_opt(&self.name)).await {
            Ok(found) => {
                let holder = found.and_then(|lease| record_of(&lease).holder);
                !self.identity.is(holder.as_deref())
            }
            Err(_) => false,
        }
    }

    /// Writes that we hold it, unless it has changed since it was found. Returns the record's
    /// version then.
    async fn write(&self, found: &Lease, since: Option<&str>) -> Result<Option<String>, ApiError> {
        let mut lease = self.record(found);
        if let Some(since) = since {
            let annotations = lease.annotations_mut();
            annotations.insert(SINCE_ANNOTATION.to_owned(), since.to_owned());
        }
        self.replace(&lease).await
    }

    async fn release(&self) -> Result<(), ApiError> {
        let mut found = call(self.api.get(&self.name)).await?;
        if self.identity.is(record_of(&found).holder.as_deref())
            && let Some(spec) = &mut found.spec
        {
            spec.holder_identity = None;
            self.replace(&found).await?;
        }
        Ok(())
    }

    async fn replace(&self, lease: &Lease) -> Result<Option<String>, ApiError> {
        let parameters = PostParams::default();
        match call(self.api.replace(&self.name, &parameters, lease)).await {
            Ok(written) => Ok(written.resource_version()),
            Err(ApiError::Conflict | ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lease, held by us from now on.
    fn record(&self, before: &Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.spec.clone().unwrap_or_default();
        let is_ours = self.identity.is(spec.holder_identity.as_deref());
        let transitions = spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: before.metadata.clone(),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.process.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: spec.acquire_time.filter(|_| is_ours).or(Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(!is_ours)),
                ..spec
            }),
        }
    }
}

impl Identity {
    /// An identity for this process, which is the only one of that pod.
    pub fn of_process(pod: Option<String>) -> Self {
        let name = pod.as_deref().unwrap_or("controller");
        let process = format!("{name}_{:016x}", fastrand::u64(..));
        Self { pod, process }
    }

    fn is(&self, holder: Option<&str>) -> bool {
        holder == Some(&self.process)
    }

    /// Whether that holder was this process, or one that has ended because this one has begun: a
    /// container is started again only when it has ended.
    fn succeeds(&self, holder: &str) -> bool {
        let pod_of = holder.rsplit_once('_').map(|(pod, _)| pod);
        holder == self.process || (self.pod.is_some() && pod_of == self.pod.as_deref())
    }
}

/// The newest of the versions that are old enough; they are dropped.
fn versions_until(versions: &mut Versions, now: Instant) -> Option<String> {
    let mut newest = None;
    while versions
        .front()
        .is_some_and(|(at, _)| now.duration_since(*at) >= HINDSIGHT)
    {
        newest = versions.pop_front().map(|(_, version)| version);
    }
    newest
}

fn record_of(lease: &Lease) -> Record {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.clone())
        .filter(|holder| !holder.is_empty());
    Record {
        version: lease.resource_version(),
        holder,
    }
}

/// Takes notice of a record: a change of it begins a new silence.
fn look(seen: &mut Option<Seen>, record: Record, now: Instant) -> &Seen {
    match seen.take() {
        Some(before) if before.record == record => seen.insert(before),
        _ => seen.insert(Seen { record, since: now }),
    }
}

/// What somebody who does not know to hold the lease may do.
fn evaluate(seen: &Seen, identity: &Identity, now: Instant) -> Verdict {
    let end = seen.since + DURATION;
    match seen.record.holder.as_deref() {
        Some(holder) if now < end && !identity.succeeds(holder) => Verdict::Wait(end),
        Some(_) | None => Verdict::Take,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(version: u32, holder: Option<&str>) -> Record {
        Record {
            version: Some(version.to_string()),
            holder: holder.map(str::to_owned),
        }
    }

    fn identity(process: &str) -> Identity {
        Identity {
            pod: Some("pod".into()),
            process: process.into(),
        }
    }

    #[test]
    fn the_record_tells_an_older_version_of_itself() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut versions: Versions = (0..10)
            .map(|number| (at(2 * number), number.to_string()))
            .collect();
        assert_eq!(versions_until(&mut versions, at(19)), None);
        assert_eq!(versions_until(&mut versions, at(23)), Some("1".into()));
        assert_eq!(versions_until(&mut versions, at(23)), None);
        assert_eq!(versions.len(), 8);
    }

    #[test]
    fn a_lease_is_free_when_its_holder_is_silent_or_has_let_go() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = None;
        let me = identity("me");
        let mut verdict =
            |record, second| evaluate(look(&mut seen, record, at(second)), &me, at(second));
        assert_eq!(verdict(held(1, Some("a")), 0), Verdict::Wait(at(15)));
        assert_eq!(
            verdict(held(2, Some("a")), 10),
            Verdict::Wait(at(25)),
            "it was renewed"
        );
        assert_eq!(verdict(held(2, Some("a")), 24), Verdict::Wait(at(25)));
        assert_eq!(verdict(held(2, Some("a")), 25), Verdict::Take);
        assert_eq!(verdict(held(3, None), 26), Verdict::Take, "it was released");
        assert_eq!(verdict(held(4, Some("b")), 27), Verdict::Wait(at(42)));
        assert_eq!(
            verdict(held(5, Some("me")), 28),
            Verdict::Take,
            "the reply was lost"
        );
    }

    #[test]
    fn a_call_that_began_in_time_ends_before_the_lease_does() {
        assert!(super::super::apply::CALL_TIMEOUT + RENEW_DEADLINE < DURATION);
    }

    /// What becomes of a write.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Done,
        ReplyLost,
        Lost,
    }

    struct Replica {
        identity: Identity,
        seen: Option<Seen>,
        renewed: Option<Instant>,
    }

    impl Replica {
        /// A process that has just begun: nobody else has its identity.
        fn start(count: &mut u32) -> Self {
            *count += 1;
            Self {
                identity: identity(&format!("r{count}_0")),
                seen: None,
                renewed: None,
            }
        }

        fn leads(&self, now: Instant) -> bool {
            self.renewed
                .is_some_and(|renewed| now < renewed + RENEW_DEADLINE)
        }
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![4 => Just(Fate::Done), 1 => Just(Fate::ReplyLost), 1 => Just(Fate::Lost)]
    }

    proptest! {
        #[test]
        fn no_two_replicas_believe_that_they_lead(
            steps in prop::collection::vec((0_usize..3, 0_u64..8, fate()), 0..80),
        ) {
            let mut started = 0;
            let mut replicas = [(); 3].map(|()| Replica::start(&mut started));
            let (mut version, mut record) = (0, held(0, None));
            let mut now = Instant::now();
            for (who, wait, fate) in steps {
                now += Duration::from_secs(wait);
                let replica = &mut replicas[who];
                if replica.renewed.is_some() && !replica.leads(now) {
                    *replica = Replica::start(&mut started);
                }
                let is_ours = replica.identity.is(record.holder.as_deref());
                let seen = look(&mut replica.seen, record.clone(), now);
                let verdict = evaluate(seen, &replica.identity, now);
                if replica.renewed.is_some() && !is_ours {
                    *replica = Replica::start(&mut started);
                } else if is_ours || verdict == Verdict::Take {
                    if !matches!(fate, Fate::Lost) {
                        version += 1;
                        record = held(version, Some(&replica.identity.process));
                    }
                    if matches!(fate, Fate::Done) {
                        replica.renewed = Some(now);
                    }
                }
                let leaders = replicas.iter().filter(|replica| replica.leads(now)).count();
                prop_assert!(leaders <= 1);
            }
        }
    }
}
