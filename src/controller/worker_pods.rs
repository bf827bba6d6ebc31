//! Worker pods as last seen, and the ends that were seen of pods that are there no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{WatchEvent, WatchParams},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};

use tokio::{sync::watch, time::timeout};
use tracing::info;

use super::pods::{self, PodEnd, PodSight};
use crate::api::Assignment;

/// How long the end of a pod is remembered that is there no more: jobs that it ran are looked at
/// much sooner.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// How long the API server may take to tell what is past.
const LOOK_BACK_TIME: Duration = Duration::from_secs(3);

/// Worker pods as last seen.
#[derive(Clone)]
pub struct WorkerPods {
    present: Store<Pod>,
    past: Arc<Mutex<Past>>,
    /// Many wait for it, and a store wakes only one of them.
    all_seen: watch::Receiver<bool>,
}

/// Pods are not watched any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker pods are not watched any more")]
pub struct WatchEnded;

/// What was seen of pods.
#[derive(Debug, Default)]
struct Past {
    /// How pods ended, by UID, and when that was seen.
    ended: HashMap<String, (PodEnd, Timestamp)>,
    /// The UID of the latest pod of each slot.
    latest: HashMap<i32, String>,
}

impl WorkerPods {
    /// The pods of a label selector, and the stream that must be polled to see them. It yields a
    /// pod with each change of it.
    pub fn watch(
        api: Api<Pod>,
        selector: &str,
    ) -> (
        Self,
        impl Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Send,
    ) {
        let (present, writer) = reflector::store();
        let past = Arc::default();
        let (seen_tx, all_seen) = watch::channel(false);
        let pods = Self {
            present,
            past,
            all_seen,
        };
        let recorder = pods.clone();
        let events = watcher(api, watcher::Config::default().labels(selector))
            .default_backoff()
            // Before the store forgets it.
            .inspect(move |event| match event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    recorder.record(pod, pods::end(pod));
                }
                Ok(watcher::Event::Delete(pod)) => {
                    recorder.record(pod, pods::end_once_gone(pod));
                }
                _ => {}
            })
            .reflect(writer)
            .inspect(move |event| {
                if let Ok(watcher::Event::InitDone) = event {
                    seen_tx.send_replace(true);
                }
            });
        (pods, events)
    }

    /// Waits until all pods were seen once.
    ///
    /// # Errors
    /// The watch has ended.
    pub async fn wait_until_ready(&self) -> Result<(), WatchEnded> {
        let mut all_seen = self.all_seen.clone();
        let seen = all_seen.wait_for(|seen| *seen).await;
        seen.map(drop).map_err(|_| WatchEnded)
    }

    /// Those that are there.
    pub fn present(&self) -> Vec<Arc<Pod>> {
        self.present.state()
    }

    /// What is seen of the pod that an assignment names.
    pub fn sight(&self, assignment: &Assignment) -> PodSight {
        let uid = &assignment.pod_uid;
        let pod = self
            .present
            .find(|pod| pod.metadata.uid.as_ref() == Some(uid));
        match pods::sight(pod.as_deref(), uid) {
            PodSight::Gone => self.end_of(uid).map_or(PodSight::Gone, PodSight::Ended),
            sight => sight,
        }
    }

    /// How the pod of that UID ended, if that was seen.
    pub fn end_of(&self, uid: &str) -> Option<PodEnd> {
        self.past().ended.get(uid).map(|(end, _)| *end)
    }

    /// The UID of the latest pod that was seen on a slot, whether it is there or not.
    pub fn latest_of(&self, slot: i32) -> Option<String> {
        self.past().latest.get(&slot).cloned()
    }

    /// Takes notice of what happened to pods from that resource version on, as far as the API
    /// server still knows: pods that are gone by now ended somehow.
    pub async fn look_back(&self, api: &Api<Pod>, selector: &str, since: &str) {
        let parameters = WatchParams::default().labels(selector);
        let replay = async {
            let mut events = api.watch(&parameters, since).await?.boxed();
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        self.record(&pod, pods::end(&pod));
                    }
                    WatchEvent::Deleted(pod) => self.record(&pod, pods::end_once_gone(&pod)),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
                }
            }
            Ok::<(), kube::Error>(())
        };
        // It does not end by itself; what is past is told at once.
        match timeout(LOOK_BACK_TIME, replay).await {
            Err(_) | Ok(Ok(())) => {}
            Ok(Err(error)) => info!(%error, "what became of worker pods meanwhile is not known"),
        }
    }

    fn record(&self, pod: &Pod, end: Option<PodEnd>) {
        let Some(uid) = pod.uid() else { return };
        let mut past = self.past();
        if let Some(slot) = pods::slot(pod) {
            past.latest.insert(slot, uid.clone());
        }
        if let Some(end) = end {
            let now = Timestamp::now();
            past.ended
                .retain(|_, (_, seen)| now.duration_since(*seen) < REMEMBERED_FOR);
            past.ended.insert(uid, (end, now));
        }
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
