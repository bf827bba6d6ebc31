//! Files as bots may fetch them: small ones.

use serde_json::json;

use super::Answered;
use crate::bot_api::error::Refusal;
use crate::bot_api::file_ids::{self, unique_id};
use crate::bot_api::params::Params;
use crate::bot_api::state::Desk;

/// The longest file that the Bot API hands out, in bytes.
const MAX_SIZE: u64 = 20 << 20;

/// `getFile`.
pub(super) fn get_file(desk: &mut Desk<'_>, params: &mut Params) -> Answered {
    let file_id = params.text("file_id").unwrap_or_default();
    if file_id.is_empty() {
        return Err(Refusal::bad("file_id not specified"));
    }
    let wrong = || Refusal::bad("wrong file_id or the file is temporarily unavailable");
    let named = file_ids::parse(&file_id).ok_or_else(wrong)?;
    let file = desk.store().file(named.file_id).ok_or_else(wrong)?;
    let mut renditions = file.renditions.iter();
    let rendition = renditions.find(|one| one.name == named.rendition);
    let size = rendition.ok_or_else(wrong)?.content.len();
    if size > MAX_SIZE {
        return Err(Refusal::bad("file is too big"));
    }
    Ok(json!({
        "file_id": file_id,
        "file_unique_id": unique_id(&file.media, &named.rendition),
        "file_size": size,
        "file_path": format!("files/{file_id}"),
    })
    .into())
}
