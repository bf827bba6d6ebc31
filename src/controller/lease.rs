//! Which of several controllers acts: the one that holds a Lease.
//!
//! The holder renews it every few seconds; another takes it once the holder has been silent for
//! the lease's duration. Silence is judged by one's own monotonic clock, from when the record was
//! last seen to change: clocks of different machines are never compared. A holder that could not
//! renew in time ends its process, well before another can take over.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
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
}

#[derive(Clone, Debug)]
struct Handle {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// Waits until the lease of that name, which exists, is held by `identity`, which no other process
/// has. None: told to stop.
pub async fn acquire(
    client: Client,
    namespace: &str,
    name: &str,
    identity: String,
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
            Ok(Some(renewed)) => {
                info!(lease = name, "leads");
                let renewing = tokio::spawn(lease.clone().keep_renewing(renewed));
                return Some(Leadership { lease, renewing });
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
    /// Takes the lease if it is free, and returns when the write was begun.
    async fn try_to_take(&self, seen: &mut Option<Seen>) -> Result<Option<Instant>, ApiError> {
        let found = call(self.api.get(&self.name)).await?;
        let now = Instant::now();
        let seen = look(seen, record_of(&found), now);
        if evaluate(seen, &self.identity, now) != Verdict::Take {
            return Ok(None);
        }
        self.write(&found)
            .await
            .map(|written| written.then_some(now))
    }

    /// Renews until it fails for too long, or another holds the lease.
    async fn keep_renewing(self, mut renewed: Instant) {
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
            let renewal = async {
                match call(self.api.get_opt(&self.name)).await? {
                    Some(found) if record_of(&found).holder.as_deref() == Some(&self.identity) => {
                        self.write(&found).await
                    }
                    _ => Ok(false),
                }
            };
            let result = tokio::select! {
                biased;
                result = renewal => result,
                () = sleep_until(deadline) => continue,
            };
            match result {
                Ok(true) => renewed = begun,
                // A conflict: somebody wrote, perhaps we ourselves, whose reply was lost.
                Ok(false) if self.is_taken().await => {
                    warn!(lease = self.name, "another holds the lease");
                    return;
                }
                Ok(false) => {}
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
                found.and_then(|lease| record_of(&lease).holder).as_deref() != Some(&self.identity)
            }
            Err(_) => false,
        }
    }

    /// Writes that we hold it, unless it has changed since it was found.
    async fn write(&self, found: &Lease) -> Result<bool, ApiError> {
        let lease = self.record(Some(found));
        match call(self.api.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(_) => Ok(true),
            Err(ApiError::Conflict | ApiError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), ApiError> {
        let Some(mut found) = call(self.api.get_opt(&self.name)).await? else {
            return Ok(());
        };
        if record_of(&found).holder.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        if let Some(spec) = &mut found.spec {
            spec.holder_identity = None;
        }
        match call(self.api.replace(&self.name, &PostParams::default(), &found)).await {
            Ok(_) | Err(ApiError::Conflict | ApiError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The lease, held by us from now on.
    fn record(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let is_ours = spec.holder_identity.as_deref() == Some(&self.identity);
        let transitions = spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: before.map_or_else(
                || ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: spec.acquire_time.filter(|_| is_ours).or(Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(!is_ours)),
                ..spec
            }),
        }
    }
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
fn evaluate(seen: &Seen, identity: &str, now: Instant) -> Verdict {
    let end = seen.since + DURATION;
    match seen.record.holder.as_deref() {
        // We took it, and the reply was lost.
        Some(holder) if holder == identity => Verdict::Take,
        Some(_) if now < end => Verdict::Wait(end),
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

    #[test]
    fn a_lease_is_free_when_its_holder_is_silent_or_has_let_go() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = None;
        let mut verdict =
            |record, second| evaluate(look(&mut seen, record, at(second)), "me", at(second));
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
        identity: String,
        seen: Option<Seen>,
        renewed: Option<Instant>,
    }

    impl Replica {
        /// A process that has just begun: nobody else has its identity.
        fn start(count: &mut u32) -> Self {
            *count += 1;
            Self {
                identity: format!("r{count}"),
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
                let is_ours = record.holder.as_ref() == Some(&replica.identity);
                let seen = look(&mut replica.seen, record.clone(), now);
                let verdict = evaluate(seen, &replica.identity, now);
                if replica.renewed.is_some() && !is_ours {
                    *replica = Replica::start(&mut started);
                } else if is_ours || verdict == Verdict::Take {
                    if !matches!(fate, Fate::Lost) {
                        version += 1;
                        record = held(version, Some(&replica.identity));
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
