"""What the figures were taken on, and of what."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path


def describe():
    """The machine and the tools."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    meminfo = Path("/proc/meminfo").read_text()
    model = re.search(r"^(?:model name|CPU part)\s*: (.*)$", cpuinfo, re.MULTILINE)
    total = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryBytes": int(total.group(1)) * 1024,
        "kernel": platform.release(),
        "busyBefore": busy(),
        "rustc": version("rustc"),
        "go": version("go", "version"),
        "node": version("node"),
        "python": platform.python_version(),
    }


def busy():
    """What share of its processors the machine needs for itself, over a second."""

    def times():
        line = Path("/proc/stat").read_text().splitlines()[0]
        spent = [int(ticks) for ticks in line.split()[1:9]]
        # The fourth and fifth are idle and waiting for disks.
        return sum(spent), spent[3] + spent[4]

    total, idle = times()
    time.sleep(1)
    total_after, idle_after = times()
    return 1 - (idle_after - idle) / (total_after - total)


def commit():
    """The commit of this tree, marked if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version(program, argument="--version"):
    """What a program says it is."""
    ran = subprocess.run([program, argument], capture_output=True, text=True, check=True)
    return ran.stdout.strip()
