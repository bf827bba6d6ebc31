//! The API's objects as clients of different layers know them.
//!
//! Layer by layer Telegram gives an object a new constructor and appends optional fields. The
//! stand-in uses old fields only, so for the few objects that differ between the layers of the
//! clients it serves (198 for gramjs, 229 and 230 for the others) another constructor is all it
//! takes. These objects are written here by hand; all others come from the schema's library.

use grammers_tl_types::{self as tl, Serializable};

use super::store::ChannelKind;

/// The API layer a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// 198 and before.
    Old,
    /// Everything later.
    Current,
}

/// The last layer with the old constructors, as far as known here.
const LAST_OLD: i32 = 198;

impl Layer {
    pub(super) const fn of(number: i32) -> Self {
        if number <= LAST_OLD {
            Self::Old
        } else {
            Self::Current
        }
    }

    const fn pick(self, old: u32, current: u32) -> u32 {
        match self {
            Self::Old => old,
            Self::Current => current,
        }
    }
}

/// The constructor of a boxed vector.
const VECTOR: u32 = 0x1cb5_c415;

/// A user or a bot.
pub(super) struct User<'a> {
    pub(super) id: i64,
    pub(super) access_hash: i64,
    pub(super) first_name: &'a str,
    pub(super) phone: Option<&'a str>,
    pub(super) is_self: bool,
    pub(super) is_bot: bool,
}

impl User<'_> {
    pub(super) fn write(&self, layer: Layer, out: &mut Vec<u8>) {
        let mut flags = 1_u32 | 1 << 1;
        flags |= u32::from(self.is_self) << 10;
        // A bot also says the version of its description.
        flags |= u32::from(self.is_bot) << 14;
        flags |= u32::from(self.phone.is_some()) << 4;
        layer.pick(0x4b46_c37e, 0xb1b8_cc83).serialize(out);
        flags.serialize(out);
        0_u32.serialize(out);
        self.id.serialize(out);
        self.access_hash.serialize(out);
        self.first_name.to_owned().serialize(out);
        if let Some(phone) = self.phone {
            phone.to_owned().serialize(out);
        }
        if self.is_bot {
            1_i32.serialize(out);
        }
    }
}

/// A channel.
pub(super) struct Channel<'a> {
    pub(super) kind: ChannelKind,
    pub(super) id: i64,
    pub(super) access_hash: i64,
    pub(super) title: &'a str,
    pub(super) date: i32,
}

impl Channel<'_> {
    pub(super) fn write(&self, layer: Layer, out: &mut Vec<u8>) {
        let kind = match self.kind {
            ChannelKind::Broadcast => 1_u32 << 5,
            ChannelKind::Supergroup => 1_u32 << 8,
        };
        let with_access_hash = 1_u32 << 13;
        layer.pick(0xe009_98b7, 0xd49f_34c6).serialize(out);
        (kind | with_access_hash).serialize(out);
        0_u32.serialize(out);
        self.id.serialize(out);
        self.access_hash.serialize(out);
        self.title.to_owned().serialize(out);
        tl::enums::ChatPhoto::Empty.serialize(out);
        self.date.serialize(out);
    }
}

/// A message with text or media.
pub(super) struct Message<'a> {
    pub(super) id: i32,
    pub(super) is_mine: bool,
    pub(super) is_post: bool,
    pub(super) is_protected: bool,
    pub(super) peer: tl::enums::Peer,
    pub(super) from: Option<tl::enums::Peer>,
    pub(super) date: i32,
    pub(super) text: &'a str,
    pub(super) media: Option<tl::enums::MessageMedia>,
    pub(super) grouped_id: Option<i64>,
}

impl Message<'_> {
    pub(super) fn write(&self, layer: Layer, out: &mut Vec<u8>) {
        let mut flags = u32::from(self.is_post) << 14;
        flags |= u32::from(self.is_mine) << 1;
        flags |= u32::from(self.is_protected) << 26;
        flags |= u32::from(self.from.is_some()) << 8;
        flags |= u32::from(self.media.is_some()) << 9;
        flags |= u32::from(self.grouped_id.is_some()) << 17;
        layer.pick(0x96fd_bbe9, 0x7600_b9d3).serialize(out);
        flags.serialize(out);
        0_u32.serialize(out);
        self.id.serialize(out);
        if let Some(from) = &self.from {
            from.serialize(out);
        }
        self.peer.serialize(out);
        self.date.serialize(out);
        self.text.to_owned().serialize(out);
        if let Some(media) = &self.media {
            write_media(media, layer, out);
        }
        if let Some(grouped_id) = self.grouped_id {
            grouped_id.serialize(out);
        }
    }
}

fn write_media(media: &tl::enums::MessageMedia, layer: Layer, out: &mut Vec<u8>) {
    let at = out.len();
    media.serialize(out);
    if let (Layer::Old, tl::enums::MessageMedia::Photo(_)) = (layer, media) {
        out[at..at + 4].copy_from_slice(&0x6951_50d7_u32.to_le_bytes());
    }
}

/// A message that tells of an event; here always the pinning of a message.
pub(super) fn write_service_message(
    id: i32,
    peer: &tl::enums::Peer,
    date: i32,
    layer: Layer,
    out: &mut Vec<u8>,
) {
    let is_post = matches!(peer, tl::enums::Peer::Channel(_));
    layer.pick(0xd3d2_8540, 0x7a80_0e0a).serialize(out);
    (u32::from(is_post) << 14).serialize(out);
    id.serialize(out);
    peer.serialize(out);
    date.serialize(out);
    tl::enums::MessageAction::PinMessage.serialize(out);
}

/// A message that is not there.
pub(super) fn write_no_message(id: i32, out: &mut Vec<u8>) {
    tl::enums::Message::Empty(tl::types::MessageEmpty { id, peer_id: None }).serialize(out);
}

/// A line of the list of chats.
pub(super) fn write_dialog(
    peer: &tl::enums::Peer,
    top_message: i32,
    layer: Layer,
    out: &mut Vec<u8>,
) {
    layer.pick(0xd58a_08c6, 0xfc89_f7f3).serialize(out);
    0_u32.serialize(out);
    peer.serialize(out);
    top_message.serialize(out);
    // Read up to, on both sides; unread messages, mentions, reactions; and later poll votes.
    let counters = match layer {
        Layer::Old => 5,
        Layer::Current => 6,
    };
    for _ in 0..counters {
        0_i32.serialize(out);
    }
    tl::enums::PeerNotifySettings::Settings(tl::types::PeerNotifySettings {
        show_previews: None,
        silent: None,
        mute_until: None,
        ios_sound: None,
        android_sound: None,
        other_sound: None,
        stories_muted: None,
        stories_hide_sender: None,
        stories_ios_sound: None,
        stories_android_sound: None,
        stories_other_sound: None,
    })
    .serialize(out);
}

/// Objects written one after the other, to become a vector.
#[derive(Debug, Default)]
pub(super) struct Items {
    count: i32,
    bytes: Vec<u8>,
}

impl Items {
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.count += 1;
    }

    pub(super) const fn len(&self) -> i32 {
        self.count
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        VECTOR.serialize(out);
        self.count.serialize(out);
        out.extend_from_slice(&self.bytes);
    }
}

/// `messages.messages`: what was found in private chats.
pub(super) fn messages(messages: &Items, chats: &Items, users: &Items, layer: Layer) -> Vec<u8> {
    let mut out = Vec::new();
    layer.pick(0x8c71_8e87, 0x1d73_e7ea).serialize(&mut out);
    messages.write(&mut out);
    if layer == Layer::Current {
        Items::default().write(&mut out);
    }
    chats.write(&mut out);
    users.write(&mut out);
    out
}

/// `messages.channelMessages`: what was found in a channel.
pub(super) fn channel_messages(messages: &Items, chats: &Items, users: &Items) -> Vec<u8> {
    let mut out = Vec::new();
    0xc776_ba4e_u32.serialize(&mut out);
    0_u32.serialize(&mut out);
    1_i32.serialize(&mut out);
    messages.len().serialize(&mut out);
    messages.write(&mut out);
    Items::default().write(&mut out);
    chats.write(&mut out);
    users.write(&mut out);
    out
}

/// `messages.chats`.
pub(super) fn chats(chats: &Items) -> Vec<u8> {
    let mut out = Vec::new();
    0x64ff_9fd5_u32.serialize(&mut out);
    chats.write(&mut out);
    out
}

/// `messages.dialogs`.
pub(super) fn dialogs(dialogs: &Items, messages: &Items, chats: &Items, users: &Items) -> Vec<u8> {
    let mut out = Vec::new();
    0x15ba_6c40_u32.serialize(&mut out);
    for items in [dialogs, messages, chats, users] {
        items.write(&mut out);
    }
    out
}

/// `Vector<User>`.
pub(super) fn users(users: &Items) -> Vec<u8> {
    let mut out = Vec::new();
    users.write(&mut out);
    out
}

/// `auth.authorization`.
pub(super) fn authorization(user: &User<'_>, layer: Layer) -> Vec<u8> {
    let mut out = Vec::new();
    0x2ea2_c0d4_u32.serialize(&mut out);
    0_u32.serialize(&mut out);
    user.write(layer, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use tl::Deserializable;

    use super::*;

    const USER: User<'static> = User {
        id: 7,
        access_hash: 8,
        first_name: "Bot",
        phone: None,
        is_self: true,
        is_bot: true,
    };

    fn channel_peer() -> tl::enums::Peer {
        tl::types::PeerChannel { channel_id: 9 }.into()
    }

    fn photo_message(layer: Layer) -> Vec<u8> {
        let mut out = Vec::new();
        Message {
            id: 3,
            is_mine: false,
            is_post: true,
            is_protected: false,
            peer: channel_peer(),
            from: None,
            date: 5,
            text: "caption",
            media: Some(tl::enums::MessageMedia::Photo(
                tl::types::MessageMediaPhoto {
                    spoiler: false,
                    live_photo: false,
                    photo: None,
                    ttl_seconds: None,
                    video: None,
                },
            )),
            grouped_id: Some(11),
        }
        .write(layer, &mut out);
        out
    }

    #[test]
    fn current_objects_are_read_by_the_schema() {
        let user =
            tl::enums::auth::Authorization::from_bytes(&authorization(&USER, Layer::Current));
        let Ok(tl::enums::auth::Authorization::Authorization(user)) = user else {
            panic!("{user:?}");
        };
        let tl::enums::User::User(user) = user.user else {
            panic!("a user");
        };
        assert!(user.bot && user.is_self);
        assert_eq!((user.id, user.first_name.as_deref()), (7, Some("Bot")));

        let mut found = Items::default();
        found.push(|out| out.extend(photo_message(Layer::Current)));
        found.push(|out| write_service_message(4, &channel_peer(), 6, Layer::Current, out));
        found.push(|out| write_no_message(5, out));
        let mut chats = Items::default();
        let channel = Channel {
            kind: ChannelKind::Broadcast,
            id: 9,
            access_hash: 10,
            title: "Files",
            date: 1,
        };
        chats.push(|out| channel.write(Layer::Current, out));
        let bytes = channel_messages(&found, &chats, &Items::default());
        let Ok(tl::enums::messages::Messages::ChannelMessages(read)) =
            tl::enums::messages::Messages::from_bytes(&bytes)
        else {
            panic!("channelMessages");
        };
        assert_eq!(
            (read.count, read.messages.len(), read.chats.len()),
            (3, 3, 1)
        );
        let tl::enums::Message::Message(message) = &read.messages[0] else {
            panic!("a message");
        };
        assert!(message.post);
        assert_eq!(
            (message.grouped_id, message.message.as_str()),
            (Some(11), "caption")
        );

        let mut lines = Items::default();
        lines.push(|out| write_dialog(&channel_peer(), 5, Layer::Current, out));
        let none = Items::default();
        let bytes = dialogs(&lines, &found, &chats, &none);
        assert!(tl::enums::messages::Dialogs::from_bytes(&bytes).is_ok());
        let bytes = messages(&found, &chats, &none, Layer::Current);
        assert!(tl::enums::messages::Messages::from_bytes(&bytes).is_ok());
    }

    #[test]
    fn old_objects_differ_in_constructors_alone() {
        let (old, current) = (photo_message(Layer::Old), photo_message(Layer::Current));
        assert_eq!(old.len(), current.len());
        let differing = old.iter().zip(&current).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 8, "the message's and the photo's");
    }

    #[test]
    fn layers_are_told_apart() {
        assert_eq!(Layer::of(198), Layer::Old);
        assert_eq!(Layer::of(229), Layer::Current);
    }
}
