//! Worker pods: how they look, what is seen of them, and how they are made.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{EnvVar, Pod, PodStatus, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{ResourceExt as _, api::ObjectMeta};

use super::lifecycle::Notice;
use crate::api::names;

/// The template's volume that gets the slot's session.
const SESSION_VOLUME: &str = "session";

/// The variable that tells a worker the hash of the session that its pod was made for.
const SESSION_HASH: &str = "SESSION_HASH";

/// How long after its grace period a pod's end is waited for.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// What keeps a container from starting is said by one of these words when it passes by itself.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The reason of the condition by which the control plane fails a pod whose node is gone.
const GIVEN_UP: &str = "DeletionByPodGC";

/// What is seen of the pod that an assignment names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSight {
    /// It is there, and its end has not been reported.
    Alive,
    /// It is being deleted, and its end has not been reported.
    Leaving {
        /// Should its end not be reported by then, its node is out of reach.
        lost_at: Timestamp,
    },
    /// Its containers have ended.
    Ended(PodEnd),
    /// It is not there any more.
    Gone,
}

/// How a pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEnd {
    /// The kernel killed it for its memory limit.
    OutOfMemory,
    /// The node or the scheduler threw it out.
    Evicted,
    /// Somebody deleted it.
    Deleted,
    /// Its node is out of reach.
    Lost,
    /// Telegram did not accept its session.
    SessionRefused,
    /// It could not use its configuration.
    Misconfigured,
    /// Somebody ended its process.
    Killed,
    /// It ended by itself, with that exit code.
    Exited(i32),
}

/// How worker pods are made.
#[derive(Clone, Debug)]
pub struct PodFactory {
    template: PodTemplateSpec,
    template_hash: String,
    name_prefix: String,
    owner: Option<OwnerReference>,
}

/// A pod template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is not a pod template in YAML.
    #[error("is no pod template: {0}")]
    Malformed(#[from] serde_saphyr::Error),
    /// It lacks something.
    #[error("lacks {0}")]
    Lacks(&'static str),
}

/// Whether a pod is or was of that UID, alive or not.
pub fn sight(pod: Option<&Pod>, uid: &str) -> PodSight {
    let Some(pod) = pod.filter(|pod| pod.uid().as_deref() == Some(uid)) else {
        return PodSight::Gone;
    };
    if let Some(end) = end(pod) {
        return PodSight::Ended(end);
    }
    // The mark is the time at which the grace period ends.
    let deleted = pod.metadata.deletion_timestamp.as_ref();
    deleted.map_or(PodSight::Alive, |time| PodSight::Leaving {
        lost_at: time.0.saturating_add(LOST_AFTER).unwrap_or(Timestamp::MAX),
    })
}

/// How a pod ended, once its containers have.
///
/// The phase alone does not say so: the control plane fails pods of nodes that are gone or out of
/// service, of which it has heard nothing. A node tells of an end only when all containers have.
pub fn end(pod: &Pod) -> Option<PodEnd> {
    let status = pod.status.as_ref()?;
    if !is_over(pod) || is_given_up(status) {
        return None;
    }
    let disrupted = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if disrupted
        || matches!(
            status.reason.as_deref(),
            Some("Evicted" | "Preempting" | "NodeLost" | "Shutdown" | "Terminated")
        )
    {
        return Some(PodEnd::Evicted);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(PodEnd::Deleted);
    }
    let ended = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.terminated.as_ref());
    Some(match ended {
        Some(ended) if ended.reason.as_deref() == Some("OOMKilled") => PodEnd::OutOfMemory,
        Some(ended) if ended.exit_code == i32::from(names::SESSION_REFUSED_EXIT_CODE) => {
            PodEnd::SessionRefused
        }
        Some(ended) if ended.exit_code == i32::from(names::MISCONFIGURED_EXIT_CODE) => {
            PodEnd::Misconfigured
        }
        // SIGKILL and SIGTERM.
        Some(ended) if matches!(ended.exit_code, 137 | 143) => PodEnd::Killed,
        Some(ended) => PodEnd::Exited(ended.exit_code),
        None => PodEnd::Evicted,
    })
}

/// How a pod ended that was there last as it is here, and is there no more. One that was given to no
/// node has never run.
pub fn end_once_gone(pod: &Pod) -> Option<PodEnd> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    end(pod).or_else(|| node.is_none().then_some(PodEnd::Deleted))
}

/// Whether a pod that has not ended will not run any more.
pub fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || is_over(pod)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a status may have been written without knowledge of the containers.
fn is_given_up(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    let kinds = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut containers = kinds
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|container| container.state.as_ref());
    conditions.any(|condition| condition.reason.as_deref() == Some(GIVEN_UP))
        || containers.any(|container| container.running.is_some())
}

/// Whether its containers run, so that it can be given work.
pub fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Running")
}

/// What keeps a pod from running, if it does not pass by itself.
pub fn trouble(pod: &Pod) -> Option<Notice> {
    let status = pod.status.as_ref()?;
    let waits = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .map(|waiting| (waiting.reason.as_deref(), waiting.message.as_deref()));
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| (condition.reason.as_deref(), condition.message.as_deref()));
    let (reason, message) = waits
        .chain(unscheduled)
        .filter_map(|(reason, message)| Some((reason?, message.unwrap_or_default())))
        .find(|(reason, _)| !STARTING.contains(reason))?;
    Some(Notice {
        warning: true,
        reason: reason.to_owned(),
        message: format!(
            "The worker's pod {} cannot start: {message}",
            pod.name_any()
        ),
    })
}

/// What ended a pod, in words, if it is worth somebody's while.
pub fn trouble_at_end(pod: &Pod) -> Option<Notice> {
    let (reason, message) = match end(pod)? {
        PodEnd::SessionRefused => (
            "SessionRefused",
            "Telegram does not accept its session: provide another Secret".to_owned(),
        ),
        PodEnd::Misconfigured => (
            "WorkerMisconfigured",
            "it cannot use its configuration; see its log".to_owned(),
        ),
        PodEnd::OutOfMemory => ("OOMKilled", "it ran out of memory".to_owned()),
        PodEnd::Exited(code) if code != 0 => (
            "WorkerFailed",
            format!("it ended with exit code {code}; see its log"),
        ),
        _ => return None,
    };
    Some(Notice {
        warning: true,
        reason: reason.to_owned(),
        message: format!("The worker's pod {}: {message}", pod.name_any()),
    })
}

/// The hash of the session that a worker pod was made for.
pub fn session_hash(pod: &Pod) -> Option<&str> {
    pod.labels().get(names::SESSION_LABEL).map(String::as_str)
}

/// The slot a worker pod belongs to.
pub fn slot(pod: &Pod) -> Option<i32> {
    pod.labels().get(names::SLOT_LABEL)?.parse().ok()
}

impl PodFactory {
    /// Reads the template, a `PodTemplateSpec` in YAML with a volume named `session`.
    ///
    /// # Errors
    /// It is malformed, or lacks what is needed.
    pub fn new(
        yaml: &str,
        name_prefix: String,
        owner: Option<OwnerReference>,
    ) -> Result<Self, TemplateError> {
        let template: PodTemplateSpec = serde_saphyr::from_str(yaml)?;
        let spec = template
            .spec
            .as_ref()
            .ok_or(TemplateError::Lacks("a spec"))?;
        if spec.containers.is_empty() {
            return Err(TemplateError::Lacks("a container"));
        }
        if !spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| volume.name == SESSION_VOLUME && volume.secret.is_some())
        {
            return Err(TemplateError::Lacks(
                "a volume of a Secret with the name session",
            ));
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, yaml.as_bytes());
        let template_hash = names::short_hash(digest.as_ref());
        Ok(Self {
            template,
            template_hash,
            name_prefix,
            owner,
        })
    }

    /// The pod of a slot, whose session has that hash.
    pub fn build(&self, slot: i32, session_hash: &str) -> Pod {
        let template_metadata = self.template.metadata.clone().unwrap_or_default();
        let mut labels = template_metadata.labels.unwrap_or_default();
        labels.insert(names::SLOT_LABEL.to_owned(), slot.to_string());
        labels.insert(names::TEMPLATE_LABEL.to_owned(), self.template_hash.clone());
        labels.insert(names::SESSION_LABEL.to_owned(), session_hash.to_owned());
        let mut spec = self.template.spec.clone().unwrap_or_default();
        // A worker that ends is replaced by another pod, never started again under the same UID.
        spec.restart_policy = Some("Never".to_owned());
        for volume in spec
            .volumes
            .iter_mut()
            .flatten()
            .filter(|volume| volume.name == SESSION_VOLUME)
        {
            if let Some(secret) = &mut volume.secret {
                secret.secret_name = Some(names::session_secret(&self.name_prefix, slot));
            }
        }
        // A Secret that is replaced before the pod starts would give it another session.
        for container in &mut spec.containers {
            let variable = EnvVar {
                name: SESSION_HASH.to_owned(),
                value: Some(session_hash.to_owned()),
                ..EnvVar::default()
            };
            container.env.get_or_insert_default().push(variable);
        }
        Pod {
            metadata: ObjectMeta {
                name: Some(self.pod_name(slot)),
                labels: Some(labels),
                annotations: template_metadata.annotations,
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    }

    /// The name of the pod of a slot.
    pub fn pod_name(&self, slot: i32) -> String {
        names::worker_pod(&self.name_prefix, slot)
    }

    /// Whether a pod was made from another template, for another image, or with another session.
    pub fn is_outdated(&self, pod: &Pod, session_hash: &str) -> bool {
        pod.labels().get(names::TEMPLATE_LABEL) != Some(&self.template_hash)
            || self::session_hash(pod) != Some(session_hash)
    }

    /// The name of the Secret that holds the session of a slot.
    pub fn session_secret(&self, slot: i32) -> String {
        names::session_secret(&self.name_prefix, slot)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEMPLATE: &str = "
metadata:
  labels: {app.kubernetes.io/component: worker}
spec:
  containers: [{name: worker, image: telestream}]
  volumes: [{name: session, secret: {secretName: replaced}}]
";

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": status})).unwrap()
    }

    #[test]
    fn a_slot_has_one_pod_name_and_its_own_session() {
        let factory = PodFactory::new(TEMPLATE, "ts".into(), None).unwrap();
        let pod = factory.build(2, "s");
        assert_eq!(
            (pod.name_any(), slot(&pod)),
            ("ts-worker-2".into(), Some(2))
        );
        assert!(!factory.is_outdated(&pod, "s"));
        assert!(factory.is_outdated(&pod, "another"));
        let spec = pod.spec.unwrap();
        assert_eq!(spec.restart_policy.as_deref(), Some("Never"));
        let secret = spec.volumes.unwrap()[0].secret.clone().unwrap();
        assert_eq!(secret.secret_name.as_deref(), Some("ts-session-2"));
        let told = &spec.containers[0].env.as_ref().unwrap()[0];
        let told = (told.name.as_str(), told.value.as_deref());
        assert_eq!(told, ("SESSION_HASH", Some("s")));
    }

    #[test]
    fn another_template_makes_pods_outdated() {
        let old = PodFactory::new(TEMPLATE, "ts".into(), None)
            .unwrap()
            .build(0, "s");
        let newer = PodFactory::new(
            &TEMPLATE.replace("image: telestream", "image: newer"),
            "ts".into(),
            None,
        )
        .unwrap();
        assert!(newer.is_outdated(&old, "s"));
    }

    #[test]
    fn a_template_that_cannot_work_is_refused() {
        for (yaml, error) in [
            ("metadata: {}", "lacks a spec"),
            ("spec: {containers: []}", "lacks a container"),
            (
                "spec: {containers: [{name: w}]}",
                "lacks a volume of a Secret with the name session",
            ),
        ] {
            assert_eq!(
                PodFactory::new(yaml, "ts".into(), None)
                    .unwrap_err()
                    .to_string(),
                error
            );
        }
    }

    #[test]
    fn the_end_of_a_pod_is_told_from_its_status() {
        let terminated = |reason: &str, code: i32| {
            json!({"phase": "Failed", "containerStatuses": [{"name": "w", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason}}}]})
        };
        let disrupted = |phase: &str, reason: &str, state: serde_json::Value| {
            json!({"phase": phase, "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}],
                "containerStatuses": [{"name": "w", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]})
        };
        let ended = || json!({"terminated": {"exitCode": 137}});
        let runs = || json!({"running": {}});
        let mut beside = terminated("Error", 143);
        beside["initContainerStatuses"] = json!([{"name": "s", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "state": {"running": {}}}]);
        for (status, end) in [
            (json!({"phase": "Pending"}), PodSight::Alive),
            (json!({"phase": "Running"}), PodSight::Alive),
            (
                terminated("OOMKilled", 137),
                PodSight::Ended(PodEnd::OutOfMemory),
            ),
            (terminated("Error", 1), PodSight::Ended(PodEnd::Exited(1))),
            (
                terminated("Error", 2),
                PodSight::Ended(PodEnd::Misconfigured),
            ),
            (
                terminated("Error", 78),
                PodSight::Ended(PodEnd::SessionRefused),
            ),
            (
                terminated("Error", 134),
                PodSight::Ended(PodEnd::Exited(134)),
            ),
            (terminated("Error", 137), PodSight::Ended(PodEnd::Killed)),
            (terminated("Error", 143), PodSight::Ended(PodEnd::Killed)),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                PodSight::Ended(PodEnd::Evicted),
            ),
            // A node that evicts, is preempted or shuts down says so when all containers have ended.
            (
                disrupted("Failed", "TerminationByKubelet", ended()),
                PodSight::Ended(PodEnd::Evicted),
            ),
            (
                disrupted("Failed", "EvictionByEvictionAPI", ended()),
                PodSight::Ended(PodEnd::Evicted),
            ),
            (
                disrupted("Running", "EvictionByEvictionAPI", runs()),
                PodSight::Alive,
            ),
            // A node that did not take it.
            (
                json!({"phase": "Failed", "reason": "OutOfmemory"}),
                PodSight::Ended(PodEnd::Evicted),
            ),
            // Its node is gone, or out of service: nobody has seen its end.
            (
                disrupted("Failed", "DeletionByPodGC", runs()),
                PodSight::Alive,
            ),
            (
                disrupted(
                    "Failed",
                    "DeletionByPodGC",
                    json!({"waiting": {"reason": "ContainerCreating"}}),
                ),
                PodSight::Alive,
            ),
            (
                disrupted("Failed", "DeletionByTaintManager", runs()),
                PodSight::Alive,
            ),
            (beside, PodSight::Alive),
        ] {
            assert_eq!(sight(Some(&pod(status.clone())), "u"), end, "{status}");
        }
        assert_eq!(
            sight(Some(&pod(json!({"phase": "Running"}))), "another"),
            PodSight::Gone
        );
        assert_eq!(sight(None, "u"), PodSight::Gone);
    }

    #[test]
    fn a_pod_that_is_gone_has_ended_if_no_node_had_it() {
        let mut pod = pod(json!({"phase": "Pending"}));
        assert_eq!(end_once_gone(&pod), Some(PodEnd::Deleted));
        pod.spec.get_or_insert_default().node_name = Some("n".into());
        assert_eq!(end_once_gone(&pod), None);
        pod.status =
            serde_json::from_value(json!({"phase": "Failed", "reason": "Evicted"})).unwrap();
        assert_eq!(end_once_gone(&pod), Some(PodEnd::Evicted));
    }
}
