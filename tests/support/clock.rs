//! Clocks that are wrong: a library that is loaded before all others tells a process another time.
//!
//! Only the time of day is moved. What measures durations goes on as it does.

use std::{path::PathBuf, process::Command, sync::LazyLock};

/// The variable that says by how many seconds the clock is fast.
const VARIABLE: &str = "CLOCK_FAST_SECONDS";

/// Adds them to what the kernel says.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
	int failed = syscall(SYS_clock_gettime, clock, time);
	const char *fast = getenv("CLOCK_FAST_SECONDS");
	if (!failed && fast && clock == CLOCK_REALTIME) time->tv_sec += atol(fast);
	return failed;
}
"#;

/// Built once for all tests of a process.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let name = format!("clock-{}", std::process::id());
    let (source, library) = (
        folder.join(format!("{name}.c")),
        folder.join(format!("{name}.so")),
    );
    std::fs::write(&source, SOURCE).expect("a file can be written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status();
    assert!(
        built.is_ok_and(|built| built.success()),
        "there is no C compiler: dev/setup installs one"
    );
    library
});

/// What a process is started with whose clock is so many seconds fast.
pub fn variables(seconds: i64) -> [(String, String); 2] {
    [
        ("LD_PRELOAD".to_owned(), LIBRARY.display().to_string()),
        (VARIABLE.to_owned(), seconds.to_string()),
    ]
}
