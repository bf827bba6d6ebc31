//! What every long-running command needs: variables, logs, metrics, HTTP endpoints, signals.
//!
//! Knows nothing of Telegram, object storage or Kubernetes.

pub mod env;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod signals;
