//! What each byte of a file costs at least on its way through, besides what the benchmark of `mtproto`
//! measures: reading it from a socket, encrypting it for TLS just as rustls does it, writing it to
//! a socket. Processor-seconds per GiB.
//!
//! ```text
//! cargo bench --bench floor                a table
//! cargo bench --bench floor -- --json      JSON lines
//! ```
//!
//! Each figure is the median of several rounds. Of a socket only this end is counted, by the time that
//! its thread was on a processor.

use std::{
    fs,
    hint::black_box,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use rustls::{
    ContentType, ProtocolVersion, SupportedCipherSuite,
    crypto::{
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage},
    },
};

/// Bytes of a round.
const ROUND: usize = 512 << 20;

const ROUNDS: usize = 5;

/// Bytes of a piece of a file: what is read and written at once.
const PIECE: usize = 512 << 10;

/// Bytes of a TLS record, at most.
const RECORD: usize = 16 << 10;

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
const ROUNDS_PER_GIB: f64 = (1 << 30) as f64 / ROUND as f64;

/// Processor time of this thread, in seconds.
fn processor_seconds() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next();
    let nanoseconds = nanoseconds.and_then(|text| text.parse::<f64>().ok());
    nanoseconds
        .map(|nanoseconds| nanoseconds / 1e9)
        .ok_or_else(|| io::Error::other("/proc/thread-self/schedstat has another form"))
}

/// What `work` costs this thread.
fn cost(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let before = processor_seconds()?;
    work()?;
    Ok(processor_seconds()? - before)
}

/// A round through a loopback connection: what reading and writing cost.
fn through_socket() -> io::Result<[f64; 2]> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let writer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        let piece = vec![0x5a; PIECE];
        cost(|| (0..ROUND / PIECE).try_for_each(|_| stream.write_all(&piece)))
    });
    let (mut stream, _) = listener.accept()?;
    let mut piece = vec![0; PIECE];
    let reading = cost(|| {
        while stream.read(&mut piece)? > 0 {}
        Ok(())
    })?;
    let writing = writer.join().expect("the writer does not panic")?;
    Ok([reading, writing])
}

/// A round of records, encrypted.
fn encrypted() -> io::Result<f64> {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_256_GCM_SHA384 else {
        unreachable!("it is a suite of TLS 1.3")
    };
    let (key, iv) = (AeadKey::from([7; 32]), Iv::new([9; 12]));
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    let piece = vec![0x5a; PIECE];
    let records = (0..ROUND / PIECE).flat_map(|_| piece.chunks(RECORD));
    cost(|| {
        for (sequence, record) in (0..).zip(records) {
            let plain = OutboundPlainMessage {
                typ: ContentType::ApplicationData,
                version: ProtocolVersion::TLSv1_3,
                payload: OutboundChunks::Single(record),
            };
            let sealed = encrypter.encrypt(plain, sequence);
            black_box(sealed.map_err(io::Error::other)?.encode());
        }
        Ok(())
    })
}

/// Seconds per GiB.
fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2] * ROUNDS_PER_GIB
}

fn main() -> io::Result<()> {
    let sealed: io::Result<Vec<_>> = (0..ROUNDS).map(|_| encrypted()).collect();
    let moved: io::Result<Vec<_>> = (0..ROUNDS).map(|_| through_socket()).collect();
    let (read, written) = moved?.into_iter().map(<(f64, f64)>::from).unzip();
    let figures = [
        ("reading a socket", median(read)),
        ("TLS 1.3 encryption, AES-256-GCM", median(sealed?)),
        ("writing a socket", median(written)),
    ];
    let json = std::env::args().any(|argument| argument == "--json");
    for (name, seconds) in figures {
        if json {
            let line = serde_json::json!({
                "benchmark": "floor",
                "name": name,
                "seconds_per_gib": seconds,
            });
            println!("{line}");
        } else {
            println!("{name:<34}{seconds:>7.3}");
        }
    }
    Ok(())
}
