//! What a process tells over HTTP: `/livez`, `/readyz` and `/metrics`.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};

/// How long the work may go without a sign of life. Its loop turns every half minute at least, and
/// every call that it makes has a deadline.
const LONGEST_SILENCE: Duration = Duration::from_mins(5);

/// Whether the process lives, and can do its work. It starts as alive and not ready.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_ready: bool,
    beat: Option<Instant>,
}

impl Health {
    /// From now on `/readyz` says this.
    pub fn set_ready(&self, is_ready: bool) {
        self.lock().is_ready = is_ready;
    }

    /// A sign of life. After the first, `/livez` misses the next if it does not come.
    pub fn beat(&self) {
        self.lock().beat = Some(Instant::now());
    }

    fn is_alive(&self) -> bool {
        let beat = self.lock().beat;
        beat.is_none_or(|beat| beat.elapsed() < LONGEST_SILENCE)
    }

    fn is_ready(&self) -> bool {
        self.lock().is_ready
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the endpoints until `stop`.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(health, metrics))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(health: Health, metrics: Metrics) -> Router {
    let live = health.clone();
    Router::new()
        .route("/livez", get(async move || status(live.is_alive())))
        .route("/readyz", get(async move || status(health.is_ready())))
        .route("/metrics", get(async move || text(&metrics)))
}

fn status(is_well: bool) -> StatusCode {
    if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn text(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::Service as _;

    use super::*;

    #[tokio::test]
    async fn ready_is_what_the_work_says_and_alive_is_something_else() {
        let health = Health::default();
        let mut router = router(health.clone(), Metrics::default());
        let mut ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.call(request).await.unwrap().status().as_u16()
        };
        assert_eq!((ask("/readyz").await, ask("/livez").await), (503, 200));
        health.set_ready(true);
        assert_eq!((ask("/readyz").await, ask("/livez").await), (200, 200));
        health.set_ready(false);
        assert_eq!((ask("/readyz").await, ask("/metrics").await), (503, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_missed() {
        let health = Health::default();
        tokio::time::advance(LONGEST_SILENCE * 2).await;
        assert!(health.is_alive(), "it has not begun yet");
        health.beat();
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(health.is_alive());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!health.is_alive());
        health.beat();
        assert!(health.is_alive());
    }
}
