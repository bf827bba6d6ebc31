//! A user of the bot at the command line: `chat` for people, `say` for scripts. Both talk to the
//! admin interface of a stand-in that runs elsewhere.

pub(crate) mod chat;
mod client;
pub(crate) mod say;
mod transcript;
