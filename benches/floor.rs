//! What each byte of a file costs at the edges of the process: reading it from a socket, sealing
//! it for TLS, writing it to a socket. Processor seconds per GiB of the thread that does it, over
//! the loopback interface. The bytes lie where they lie in the product: in a window of 16 MiB, so
//! most of them have left the nearest caches when their turn comes. The rest of the floor is in `mtproto/benches/primitives.rs`.
//!
//! ```text
//! cargo bench -p telestream --bench floor                  a table
//! cargo bench -p telestream --bench floor -- --json        JSON lines, for comparison
//! ```

use std::{
    fs,
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes of a round.
const ROUND: usize = 512 << 20;
const ROUNDS: usize = 5;

/// Bytes that are read at a time: a chunk, as the product's connections do.
const CHUNK: usize = 512 << 10;

/// Bytes in memory at a time, as by default.
const WINDOW: usize = 16 << 20;

/// Bytes of a TLS record. Records are written four at a time, as hyper and rustls do.
const RECORD: usize = 16 << 10;
const WRITE: usize = 4 * RECORD;

/// One measurement: the processor's time of a round.
type Measure = fn() -> Duration;

fn main() {
    let measures: [(&str, Measure); 3] = [
        ("AES-256-GCM encryption", seal),
        ("reading a socket", || transfer().0),
        ("writing a socket", || transfer().1),
    ];
    let is_json = std::env::args().any(|argument| argument == "--json");
    if !is_json {
        println!("Processor seconds per GiB\n");
    }
    for (name, measure) in measures {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| per_gib(measure())).collect();
        rounds.sort_by(f64::total_cmp);
        let (fastest, median, slowest) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        if is_json {
            let line = serde_json::json!({
                "benchmark": "floor",
                "name": name,
                "lanes": 1,
                "seconds_per_gib": median,
                "fastest": fastest,
                "slowest": slowest,
            });
            println!("{line}");
        } else {
            println!("{name:30}{median:>9.3}  ({fastest:.3} to {slowest:.3})");
        }
    }
}

fn per_gib(round: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let gibibytes = ROUND as f64 / f64::from(1 << 30);
    round.as_secs_f64() / gibibytes
}

/// How long this thread has been on a processor.
fn processor_time() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds = statistics.split(' ').next().expect("a first number");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = processor_time();
    work();
    processor_time().saturating_sub(begin)
}

fn seal() -> Duration {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
    let window = vec![0x5a; WINDOW];
    let mut record = vec![0; RECORD];
    timed(|| {
        for (number, plain) in (0..(ROUND / RECORD) as u64).zip(window.chunks(RECORD).cycle()) {
            // A record has a buffer of its own: what it is made of may have to be sent again.
            record.copy_from_slice(plain);
            let mut nonce = [0; NONCE_LEN];
            nonce[..8].copy_from_slice(&number.to_le_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = key
                .seal_in_place_separate_tag(nonce, Aad::empty(), &mut record)
                .expect("a record can be sealed");
            let _ = black_box(tag);
        }
    })
}

/// The time of the reader and of the writer.
fn transfer() -> (Duration, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let writer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let window = vec![0x5a; WINDOW];
        timed(|| {
            for bytes in window.chunks(WRITE).cycle().take(ROUND / WRITE) {
                stream.write_all(bytes).expect("it is read");
            }
        })
    });
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut window = vec![0; WINDOW];
    let reading = timed(|| {
        for _ in 0..ROUND / WINDOW {
            for chunk in window.chunks_mut(CHUNK) {
                stream.read_exact(chunk).expect("it is written");
            }
        }
    });
    (reading, writer.join().expect("the writer ends"))
}
