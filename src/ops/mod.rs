//! What every long-running command needs: variables, logs, health endpoints, signals.
//!
//! Knows nothing of Telegram, object storage or Kubernetes.

pub mod env;
pub mod health;
pub mod logging;
pub mod signals;
