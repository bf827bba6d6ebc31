//! Whether the API server still knows this pod.
//!
//! A worker that is cut off may have been replaced, and another may be about to use its Telegram
//! session. So it goes before the controller takes it for gone; and at once if the API server says
//! that it is not who it was.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

/// How often the API server is asked.
const INTERVAL: Duration = Duration::from_secs(20);

/// An answer that takes longer is none.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker goes on without an answer. The controller waits a minute longer before it
/// puts another pod on the slot.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// Why a worker must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactLost {
    /// The API server does not know this pod any more.
    #[error("the API server does not know this pod any more")]
    Refused,
    /// It was not reached for too long.
    #[error("the API server was out of reach for {} s", PATIENCE.as_secs())]
    Silence,
}

/// Asks again and again, and returns when the worker must go.
pub async fn lost(client: Client) -> ContactLost {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let mut heard = Instant::now();
    loop {
        let asked = Instant::now();
        let question = SelfSubjectReview::default();
        let parameters = PostParams::default();
        let answer = timeout(CALL_TIMEOUT, reviews.create(&parameters, &question)).await;
        match answer {
            // The pod was there when it was asked for.
            Ok(Ok(_)) => heard = asked,
            Ok(Err(kube::Error::Api(status))) if status.code == 401 => return ContactLost::Refused,
            // It may not tell, and knows us all the same.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => heard = asked,
            Ok(Err(error)) => warn!(%error, "the API server cannot be reached"),
            Err(_) => warn!("the API server does not answer"),
        }
        if heard.elapsed() + INTERVAL >= PATIENCE {
            return ContactLost::Silence;
        }
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Poll},
    };

    use axum::{
        body::Body as Answer,
        http::{Request, Response},
    };
    use jiff::SignedDuration;
    use kube::client::Body;
    use serde_json::json;
    use tower::Service;

    use super::*;
    use crate::controller::lifecycle::STRAY_LIFE;

    /// What an API server does with a question.
    #[derive(Clone, Copy, Debug)]
    enum Reply {
        Status(u16),
        /// It is not there.
        Unreachable,
        /// It takes the question, and says nothing.
        Silence,
    }

    /// An API server that replies to so many questions in one way, and to all later ones in another.
    #[derive(Clone)]
    struct Server {
        first: (u32, Reply),
        then: Reply,
        asked: Arc<AtomicU32>,
    }

    impl Service<Request<Body>> for Server {
        type Response = Response<Answer>;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let reply = if number < self.first.0 {
                self.first.1
            } else {
                self.then
            };
            Box::pin(async move {
                match reply {
                    Reply::Silence => std::future::pending().await,
                    Reply::Unreachable => Err(io::ErrorKind::ConnectionRefused.into()),
                    Reply::Status(code) => {
                        let body = if code < 300 {
                            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}})
                        } else {
                            json!({"kind": "Status", "status": "Failure", "message": "", "reason": "", "code": code})
                        };
                        let response = Response::builder().status(code);
                        Ok(response.body(Answer::from(body.to_string())).unwrap())
                    }
                }
            })
        }
    }

    /// Why and when a worker goes. None: it has not gone in an hour.
    async fn gone(first: (u32, Reply), then: Reply) -> Option<(ContactLost, Duration)> {
        let asked = Arc::default();
        let server = Server { first, then, asked };
        let begun = Instant::now();
        let lost = lost(Client::new(server, "default"));
        let lost = timeout(Duration::from_hours(1), lost).await.ok()?;
        Some((lost, begun.elapsed()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_known_stays() {
        for reply in [Reply::Status(201), Reply::Status(403)] {
            assert_eq!(gone((0, reply), reply).await, None, "{reply:?}");
        }
        // Every other minute without an answer is none that counts.
        assert_eq!(
            gone((20, Reply::Unreachable), Reply::Status(201)).await,
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_unknown_goes_at_once() {
        for (first, after) in [(0, Duration::ZERO), (3, INTERVAL * 3)] {
            let gone = gone((first, Reply::Status(201)), Reply::Status(401)).await;
            assert_eq!(gone, Some((ContactLost::Refused, after)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hears_nothing_goes_before_it_is_taken_for_gone() {
        for silence in [Reply::Unreachable, Reply::Silence, Reply::Status(503)] {
            for (known, heard) in [(0, Duration::ZERO), (5, INTERVAL * 4)] {
                let (lost, after) = gone((known, Reply::Status(201)), silence).await.unwrap();
                assert_eq!(lost, ContactLost::Silence, "{silence:?}");
                assert!(after <= heard + PATIENCE, "{silence:?}: {after:?}");
                assert!(
                    after + INTERVAL * 3 >= heard + PATIENCE,
                    "{silence:?}: {after:?}"
                );
            }
        }
    }

    #[test]
    fn the_controller_waits_longer_than_a_worker_lives() {
        let patience = SignedDuration::try_from(PATIENCE).unwrap();
        assert!(STRAY_LIFE >= patience + SignedDuration::from_mins(1));
    }
}
