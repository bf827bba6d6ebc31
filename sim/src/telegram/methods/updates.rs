//! `updates.*`: nothing ever happens here, and these methods say so.

use grammers_tl_types as tl;

use super::{Known, object};
use crate::telegram::rpc::Answer;

/// The state of a world without updates.
pub(super) fn get_state(known: &Known<'_>) -> Answer {
    object(&tl::enums::updates::State::State(
        tl::types::updates::State {
            pts: 1,
            qts: 0,
            date: known.call.world.unix_time(),
            seq: 0,
            unread_count: 0,
        },
    ))
}

/// Since then: nothing.
pub(super) fn get_difference(known: &Known<'_>) -> Answer {
    object(&tl::enums::updates::Difference::Empty(
        tl::types::updates::DifferenceEmpty {
            date: known.call.world.unix_time(),
            seq: 0,
        },
    ))
}

/// Since then: nothing, in this channel either.
pub(super) fn get_channel_difference() -> Answer {
    object(&tl::enums::updates::ChannelDifference::Empty(
        tl::types::updates::ChannelDifferenceEmpty {
            r#final: true,
            pts: 1,
            timeout: None,
        },
    ))
}
