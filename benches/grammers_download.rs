//! Downloads one document with grammers by itself and throws it away: the library that the product
//! signs in and looks things up with, and does not download files with.
//!
//! Four requests at a time, as its own `download_media` has, which can only write to a disk.
//!
//! The task comes as JSON in the first argument. Printed is what was moved, and in what time once the
//! client was connected: `{"size": ..., "seconds": ...}`.

use std::{
    collections::HashMap,
    net::{SocketAddrV4, SocketAddrV6},
    sync::Arc,
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt as _, stream};
use grammers_client::{Client, SenderPool, media::Downloadable as _, tl};
use grammers_session::{
    SessionData,
    storages::MemorySession,
    types::{DcOption, PeerAuth, PeerId, PeerRef},
};
use serde_json::{Value, json};

const CHUNK: i32 = 512 << 10;
const REQUESTS: usize = 4;

#[tokio::main]
async fn main() {
    let task = std::env::args().nth(1).expect("a task");
    let task: Value = serde_json::from_str(&task).expect("the task is JSON");
    let session = Arc::new(MemorySession::from(session(&task["session"])));
    let SenderPool { runner, handle, .. } = SenderPool::new(session, 1);
    let client = Client::new(handle);
    tokio::spawn(runner.run());

    let channel = PeerRef {
        id: PeerId::channel(number(&task["channelId"])).expect("a channel's id"),
        auth: PeerAuth::default(),
    };
    let message = i32::try_from(number(&task["messageId"])).expect("a message's id");
    let found = client.get_messages_by_id(channel, &[message]).await;
    let message = found.expect("an answer").remove(0).expect("the message");
    let media = message.media().expect("a file");
    let location = media.to_raw_input_location().expect("it has a place");
    let data_centre = media.dc_id().expect("it has a data centre");
    let size = i64::try_from(media.size().expect("it has a size")).expect("a size");

    let begun = Instant::now();
    let step = usize::try_from(CHUNK).expect("positive");
    let moved: usize = stream::iter((0..size).step_by(step))
        .map(async |offset| {
            let request = tl::functions::upload::GetFile {
                precise: true,
                cdn_supported: false,
                location: location.clone(),
                offset,
                limit: CHUNK,
            };
            match client.invoke_in_dc(data_centre, &request).await {
                Ok(tl::enums::upload::File::File(file)) => file.bytes.len(),
                other => panic!("{other:?}"),
            }
        })
        .buffer_unordered(REQUESTS)
        .fold(0, async |sum, length| sum + length)
        .await;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({"size": moved, "seconds": seconds}));
}

/// A session document as grammers takes it.
fn session(document: &Value) -> SessionData {
    let dcs = document["dcs"].as_array().expect("data centres");
    let dc_options: HashMap<_, _> = dcs.iter().map(data_centre).collect();
    let home_dc = i32::try_from(number(&document["homeDc"])).expect("a data centre's id");
    SessionData {
        home_dc,
        dc_options,
        ..SessionData::default()
    }
}

fn data_centre(entry: &Value) -> (i32, DcOption) {
    let id = i32::try_from(number(&entry["id"])).expect("a data centre's id");
    let text = |key: &str| entry[key].as_str().expect("a text");
    let ipv4: SocketAddrV4 = text("ipv4").parse().expect("an address");
    let key = BASE64.decode(text("authKey")).expect("base64");
    let option = DcOption {
        id,
        ipv4,
        ipv6: SocketAddrV6::new(ipv4.ip().to_ipv6_mapped(), ipv4.port(), 0, 0),
        auth_key: Some(key.try_into().expect("256 bytes")),
    };
    (id, option)
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}
