//! When a small request is tried again, and when it is not. Pure: the client does the waiting.
//!
//! The rules are those of Oracle's SDKs, with a smaller budget: a caller here has retries of its
//! own, and a job that waits for a slot is better served by an honest error than by ten minutes
//! of silence.

use std::time::Duration;

use super::error::Error;
use super::operation::{Operation, Repeating};
use crate::Class;

/// How often and for how long small requests are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How many tries there are, the first included.
    pub tries: u32,
    /// The time all tries and pauses together may take.
    pub budget: Duration,
    /// The pause after the n-th try is `base * (2^(n-1) + random(0, 1))`, unless the service asks
    /// for more.
    pub base: Duration,
    /// The longest pause that is not asked for by the service.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 5,
            budget: Duration::from_mins(2),
            base: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// What to do about a failed try.
#[derive(Debug)]
pub(super) enum Next {
    /// Fetch the credentials anew and try again at once.
    RenewCredentials,
    /// Try again after the pause.
    Pause(Duration, Error),
    /// Tell the caller.
    Fail(Error),
}

/// The tries of one request so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    renewed: bool,
}

impl Tries {
    /// Decides about the error of a try, `spent` after the first one began.
    pub(super) fn after(
        &mut self,
        policy: &RetryPolicy,
        operation: Operation,
        error: Error,
        spent: Duration,
    ) -> Next {
        if error.is_unauthenticated() && !self.renewed {
            self.renewed = true;
            return Next::RenewCredentials;
        }
        if operation.repeating() == Repeating::AsksTheCaller && error.leaves_doubt() {
            return Next::Fail(Error::ReplyLost {
                operation,
                source: Box::new(error),
            });
        }
        self.failed += 1;
        let pause = match error.class() {
            Class::Transient => self.backoff(policy),
            Class::After(wait) => wait.max(self.backoff(policy)),
            Class::Permanent | Class::Interrupted => return Next::Fail(error),
        };
        if self.failed >= policy.tries || spent + pause >= policy.budget {
            return Next::Fail(error);
        }
        Next::Pause(pause, error)
    }

    fn backoff(&self, policy: &RetryPolicy) -> Duration {
        let doubled = f64::from(2_u32.saturating_pow(self.failed - 1));
        let cap = policy.longest_pause.as_secs_f64();
        let pause = policy.base.as_secs_f64() * (doubled + fastrand::f64());
        Duration::from_secs_f64(pause.min(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::{ServiceCode, ServiceError, Waiting};
    use super::*;

    const START: Duration = Duration::ZERO;

    fn answer(status: u16, code: &str, retry_after: Option<u64>) -> Error {
        Error::Service(Box::new(ServiceError {
            operation: Operation::HeadObject,
            status,
            code: ServiceCode::parse(code),
            message: String::new(),
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    fn timeout() -> Error {
        Error::Timeout {
            operation: Operation::HeadObject,
            waiting: Waiting::ForReply,
            after: Duration::from_mins(1),
        }
    }

    fn first(operation: Operation, error: Error) -> Next {
        Tries::default().after(&RetryPolicy::default(), operation, error, START)
    }

    #[test]
    fn what_may_pass_is_tried_again_and_the_rest_is_not() {
        let again = [
            timeout(),
            answer(409, "IncorrectState", None),
            answer(429, "TooManyRequests", None),
            answer(500, "InternalServerError", None),
            answer(503, "", None),
        ];
        for error in again {
            let next = first(Operation::HeadObject, error);
            assert!(matches!(next, Next::Pause(..)), "{next:?}");
        }
        let never = [
            answer(400, "InvalidParameter", None),
            answer(404, "BucketNotFound", None),
            answer(409, "BucketAlreadyExists", None),
            answer(412, "IfNoneMatchFailed", None),
            answer(501, "", None),
        ];
        for error in never {
            let next = first(Operation::HeadObject, error);
            assert!(matches!(next, Next::Fail(Error::Service(_))), "{next:?}");
        }
    }

    #[test]
    fn pauses_double_and_are_capped() {
        let policy = RetryPolicy {
            tries: 8,
            budget: Duration::from_mins(10),
            ..RetryPolicy::default()
        };
        let mut tries = Tries::default();
        for at_least in [1, 2, 4, 8, 16, 30, 30] {
            let next = tries.after(&policy, Operation::HeadObject, timeout(), START);
            let Next::Pause(pause, _) = next else {
                panic!("{next:?}")
            };
            let at_least = Duration::from_secs(at_least);
            let at_most = (at_least + policy.base).min(policy.longest_pause);
            assert!((at_least..=at_most).contains(&pause), "{pause:?}");
        }
        let last = tries.after(&policy, Operation::HeadObject, timeout(), START);
        assert!(
            matches!(last, Next::Fail(Error::Timeout { .. })),
            "{last:?}"
        );
    }

    #[test]
    fn the_service_may_ask_for_a_longer_pause_but_not_beyond_the_budget() {
        let next = first(Operation::HeadObject, answer(429, "", Some(50)));
        assert!(
            matches!(next, Next::Pause(pause, _) if pause.as_secs() == 50),
            "{next:?}"
        );

        let next = first(Operation::HeadObject, answer(429, "", Some(500)));
        let Next::Fail(error) = next else {
            panic!("{next:?}")
        };
        assert_eq!(error.class(), Class::After(Duration::from_secs(500)));
    }

    #[test]
    fn refused_credentials_are_renewed_once() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::default();
        let refused = || answer(401, "NotAuthenticated", None);
        let next = tries.after(&policy, Operation::CommitMultipartUpload, refused(), START);
        assert!(matches!(next, Next::RenewCredentials), "{next:?}");
        let next = tries.after(&policy, Operation::CommitMultipartUpload, refused(), START);
        assert!(matches!(next, Next::Fail(Error::Service(_))), "{next:?}");
    }

    #[test]
    fn after_a_lost_reply_the_caller_decides_where_repeating_is_not_harmless() {
        use Operation::{
            CommitMultipartUpload, CreateMultipartUpload, CreatePreauthenticatedRequest,
            DeleteObject,
        };
        for operation in [
            CommitMultipartUpload,
            CreateMultipartUpload,
            CreatePreauthenticatedRequest,
        ] {
            for doubtful in [timeout(), answer(500, "", None), answer(503, "", Some(1))] {
                let next = first(operation, doubtful);
                assert!(
                    matches!(&next, Next::Fail(error) if error.is_ambiguous()),
                    "{operation}: {next:?}"
                );
            }
            let refused = first(operation, answer(429, "", None));
            assert!(
                matches!(refused, Next::Pause(..)),
                "{operation}: {refused:?}"
            );
        }
        assert!(matches!(first(DeleteObject, timeout()), Next::Pause(..)));
    }
}
