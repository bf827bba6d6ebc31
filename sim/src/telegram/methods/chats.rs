//! Who and what there is: `users.*`, `channels.getChannels`, `messages.getDialogs`.

use grammers_tl_types as tl;
use tl::enums::{InputChannel, InputUser, Peer as TlPeer};

use super::{Answered, Known};
use crate::telegram::ids::{ChatId, Identity, Peer};
use crate::telegram::layer::{self, Channel, Items, User};
use crate::telegram::rpc::{Answer, RpcError};
use crate::telegram::secret::Object;
use crate::telegram::store::Membership;

/// The date on which every channel was made, in Unix seconds.
const CHANNEL_DATE: i32 = 1_700_000_000;

impl Known<'_> {
    pub(super) fn access_hash(&self, object: Object) -> i64 {
        self.call.world.secret.access_hash(self.who, object)
    }

    /// The account that calls, as it is told about itself.
    pub(super) fn myself(&self) -> User<'_> {
        let accounts = &self.call.world.accounts;
        let id = accounts.id(self.who);
        let (first_name, phone) = match self.who {
            Identity::Bot => ("Stand-in bot", None),
            Identity::User => ("Stand-in user", Some(accounts.phone.as_str())),
        };
        User {
            id,
            access_hash: self.access_hash(Object::User(id)),
            first_name,
            phone,
            is_self: true,
            is_bot: self.who == Identity::Bot,
        }
    }

    /// Appends the other side of a private chat.
    pub(super) fn write_user(&self, id: i64, name: &str, out: &mut Vec<u8>) {
        let user = User {
            id,
            access_hash: self.access_hash(Object::User(id)),
            first_name: name,
            phone: None,
            is_self: false,
            is_bot: false,
        };
        user.write(self.layer, out);
    }

    /// Appends a channel.
    pub(super) fn write_channel(&self, id: i64, chat: &Membership, out: &mut Vec<u8>) {
        let channel = Channel {
            kind: chat.kind,
            id,
            access_hash: self.access_hash(Object::Channel(id)),
            title: &chat.title,
            date: CHANNEL_DATE,
        };
        channel.write(self.layer, out);
    }

    /// Finds a channel by how a client names it: the channel's id and what it is. A bot may name its
    /// channels without access hash.
    pub(super) fn channel(&self, named: &InputChannel) -> Result<(i64, Membership), RpcError> {
        let InputChannel::Channel(named) = named else {
            return Err(RpcError::bad("CHANNEL_INVALID"));
        };
        let id = named.channel_id;
        let without_hash = self.who == Identity::Bot && named.access_hash == 0;
        if !without_hash && named.access_hash != self.access_hash(Object::Channel(id)) {
            return Err(RpcError::bad("CHANNEL_INVALID"));
        }
        let membership = self.call.world.store.membership(ChatId::of_channel(id));
        let membership = membership.ok_or(RpcError::bad("CHANNEL_INVALID"))?;
        if !membership.members.contains(&self.who) {
            return Err(RpcError::bad("CHANNEL_PRIVATE"));
        }
        Ok((id, membership))
    }
}

/// `users.getUsers`.
pub(super) fn get_users(known: &Known<'_>, method: &tl::functions::users::GetUsers) -> Answer {
    let myself = known.myself();
    let mut users = Items::default();
    for user in &method.id {
        match user {
            InputUser::UserSelf => users.push(|out| myself.write(known.layer, out)),
            InputUser::User(user) if user.user_id == myself.id => {
                users.push(|out| myself.write(known.layer, out));
            }
            InputUser::User(user)
                if user.access_hash == known.access_hash(Object::User(user.user_id)) =>
            {
                let chat = known.call.world.store.membership(ChatId(user.user_id));
                if let Some(chat) = chat {
                    users.push(|out| known.write_user(user.user_id, &chat.title, out));
                }
            }
            _ => {}
        }
    }
    Answer::Object(layer::users(&users))
}

/// `channels.getChannels`.
pub(super) fn get_channels(
    known: &Known<'_>,
    method: &tl::functions::channels::GetChannels,
) -> Answered {
    let mut chats = Items::default();
    for named in &method.id {
        let (id, chat) = known.channel(named)?;
        chats.push(|out| known.write_channel(id, &chat, out));
    }
    Ok(Answer::Object(layer::chats(&chats)))
}

/// `messages.getDialogs`: all chats at once. Bots may not ask.
pub(super) fn get_dialogs(known: &Known<'_>) -> Answered {
    if known.who == Identity::Bot {
        return Err(RpcError::bad("BOT_METHOD_INVALID"));
    }
    let (mut lines, mut messages) = (Items::default(), Items::default());
    let (mut chats, mut users) = (Items::default(), Items::default());
    for (chat_id, chat, last) in known.call.world.store.chats_of(known.who) {
        let (Some(peer), Some(last)) = (chat_id.peer(), last) else {
            continue;
        };
        match peer {
            Peer::Channel(id) => chats.push(|out| known.write_channel(id, &chat, out)),
            Peer::User(id) => users.push(|out| known.write_user(id, &chat.title, out)),
        }
        let peer = tl_peer(peer);
        lines.push(|out| layer::write_dialog(&peer, last.id, known.layer, out));
        messages.push(|out| known.write_message(&last, out));
    }
    Ok(Answer::Object(layer::dialogs(
        &lines, &messages, &chats, &users,
    )))
}

/// A chat as messages name it.
pub(super) fn tl_peer(peer: Peer) -> TlPeer {
    match peer {
        Peer::User(user_id) => tl::types::PeerUser { user_id }.into(),
        Peer::Channel(channel_id) => tl::types::PeerChannel { channel_id }.into(),
    }
}
