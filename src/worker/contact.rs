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
