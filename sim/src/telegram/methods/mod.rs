//! The methods of the API that the stand-in knows, and the way to them.
//!
//! [`answer`] takes off the wrappers (layer, connection, updates), checks that the key may call
//! the method, and hands the call to its function, which sits in the module named after the
//! method's own name space. A function is told everything by its [`Call`] and changes nothing
//! but the world's own state.

mod auth;
mod chats;
mod help;
mod messages;
mod updates;
mod upload;

use grammers_tl_types::deserialize::{Cursor, Result as TlResult};
use grammers_tl_types::{Deserializable, Identifiable, Serializable, functions as f};

use super::ids::{Door, Identity};
use super::keys::Key;
use super::layer::Layer;
use super::rpc::{Answer, RpcError};
use super::session::Session;
use super::world::{Centre, World};

/// Everything a method may want to know of who calls it.
pub(super) struct Call<'a> {
    pub(super) world: &'a World,
    pub(super) centre: Centre,
    pub(super) door: Door,
    pub(super) key: &'a Key,
    pub(super) session: &'a Session,
}

/// A call by somebody who is signed in.
struct Known<'a> {
    call: &'a Call<'a>,
    who: Identity,
    layer: Layer,
}

type Answered = Result<Answer, RpcError>;

/// What is left of a query behind its wrapper.
struct Rest(Vec<u8>);

impl Deserializable for Rest {
    fn deserialize(cursor: &mut Cursor<'_>) -> TlResult<Self> {
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest)?;
        Ok(Self(rest))
    }
}

/// Wrappers may wrap wrappers, but not for ever.
const MAX_WRAPPERS: usize = 8;

/// The name of the method a query calls, for logs and for rules about methods.
pub(super) fn name_of(query: &[u8]) -> &'static str {
    let mut query = query.to_vec();
    for _ in 0..MAX_WRAPPERS {
        match unwrap(&query) {
            Ok(Unwrapped {
                rest: Some(rest), ..
            }) => query = rest,
            _ => break,
        }
    }
    constructor(&query).map_or("?", grammers_tl_types::name_for_id)
}

/// Answers a query.
pub(super) fn answer(call: &Call<'_>, query: Vec<u8>) -> Answered {
    let mut query = query;
    for _ in 0..MAX_WRAPPERS {
        let unwrapped = unwrap(&query)?;
        if let Some(layer) = unwrapped.layer {
            call.session.set_layer(Layer::of(layer));
            call.key.set_layer(Layer::of(layer));
        }
        match unwrapped.rest {
            Some(rest) => query = rest,
            None => return dispatch(call, &query),
        }
    }
    Err(RpcError::bad("INPUT_METHOD_INVALID"))
}

#[derive(Default)]
struct Unwrapped {
    layer: Option<i32>,
    rest: Option<Vec<u8>>,
}

fn unwrap(query: &[u8]) -> Result<Unwrapped, RpcError> {
    let rest = |Rest(rest)| Unwrapped {
        layer: None,
        rest: Some(rest),
    };
    Ok(match constructor(query)? {
        f::InvokeWithLayer::<Rest>::CONSTRUCTOR_ID => {
            let wrapper: f::InvokeWithLayer<Rest> = read(query)?;
            Unwrapped {
                layer: Some(wrapper.layer),
                rest: Some(wrapper.query.0),
            }
        }
        f::InitConnection::<Rest>::CONSTRUCTOR_ID => {
            rest(read::<f::InitConnection<Rest>>(query)?.query)
        }
        f::InvokeWithoutUpdates::<Rest>::CONSTRUCTOR_ID => {
            rest(read::<f::InvokeWithoutUpdates<Rest>>(query)?.query)
        }
        f::InvokeAfterMsg::<Rest>::CONSTRUCTOR_ID => {
            rest(read::<f::InvokeAfterMsg<Rest>>(query)?.query)
        }
        _ => Unwrapped::default(),
    })
}

fn constructor(query: &[u8]) -> Result<u32, RpcError> {
    let head = query
        .first_chunk()
        .ok_or(RpcError::bad("INPUT_METHOD_INVALID"))?;
    Ok(u32::from_le_bytes(*head))
}

/// Reads a whole method, whose constructor is known to be right.
fn read<T: Deserializable>(query: &[u8]) -> Result<T, RpcError> {
    let mut cursor = Cursor::from_slice(&query[4..]);
    let method = T::deserialize(&mut cursor);
    let method = method.map_err(|_| RpcError::bad("INPUT_CONSTRUCTOR_INVALID"))?;
    if cursor.pos() + 4 == query.len() {
        Ok(method)
    } else {
        Err(RpcError::bad("INPUT_REQUEST_TOO_LONG"))
    }
}

/// An object as the answer.
fn object(object: &impl Serializable) -> Answer {
    Answer::Object(object.to_bytes())
}

fn dispatch(call: &Call<'_>, query: &[u8]) -> Answered {
    let layer = call.session.layer().or(call.key.layer());
    let layer = layer.ok_or(RpcError::bad("CONNECTION_NOT_INITED"))?;
    let constructor = constructor(query)?;
    if call.door == Door::Media && !serves_media(constructor) {
        return Err(RpcError::bad("METHOD_INVALID"));
    }
    if let Some(answered) = for_anyone(call, layer, constructor, query) {
        return answered;
    }
    let who = call
        .key
        .owner()
        .ok_or(RpcError::unauthorized("AUTH_KEY_UNREGISTERED"))?;
    let known = Known { call, who, layer };
    for_known(&known, constructor, query)
}

/// What the door for files lets in.
const fn serves_media(constructor: u32) -> bool {
    matches!(
        constructor,
        f::upload::GetFile::CONSTRUCTOR_ID
            | f::upload::GetFileHashes::CONSTRUCTOR_ID
            | f::help::GetConfig::CONSTRUCTOR_ID
    )
}

/// The methods that need no login; `None` for all others.
fn for_anyone(call: &Call<'_>, layer: Layer, constructor: u32, query: &[u8]) -> Option<Answered> {
    Some(match constructor {
        f::help::GetConfig::CONSTRUCTOR_ID => Ok(help::get_config(call)),
        f::help::GetNearestDc::CONSTRUCTOR_ID => Ok(help::get_nearest_dc(call)),
        f::help::GetAppConfig::CONSTRUCTOR_ID => Ok(help::get_app_config()),
        f::auth::ImportAuthorization::CONSTRUCTOR_ID => {
            read(query).and_then(|method| auth::import_authorization(call, layer, &method))
        }
        f::auth::ImportBotAuthorization::CONSTRUCTOR_ID => {
            read(query).and_then(|method| auth::import_bot_authorization(call, layer, &method))
        }
        f::auth::SendCode::CONSTRUCTOR_ID => {
            read(query).and_then(|method| auth::send_code(call, &method))
        }
        f::auth::SignIn::CONSTRUCTOR_ID => {
            read(query).and_then(|method| auth::sign_in(call, layer, &method))
        }
        f::account::GetPassword::CONSTRUCTOR_ID => auth::get_password(call),
        f::auth::CheckPassword::CONSTRUCTOR_ID => {
            read(query).and_then(|method| auth::check_password(call, layer, &method))
        }
        _ => return None,
    })
}

fn for_known(known: &Known<'_>, constructor: u32, query: &[u8]) -> Answered {
    match constructor {
        f::upload::GetFile::CONSTRUCTOR_ID => upload::get_file(known, &read(query)?),
        f::upload::GetFileHashes::CONSTRUCTOR_ID => upload::get_file_hashes(known, &read(query)?),
        f::channels::GetMessages::CONSTRUCTOR_ID => messages::of_channel(known, &read(query)?),
        f::messages::GetMessages::CONSTRUCTOR_ID => messages::of_private(known, &read(query)?),
        f::messages::GetDialogs::CONSTRUCTOR_ID => chats::get_dialogs(known),
        f::channels::GetChannels::CONSTRUCTOR_ID => chats::get_channels(known, &read(query)?),
        f::users::GetUsers::CONSTRUCTOR_ID => Ok(chats::get_users(known, &read(query)?)),
        f::auth::ExportAuthorization::CONSTRUCTOR_ID => {
            auth::export_authorization(known, &read(query)?)
        }
        f::updates::GetState::CONSTRUCTOR_ID => Ok(updates::get_state(known)),
        f::updates::GetDifference::CONSTRUCTOR_ID => Ok(updates::get_difference(known)),
        f::updates::GetChannelDifference::CONSTRUCTOR_ID => Ok(updates::get_channel_difference()),
        unknown => {
            let name = grammers_tl_types::name_for_id(unknown);
            tracing::warn!(
                name,
                constructor = format_args!("{unknown:08x}"),
                "method not known"
            );
            Err(RpcError::bad("INPUT_METHOD_INVALID"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_method_is_named() {
        let query = f::InvokeWithLayer {
            layer: 230,
            query: f::InvokeWithoutUpdates {
                query: f::help::GetConfig {},
            },
        };
        assert_eq!(name_of(&query.to_bytes()), "help.getConfig");
        assert_eq!(name_of(b"ab"), "?");
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut query = f::auth::ExportAuthorization { dc_id: 2 }.to_bytes();
        assert!(read::<f::auth::ExportAuthorization>(&query).is_ok());
        query.extend_from_slice(&[0; 4]);
        let error = read::<f::auth::ExportAuthorization>(&query).expect_err("too long");
        assert_eq!(error.message, "INPUT_REQUEST_TOO_LONG");
    }
}
