//! A process holds no more of a large file than of a small one.

use std::{fs, time::Duration};

use telestream_sim::oci::Keeping;
use tokio::time::sleep;

use crate::world::{HOME, MIB, Nature, World};

/// What peaks may differ by for other reasons.
const NOISE: u64 = 16 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_file() {
    let small = peak(64 * MIB).await;
    let large = peak(512 * MIB).await;
    assert!(large <= small + NOISE, "{large} bytes after {small}");
}

/// The most memory that `telestream transfer` has of such a file while Object Storage takes it more
/// slowly than Telegram sends it.
async fn peak(size: u64) -> u64 {
    let world = World::with(Nature {
        keeping: Keeping::Checksums,
        ..Nature::default()
    })
    .await;
    let sent = world.send(size, HOME).await;
    world.sim.oci().set_connection_rate(Some(20 * MIB));
    let mut process = world.process(&sent).spawn().unwrap();
    let status = format!("/proc/{}/status", process.id().unwrap());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = process.try_wait().unwrap() {
            break ended;
        }
        // Of a process that has just ended, nothing is told.
        let told = fs::read_to_string(&status).unwrap_or_default();
        peak = high_water_mark(&told).unwrap_or(peak);
        sleep(Duration::from_millis(10)).await;
    };
    assert!(ended.success() && peak > 0, "{ended} at {peak}");
    peak
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
