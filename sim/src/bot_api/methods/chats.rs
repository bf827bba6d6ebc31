//! Chats and who is in them.

use serde_json::{Value, json};

use super::Answered;
use super::targets::Access;
use crate::bot_api::error::Refusal;
use crate::bot_api::params::Params;
use crate::bot_api::state::Desk;

/// `getChat`.
pub(super) fn get_chat(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let chat_id = desk.chat(params, "chat_id", Access::Read)?;
    let mut chat = desk.view().chat(chat_id);
    chat["accent_color_id"] = json!(0);
    chat["max_reaction_count"] = json!(11);
    chat["accepted_gift_types"] = json!({
        "unlimited_gifts": false,
        "limited_gifts": false,
        "unique_gifts": false,
        "premium_subscription": false,
        "gifts_from_channels": false,
    });
    Ok(chat.into())
}

/// `getChatMember`.
pub(super) fn get_chat_member(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let chat_id = desk.chat(params, "chat_id", Access::Read)?;
    let wrong = || Refusal::bad("invalid user_id specified");
    let user_id = params.integer("user_id").filter(|id| *id > 0);
    let user_id = user_id.ok_or_else(wrong)?;
    let is_bot = user_id == desk.shared.me.id;
    let status = match desk.group(chat_id) {
        None if is_bot || user_id == chat_id.0 => "member",
        None => return Err(Refusal::bad("user not found")),
        Some(chat) if is_bot => chat.bot.word(),
        Some(chat) if chat.administrators.contains(&user_id) => "administrator",
        Some(chat) if chat.members.contains(&user_id) => "member",
        Some(_) if desk.state.users.contains_key(&user_id) => "left",
        Some(_) => return Err(Refusal::bad("PARTICIPANT_ID_INVALID")),
    };
    Ok(member(desk.view().user(user_id), status).into())
}

/// A `ChatMember`.
pub(in crate::bot_api) fn member(user: Value, status: &str) -> Value {
    let mut member = json!({"user": user, "status": status});
    match status {
        "administrator" => {
            for right in [
                "can_be_edited",
                "is_anonymous",
                "can_promote_members",
                "can_manage_video_chats",
            ] {
                member[right] = false.into();
            }
            for right in [
                "can_manage_chat",
                "can_delete_messages",
                "can_restrict_members",
                "can_change_info",
                "can_invite_users",
                "can_post_messages",
                "can_edit_messages",
                "can_pin_messages",
                "can_manage_topics",
                "can_post_stories",
                "can_edit_stories",
                "can_delete_stories",
            ] {
                member[right] = true.into();
            }
        }
        "kicked" => member["until_date"] = 0.into(),
        _ => {}
    }
    member
}
