//! Against another implementation of MD5, with every way of cutting and mixing bodies.

use md5::{Digest as _, Md5};

use super::*;

/// Bytes without a pattern that a lane could share with another.
fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

fn hash_in_frames(lanes: &Md5Lanes, bytes: &[u8], frame: usize) -> [u8; 16] {
    let body = lanes.body();
    for frame in bytes.chunks(frame) {
        body.update(Bytes::copy_from_slice(frame));
    }
    body.finish()
}

fn expected(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

#[test]
fn every_short_length_agrees_with_another_implementation() {
    let lanes = Md5Lanes::start().expect("a thread");
    for length in 0..=260 {
        let bytes = bytes(7, length);
        for frame in [1, 63, 64, 65, 1000] {
            let digest = hash_in_frames(&lanes, &bytes, frame);
            assert_eq!(
                digest,
                expected(&bytes),
                "{length} bytes in frames of {frame}"
            );
        }
    }
}

#[test]
fn bodies_side_by_side_do_not_mix() {
    for count in [2, 3, 4, 5, 8, 20] {
        let lanes = Md5Lanes::start().expect("a thread");
        thread::scope(|scope| {
            for seed in 0..count {
                let lanes = &lanes;
                scope.spawn(move || {
                    let bytes = bytes(seed, 200_000 + 977 * seed as usize);
                    let frame = 5_000 + 64 * seed as usize + (seed % 3) as usize;
                    let digest = hash_in_frames(lanes, &bytes, frame);
                    assert_eq!(digest, expected(&bytes), "body {seed} of {count}");
                });
            }
        });
    }
}

#[test]
fn batches_are_hashed_in_lanes() {
    for count in 1..=LANES {
        let bodies: Vec<Vec<u8>> = (0..count)
            .map(|n| bytes(u32::try_from(n).expect("small"), 640 + 64 * n))
            .collect();
        let mut batch: Vec<(u64, Hashing)> = bodies
            .iter()
            .map(|bytes| {
                let rest = Bytes::copy_from_slice(bytes);
                (
                    0,
                    Hashing {
                        rest,
                        ..Hashing::default()
                    },
                )
            })
            .collect();
        while batch.iter().any(|(_, hashing)| !hashing.rest.is_empty()) {
            hash(&mut batch);
        }
        for ((_, hashing), bytes) in batch.into_iter().zip(&bodies) {
            assert_eq!(hashing.finish(), expected(bytes), "{count} lanes");
        }
    }
}

#[test]
fn a_body_given_up_leaves_no_place() {
    let lanes = Md5Lanes::start().expect("a thread");
    let body = lanes.body();
    body.update(Bytes::from_static(&[0; 100]));
    drop(body);
    assert!(lanes.0.lock().bodies.is_empty());
    assert_eq!(hash_in_frames(&lanes, b"abc", 3), expected(b"abc"));
}
