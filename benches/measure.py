"""Runs a command and tells what it cost."""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
MIB = 1 << 20


@dataclasses.dataclass
class Run:
    """What one run cost, its own children included."""

    seconds: float
    cpu_seconds: float
    peak_rss: int


def run(command, environment):
    """Runs a command to its end; a failure ends the benchmark with what it said."""
    command = [str(word) for word in command]
    environment = {key: str(value) for key, value in environment.items()}
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    with tempfile.TemporaryFile() as said:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            tail = said.read()[-3000:].decode(errors="replace")
            sys.exit(f"{command[0]} ended with {process.returncode}:\n{tail}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def figures(runs, size):
    """The medians of several runs that moved so many bytes each."""
    median = statistics.median
    return {
        "bytes": size,
        "seconds": median(run.seconds for run in runs),
        "mibPerSecond": median(size / MIB / run.seconds for run in runs),
        "cpuSecondsPerGib": median(run.cpu_seconds * GIB / size for run in runs),
        "peakRssMib": max(run.peak_rss for run in runs) / MIB,
        "runs": [dataclasses.asdict(run) for run in runs],
    }
