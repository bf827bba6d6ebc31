//! The `TransferJob`s that are assigned to this pod, as the API server tells of them.

use std::{collections::HashSet, sync::Arc};

use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;

use crate::api::{Assignment, TransferJob};

/// A job, and the assignment by which it is ours.
#[derive(Clone, Debug)]
pub struct Task {
    /// The job as it was when it was taken.
    pub job: Arc<TransferJob>,
    /// The assignment.
    pub assignment: Assignment,
}

/// Why a task must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The job is being deleted, is suspended, or the controller said stop. It waits for our word.
    Asked(&'static str),
    /// It is no longer ours: nothing of it may be written any more.
    Lost,
}

/// A live view of the jobs assigned to one pod.
pub struct Assignments {
    pod_uid: String,
    store: Store<TransferJob>,
    changes: watch::Receiver<u64>,
    done: HashSet<(String, i32)>,
    watching: JoinHandle<()>,
}

impl Assignments {
    /// Begins to watch the jobs of the pod with that UID.
    pub fn watch(client: Client, namespace: &str, pod_uid: String) -> Self {
        let jobs: Api<TransferJob> = Api::namespaced(client, namespace);
        let ours =
            watcher::Config::default().fields(&format!("status.assignment.podUID={pod_uid}"));
        let (store, writer) = reflector::store();
        let (count_tx, changes) = watch::channel(0);
        let mut events = watcher(jobs, ours)
            .default_backoff()
            .reflect(writer)
            .boxed();
        let watching = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Ok(_) => count_tx.send_modify(|count| *count += 1),
                    Err(error) => warn!(%error, "watching for assignments failed; trying again"),
                }
            }
        });
        Self {
            pod_uid,
            store,
            changes,
            done: HashSet::new(),
            watching,
        }
    }

    /// The oldest assignment that has not been taken yet; waits for one.
    pub async fn next(&mut self) -> Task {
        loop {
            self.changes.mark_unchanged();
            if let Some(task) = self.oldest() {
                self.done
                    .insert((task.job.uid().unwrap_or_default(), task.assignment.attempt));
                return task;
            }
            self.wait_for_change().await;
        }
    }

    /// Waits until the task must not go on.
    pub async fn stop_cause(&mut self, task: &Task) -> StopCause {
        loop {
            self.changes.mark_unchanged();
            if let Some(cause) = self.why_stop(task) {
                return cause;
            }
            self.wait_for_change().await;
        }
    }

    fn oldest(&mut self) -> Option<Task> {
        let jobs = self.store.state();
        let present: HashSet<_> = jobs.iter().filter_map(|job| job.uid()).collect();
        self.done.retain(|(uid, _)| present.contains(uid));
        let ours = jobs.into_iter().filter_map(|job| {
            let status = job.status.as_ref()?;
            let assignment = status
                .assignment
                .clone()
                .filter(|assignment| assignment.pod_uid == self.pod_uid)?;
            let reported = status
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.attempt == assignment.attempt);
            let taken = self.done.contains(&(job.uid()?, assignment.attempt));
            (!reported && !taken).then_some(Task { job, assignment })
        });
        ours.min_by_key(|task| task.assignment.time.0)
    }

    fn why_stop(&self, task: &Task) -> Option<StopCause> {
        let now = self.store.find(|job| job.uid() == task.job.uid());
        let Some(job) = now else {
            return Some(StopCause::Lost);
        };
        let assignment = job
            .status
            .as_ref()
            .and_then(|status| status.assignment.as_ref());
        match assignment {
            Some(assignment)
                if (&assignment.pod_uid, assignment.attempt)
                    == (&self.pod_uid, task.assignment.attempt) =>
            {
                if job.metadata.deletion_timestamp.is_some() {
                    Some(StopCause::Asked("The TransferJob is being deleted"))
                } else if job.spec.suspend {
                    Some(StopCause::Asked("The TransferJob is suspended"))
                } else {
                    assignment
                        .stop
                        .map(|_| StopCause::Asked("The controller asked to stop"))
                }
            }
            _ => Some(StopCause::Lost),
        }
    }

    async fn wait_for_change(&mut self) {
        if self.changes.changed().await.is_err() {
            // The watch never ends by itself; without it there is nothing to wait for.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Assignments {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
