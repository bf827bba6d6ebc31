//! `upload.getFile` and `upload.getFileHashes`, by the rules of
//! <https://core.telegram.org/api/files>.

use std::sync::Arc;

use grammers_tl_types as tl;
use tl::Serializable;
use tl::enums::InputFileLocation;
use tl::enums::storage::FileType;

use super::{Answered, Known, object};
use crate::content::Content;
use crate::telegram::rpc::{Answer, FileName, Piece, RpcError};
use crate::telegram::secret::Object;
use crate::telegram::store::StoredFile;

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;

/// How much of a file one hash of `upload.getFileHashes` covers, in bytes.
const HASHED: u64 = 128 << 10;

/// How many hashes are given at once: those of one mebibyte.
const HASHES: u64 = 8;

/// What a location names, however it names it.
struct Location<'a> {
    id: i64,
    access_hash: i64,
    reference: &'a [u8],
    rendition: &'a str,
}

impl Known<'_> {
    /// Finds the file that a location names and checks the right to it.
    fn locate(
        &self,
        location: &InputFileLocation,
    ) -> Result<(Arc<StoredFile>, FileName, Arc<Content>), RpcError> {
        let location = match location {
            InputFileLocation::InputDocumentFileLocation(named) => Location {
                id: named.id,
                access_hash: named.access_hash,
                reference: &named.file_reference,
                rendition: &named.thumb_size,
            },
            InputFileLocation::InputPhotoFileLocation(named) => Location {
                id: named.id,
                access_hash: named.access_hash,
                reference: &named.file_reference,
                rendition: &named.thumb_size,
            },
            _ => return Err(RpcError::bad("LOCATION_INVALID")),
        };
        let file = self.call.world.store.file(location.id);
        let file = file.ok_or(RpcError::bad("FILE_ID_INVALID"))?;
        if location.access_hash != self.access_hash(Object::File(location.id)) {
            return Err(RpcError::bad("FILE_ID_INVALID"));
        }
        self.check_reference(&location)?;
        if file.dc != self.call.centre.id {
            return Err(RpcError::migrate("FILE", file.dc));
        }
        let rendition = file
            .renditions
            .iter()
            .find(|one| one.name == location.rendition);
        let rendition = rendition.ok_or(RpcError::bad("LOCATION_INVALID"))?;
        let name = FileName {
            id: location.id,
            rendition: rendition.name,
        };
        let content = Arc::clone(&rendition.content);
        Ok((file, name, content))
    }

    /// A reference serves for a while, and no longer than the message it came with.
    fn check_reference(&self, location: &Location<'_>) -> Result<(), RpcError> {
        let world = self.call.world;
        let says = world
            .secret
            .read_reference(self.who, location.id, location.reference);
        let says = says.ok_or(RpcError::bad("FILE_REFERENCE_INVALID"))?;
        let age = world
            .now()
            .as_secs()
            .cast_signed()
            .saturating_sub(says.issued);
        let too_old = age.unsigned_abs() > world.reference_ttl.as_secs();
        let superseded = says.generation < world.reference_generation();
        if too_old || superseded || world.store.message(says.chat_id, says.message_id).is_none() {
            return Err(RpcError::bad("FILE_REFERENCE_EXPIRED"));
        }
        Ok(())
    }
}

/// `upload.getFile`. There is no CDN to be sent to.
pub(super) fn get_file(known: &Known<'_>, method: &tl::functions::upload::GetFile) -> Answered {
    let grain = if method.precise {
        Grain::Fine
    } else {
        Grain::Coarse
    };
    check_range(method.offset, method.limit.into(), grain)?;
    let (file, name, content) = known.locate(&method.location)?;
    let offset = method.offset.unsigned_abs().min(content.len());
    let left = content.len() - offset;
    let len = left.min(method.limit.unsigned_abs().into());
    Ok(Answer::Piece(Piece {
        name,
        content,
        offset,
        len: usize::try_from(len).expect("at most 1 MiB"),
        mtime: i32::try_from(file.date).unwrap_or(i32::MAX),
        file_type: file_type(),
        flaw: None,
    }))
}

/// What is said of every file: nothing.
fn file_type() -> u32 {
    let mut id = [0; 4];
    id.copy_from_slice(&FileType::FileUnknown.to_bytes()[..4]);
    u32::from_le_bytes(id)
}

/// How finely a range is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    /// By 4 KiB, a mebibyte holding a whole number of pieces: the rule.
    Coarse,
    /// By 1 KiB: `precise`.
    Fine,
}

/// Whether a range may be asked for, in bytes.
fn check_range(offset: i64, limit: i64, grain: Grain) -> Result<(), RpcError> {
    let step = match grain {
        Grain::Coarse => 4 * KIB,
        Grain::Fine => KIB,
    };
    if offset < 0 || offset % step != 0 {
        return Err(RpcError::bad("OFFSET_INVALID"));
    }
    let fits = grain == Grain::Fine || MIB % limit.max(1) == 0;
    if limit <= 0 || limit > MIB || limit % step != 0 || !fits {
        return Err(RpcError::bad("LIMIT_INVALID"));
    }
    if offset / MIB != (offset + limit - 1) / MIB {
        return Err(RpcError::bad("LIMIT_INVALID"));
    }
    Ok(())
}

/// `upload.getFileHashes`: the hashes of the mebibyte that holds the offset.
pub(super) fn get_file_hashes(
    known: &Known<'_>,
    method: &tl::functions::upload::GetFileHashes,
) -> Answered {
    if method.offset < 0 {
        return Err(RpcError::bad("OFFSET_INVALID"));
    }
    let (_, _, content) = known.locate(&method.location)?;
    let first = method.offset.unsigned_abs() / (HASHED * HASHES) * HASHES;
    let mut hashes = Vec::new();
    for index in first..first + HASHES {
        let start = index * HASHED;
        let end = (start + HASHED).min(content.len());
        if start >= end {
            break;
        }
        let hash = content.sha256_of(start, end).map_err(|error| {
            tracing::error!(%error, "a stored file cannot be read");
            RpcError::internal()
        })?;
        hashes.push(tl::enums::FileHash::Hash(tl::types::FileHash {
            offset: start.cast_signed(),
            limit: i32::try_from(end - start).expect("at most 128 KiB"),
            hash: hash.to_vec(),
        }));
    }
    Ok(object(&hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_judged_by_the_documented_rules() {
        let ok: Result<(), &str> = Ok(());
        let cases = [
            (0, 512 * KIB, Grain::Coarse, ok),
            (512 * KIB, 512 * KIB, Grain::Coarse, ok),
            (4 * KIB, 4 * KIB, Grain::Coarse, ok),
            (0, MIB, Grain::Coarse, ok),
            (KIB, KIB, Grain::Fine, ok),
            (0, 3 * KIB, Grain::Fine, ok),
            (KIB, 4 * KIB, Grain::Coarse, Err("OFFSET_INVALID")),
            (-4 * KIB, 4 * KIB, Grain::Coarse, Err("OFFSET_INVALID")),
            (512, KIB, Grain::Fine, Err("OFFSET_INVALID")),
            (0, 0, Grain::Coarse, Err("LIMIT_INVALID")),
            (0, -4 * KIB, Grain::Fine, Err("LIMIT_INVALID")),
            (0, 12 * KIB, Grain::Coarse, Err("LIMIT_INVALID")),
            (0, KIB, Grain::Coarse, Err("LIMIT_INVALID")),
            (0, 2 * MIB, Grain::Fine, Err("LIMIT_INVALID")),
            (768 * KIB, 512 * KIB, Grain::Coarse, Err("LIMIT_INVALID")),
            (MIB - KIB, 2 * KIB, Grain::Fine, Err("LIMIT_INVALID")),
        ];
        for (offset, limit, grain, expected) in cases {
            let judged = check_range(offset, limit, grain);
            let judged = judged.map_err(|error| error.message.into_owned());
            let expected = expected.map_err(str::to_owned);
            assert_eq!(judged, expected, "{limit} at {offset}, {grain:?}");
        }
    }
}
