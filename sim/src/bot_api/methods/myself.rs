//! The bot itself: who it is, and its commands.

use serde_json::json;

use super::Answered;
use crate::bot_api::commands::{self, BotCommand};
use crate::bot_api::error::Refusal;
use crate::bot_api::journal::Fact;
use crate::bot_api::objects::bot;
use crate::bot_api::params::Params;
use crate::bot_api::{Desk, Privacy};

/// `getMe`.
#[expect(clippy::unnecessary_wraps, reason = "all methods are of one kind")]
pub(super) fn get_me(desk: &mut Desk<'_>, _: &mut Params) -> Answered {
    let mut me = bot(&desk.shared.me);
    me["can_join_groups"] = true.into();
    let reads_all = desk.shared.options.privacy == Privacy::Off;
    me["can_read_all_group_messages"] = reads_all.into();
    for what in [
        "supports_inline_queries",
        "can_connect_to_business",
        "has_main_web_app",
        "has_topics_enabled",
    ] {
        me[what] = false.into();
    }
    Ok(me.into())
}

/// `setMyCommands`.
pub(super) fn set_my_commands(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let commands = commands::list(params)?;
    store(desk, params, commands)
}

/// `deleteMyCommands`.
pub(super) fn delete_my_commands(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    store(desk, params, Vec::new())
}

fn store(desk: &mut Desk<'_>, params: &Params, commands: Vec<BotCommand>) -> Answered {
    let (scope, language) = commands::key(params)?;
    desk.remember(&Fact::Commands {
        scope: scope.clone(),
        language: language.clone(),
        commands: commands.clone(),
    })
    .map_err(Refusal::from)?;
    desk.state.commands.insert((scope, language), commands);
    Ok(json!(true).into())
}

/// `getMyCommands`.
pub(super) fn get_my_commands(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let commands = desk.state.commands.get(&commands::key(params)?);
    Ok(json!(commands.cloned().unwrap_or_default()).into())
}
