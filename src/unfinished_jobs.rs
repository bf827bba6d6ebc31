//! The `TransferJob`s with which somebody has something left to do, as they change. What controller
//! and bot watch alike.

use futures::{Stream, StreamExt as _, future};
use kube::{
    Api,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use tracing::warn;

use crate::api::{TransferJob, names};

/// Objects that a page of a list holds: what a list takes for a moment is kept by the allocator.
const PAGE_SIZE: u32 = 100;

/// Where kubectl keeps a second copy of the spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// All changes of these jobs, without end: a failed watch is begun anew. What is of no use to
/// anybody here is dropped before it is kept, and a job that cannot be read stops nobody else.
pub fn watch(
    jobs: Api<DeserializeGuard<TransferJob>>,
) -> impl Stream<Item = Result<watcher::Event<TransferJob>, watcher::Error>> + Send {
    let unfinished = watcher::Config::default()
        .labels(&format!("!{}", names::FINISHED_LABEL))
        .page_size(PAGE_SIZE);
    watcher(jobs, unfinished)
        .default_backoff()
        .filter_map(|event| future::ready(event.map(readable).transpose()))
}

fn readable(
    event: watcher::Event<DeserializeGuard<TransferJob>>,
) -> Option<watcher::Event<TransferJob>> {
    Some(match event {
        watcher::Event::Apply(job) => watcher::Event::Apply(read(job)?),
        watcher::Event::InitApply(job) => watcher::Event::InitApply(read(job)?),
        watcher::Event::Delete(job) => watcher::Event::Delete(read(job)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

fn read(guard: DeserializeGuard<TransferJob>) -> Option<TransferJob> {
    match guard.0 {
        Ok(mut job) => {
            job.metadata.managed_fields = None;
            if let Some(annotations) = &mut job.metadata.annotations {
                annotations.remove(LAST_APPLIED);
            }
            Some(job)
        }
        Err(error) => {
            let job = error.metadata.name.as_deref().unwrap_or_default();
            warn!(
                job,
                error = error.error,
                "a TransferJob cannot be read and is left alone"
            );
            None
        }
    }
}
