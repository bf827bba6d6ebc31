//! Worker pods as last seen, and the ends that were seen of pods that are there no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store, store::WriterDropped},
        watcher,
    },
};

use super::pods::{self, PodEnd, PodSight};
use crate::api::Assignment;

/// How long the end of a pod is remembered that is there no more: jobs that it ran are looked at
/// much sooner.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Worker pods as last seen.
#[derive(Clone)]
pub struct WorkerPods {
    present: Store<Pod>,
    ended: Arc<Mutex<HashMap<String, (PodEnd, Timestamp)>>>,
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
        let ended = Arc::default();
        let pods = Self { present, ended };
        let recorder = pods.clone();
        let events = watcher(api, watcher::Config::default().labels(selector))
            .default_backoff()
            // Before the store forgets it.
            .inspect(move |event| recorder.record(event))
            .reflect(writer);
        (pods, events)
    }

    /// Waits until all pods were seen once.
    ///
    /// # Errors
    /// The watch has ended.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        self.present.wait_until_ready().await
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
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(uid).map(|(end, _)| *end)
    }

    fn record(&self, event: &Result<watcher::Event<Pod>, watcher::Error>) {
        let Ok(
            watcher::Event::Apply(pod)
            | watcher::Event::InitApply(pod)
            | watcher::Event::Delete(pod),
        ) = event
        else {
            return;
        };
        if let (Some(uid), Some(end)) = (pod.uid(), pods::end(pod)) {
            let now = Timestamp::now();
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.retain(|_, (_, seen)| now.duration_since(*seen) < REMEMBERED_FOR);
            ended.insert(uid, (end, now));
        }
    }
}
