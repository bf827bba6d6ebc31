//! Reading and writing the few TL primitives that service messages are made of. A [`Reader`]
//! borrows; lengths are checked against what is really there before anything is allocated.

use crate::session::MsgId;

/// The bytes ended early, or a count promised more than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// The boxed vector's constructor.
const VECTOR: u32 = 0x1cb5_c415;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Truncated> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Truncated> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn msg_id(&mut self) -> Result<MsgId, Truncated> {
        self.i64().map(MsgId)
    }

    /// A count of items, each at least `item` bytes long.
    pub(crate) fn count(&mut self, item: usize) -> Result<usize, Truncated> {
        let count = usize::try_from(self.i32()?).map_err(|_| Truncated)?;
        if count > self.rest.len() / item {
            return Err(Truncated);
        }
        Ok(count)
    }

    /// A TL `string` or `bytes`, padding consumed.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let [first] = self.array()?;
        let (len, head) = if first < 254 {
            (usize::from(first), 1)
        } else {
            let [a, b, c] = self.array()?;
            (
                usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16,
                4,
            )
        };
        let bytes = self.take(len)?;
        self.take((head + len).next_multiple_of(4) - head - len)?;
        Ok(bytes)
    }

    /// `Vector<long>` of message ids.
    pub(crate) fn msg_ids(&mut self) -> Result<Vec<MsgId>, Truncated> {
        if self.u32()? != VECTOR {
            return Err(Truncated);
        }
        let count = self.count(8)?;
        (0..count).map(|_| self.msg_id()).collect()
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A count that the peer reads as a signed 32-bit number.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_i32(out, i32::try_from(count).expect("fewer items than 2^31"));
}

/// Writes a TL `bytes`; its length must be below 2^24, as the format demands.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    match u8::try_from(bytes.len()) {
        Ok(short) if short < 254 => out.push(short),
        _ => {
            let len = u32::try_from(bytes.len()).expect("TL bytes below 2^24");
            assert!(len < 1 << 24, "TL bytes below 2^24");
            put_u32(out, len << 8 | 0xfe);
        }
    }
    out.extend_from_slice(bytes);
    let written = out.len() - start;
    out.resize(start + written.next_multiple_of(4), 0);
}

pub(crate) fn put_msg_ids(out: &mut Vec<u8>, ids: &[MsgId]) {
    put_u32(out, VECTOR);
    put_count(out, ids.len());
    for id in ids {
        put_i64(out, id.0);
    }
}
