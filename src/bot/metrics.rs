//! What the bot counts. Labels are few and fixed: no user, chat, file or job.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
};

use super::bot_api::ChatError;
use crate::ops::metrics::Metrics;

/// A call to the Bot API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the Bot API's own names")]
pub enum Call {
    GetMe,
    GetUpdates,
    SetWebhook,
    SetMyCommands,
    SendMessage,
    EditMessageText,
    ForwardMessage,
    AnswerCallbackQuery,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Incoming {
    /// A file that was taken.
    File,
    /// A file that was not taken, or not needed: over a limit, or known already.
    FileRefused,
    /// A command.
    Command,
    /// The press of a button.
    Button,
    /// A message of somebody who is not let in.
    Stranger,
    /// Words, and whatever else is no file.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: Call,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IncomingLabels {
    kind: Incoming,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    delivery: &'static str,
}

/// The bot's figures.
#[derive(Clone, Debug, Default)]
pub struct BotMetrics {
    calls: Family<CallLabels, Counter>,
    incoming: Family<IncomingLabels, Counter>,
    results: Family<ResultLabels, Counter>,
}

impl BotMetrics {
    /// Figures that are served with the others.
    pub fn new(metrics: &Metrics) -> Self {
        let figures = Self::default();
        metrics.register(|registry| {
            registry.register(
                "bot_api_requests",
                "Requests to the Bot API, by method and outcome",
                figures.calls.clone(),
            );
            registry.register(
                "bot_updates",
                "What users sent, by kind",
                figures.incoming.clone(),
            );
            registry.register(
                "bot_results",
                "Results that users were told, by how that went",
                figures.results.clone(),
            );
        });
        figures
    }

    pub(super) fn called(&self, method: Call, error: Option<&ChatError>) {
        let outcome = error.map_or("Ok", ChatError::reason);
        let labels = CallLabels { method, outcome };
        self.calls.get_or_create(&labels).inc();
    }

    pub(super) fn came(&self, kind: Incoming) {
        self.incoming.get_or_create(&IncomingLabels { kind }).inc();
    }

    pub(super) fn told(&self, delivery: &'static str) {
        self.results.get_or_create(&ResultLabels { delivery }).inc();
    }
}
