//! What each byte of a file costs on its way through: decryption, the message key's hash, the
//! part's checksum. Seconds per GiB on one core, over messages of 512 KiB, which are what a file
//! arrives in. They lie in 16 MiB, as in the product's window: when the turn of one comes again, it
//! has left the nearest caches.
//!
//! ```text
//! cargo bench -p mtproto                  a table
//! cargo bench -p mtproto -- --json        JSON lines, for comparison
//! ```
//!
//! Each figure is the median of several rounds, beside the fastest and the slowest of them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crc_fast::CrcAlgorithm;
use mtproto::ige::{self, IgeKey, Job, MAX_LANES};
use sha2::{Digest, Sha256};

/// Bytes of a message: the largest piece of a file that Telegram hands out.
const MESSAGE: usize = 512 << 10;

/// Messages in memory at a time: 16 MiB of them.
const WINDOW: usize = 32;

/// Bytes of a round, at least.
const ROUND: usize = 128 << 20;

const ROUNDS: usize = 9;

const GIB: f64 = (1 << 30) as f64;

/// Seconds per GiB.
struct Figure {
    name: &'static str,
    /// Messages worked on at once.
    lanes: usize,
    fastest: f64,
    median: f64,
    slowest: f64,
}

/// Times `work`, which goes over `lanes` messages at a call.
fn measure(name: &'static str, lanes: usize, mut work: impl FnMut(&mut [Vec<u8>])) -> Figure {
    let mut window = vec![vec![0x5a; MESSAGE]; WINDOW.next_multiple_of(lanes)];
    let batches = window.len() / lanes;
    let calls = ROUND.div_ceil(MESSAGE * lanes).next_multiple_of(batches);
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..calls / batches {
                for messages in window.chunks_mut(lanes) {
                    work(black_box(messages));
                }
            }
            begin.elapsed()
        })
        .collect();
    rounds.sort();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let gibibytes = (calls * lanes * MESSAGE) as f64 / GIB;
    let per_gib = |round: Duration| round.as_secs_f64() / gibibytes;
    Figure {
        name,
        lanes,
        fastest: per_gib(rounds[0]),
        median: per_gib(rounds[ROUNDS / 2]),
        slowest: per_gib(rounds[ROUNDS - 1]),
    }
}

/// The key and vector of the message `number`.
fn key(number: u8) -> IgeKey {
    IgeKey {
        key: [number; 32],
        iv: [!number; 32],
    }
}

fn jobs(messages: &mut [Vec<u8>]) -> Vec<Job<'_>> {
    (0..)
        .zip(messages)
        .map(|(number, message)| Job::new(key(number), message))
        .collect()
}

fn figures() -> impl Iterator<Item = Figure> {
    let lanes = [1, 2, 3, 4, 6, MAX_LANES];
    let decrypted = lanes.map(|lanes| {
        move || {
            measure("AES-IGE decryption", lanes, |messages| {
                ige::decrypt_many(&mut jobs(messages));
            })
        }
    });
    let encrypted = [1, MAX_LANES].map(|lanes| {
        move || {
            measure("AES-IGE encryption", lanes, |messages| {
                ige::encrypt_many(&mut jobs(messages));
            })
        }
    });
    let others: [fn() -> Figure; 3] = [
        || {
            measure("AES-IGE decryption, grammers", 1, |messages| {
                let IgeKey { key, iv } = key(0);
                grammers_crypto::aes::ige_decrypt(&mut messages[0], &key, &iv);
            })
        },
        || {
            measure("SHA-256", 1, |messages| {
                black_box(Sha256::digest(&messages[0]));
            })
        },
        || {
            measure("CRC32C", 1, |messages| {
                let sum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &messages[0]);
                black_box(sum);
            })
        },
    ];
    let decrypted = decrypted.into_iter().map(|measured| measured());
    let encrypted = encrypted.into_iter().map(|measured| measured());
    let others = others.into_iter().map(|measured| measured());
    decrypted.chain(encrypted).chain(others)
}

fn main() {
    if std::env::args().any(|argument| argument == "--json") {
        for figure in figures() {
            let line = serde_json::json!({
                "benchmark": "primitives",
                "name": figure.name,
                "lanes": figure.lanes,
                "message_bytes": MESSAGE,
                "aes_instructions": ige::is_accelerated(),
                "seconds_per_gib": figure.median,
                "fastest": figure.fastest,
                "slowest": figure.slowest,
            });
            println!("{line}");
        }
        return;
    }
    let aes = if ige::is_accelerated() {
        "with"
    } else {
        "WITHOUT"
    };
    println!("Seconds per GiB on one core, {aes} AES instructions; messages of 512 KiB\n");
    println!(
        "{:30}{:>6}{:>9}{:>9}{:>9}",
        "", "lanes", "median", "fastest", "slowest"
    );
    for figure in figures() {
        println!(
            "{:30}{:>6}{:>9.3}{:>9.3}{:>9.3}",
            figure.name, figure.lanes, figure.median, figure.fastest, figure.slowest
        );
    }
}
