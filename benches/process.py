"""Runs a program and says what it took: wall time, processor time, peak memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")

# Longer than anything measured here takes; a program that hangs is a failure.
PATIENCE_SECONDS = 900
POLL_SECONDS = 0.005


class Failed(Exception):
    """Something did not work; the text is for people."""


@dataclass
class Run:
    """What one run of a program took. Its children's share is not in it, nor is anybody else's."""

    began: float
    seconds: float
    cpu_seconds: float
    peak_rss: int
    output: str
    first_seen: float | None = None

    def printed(self):
        """The JSON document that is the last line the program printed."""
        return json.loads(self.output.splitlines()[-1])


def run(command, environment, seen=None):
    """Runs `command` to its end, and fails if it does.

    `seen`, if given, is asked every few milliseconds until it says yes; `first_seen` is how many
    seconds after the start of the program that was.
    """
    command = [str(word) for word in command]
    with tempfile.NamedTemporaryFile() as result:
        launched = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCH, result.name, *command],
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            seen_at = watch(launched, seen) if seen else None
            output, errors = launched.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} did not end within {PATIENCE_SECONDS} s") from None
        finally:
            if launched.poll() is None:
                # The program too: the launcher alone would leave it running.
                os.killpg(launched.pid, signal.SIGKILL)
                launched.wait()
        if launched.returncode:
            raise Failed(f"{command[0]} failed with {launched.returncode}:\n{errors}")
        began, ended, cpu, rss_kib = map(float, result.read().split())
    return Run(
        began=began,
        seconds=ended - began,
        cpu_seconds=cpu,
        peak_rss=int(rss_kib) * 1024,
        output=output,
        first_seen=None if seen_at is None else seen_at - began,
    )


def watch(launched, seen):
    """When `seen` says yes."""
    while launched.poll() is None:
        if seen():
            return time.monotonic()
        time.sleep(POLL_SECONDS)
    raise Failed("a program ended before what it should do was seen")
