"""Measures cases again and again by turns, so that what disturbs the machine disturbs them all."""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from process import Failed, Run

MIB = 1 << 20
GIB = 1 << 30


@dataclass
class Case:
    """One thing that is measured."""

    name: str
    size: int
    run: Callable[[], Run]
    # The time is what the program says it took once it was connected, not its whole life.
    times_itself: bool = False
    # What the connections to Telegram carry at most, if they are slowed down.
    carried: int | None = None


def say(text):
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


def measure(part, cases, runs, stand_ins):
    """The measurements of `cases`, as they stand in the results."""
    taken = {case.name: [] for case in cases}
    for number in range(1, runs + 1):
        for case in cases:
            say(f"{part}: {case.name} ({number} of {runs})")
            taken[case.name].append(take(case, stand_ins))
    return [summary(part, case, taken[case.name]) for case in cases]


def take(case, stand_ins):
    """One run of a case."""
    before = stand_ins.cpu_seconds()
    run = case.run()
    stand_ins_cpu = stand_ins.cpu_seconds() - before
    seconds = run.seconds
    if case.times_itself:
        printed = run.printed()
        seconds = printed["seconds"]
        if printed["size"] != case.size:
            raise Failed(f"{case.name}: {printed['size']} bytes were moved, not {case.size}")
    taken = {
        "seconds": seconds,
        "cpuSeconds": run.cpu_seconds,
        "peakRss": run.peak_rss,
        "standInsCpuSeconds": stand_ins_cpu,
    }
    if run.first_seen is not None:
        taken["firstByteSeconds"] = run.first_seen
    return taken


def summary(part, case, taken):
    """A case with all its runs and their medians."""

    def median(name):
        return statistics.median(run[name] for run in taken)

    measurement = {
        "part": part,
        "name": case.name,
        "size": case.size,
        "seconds": median("seconds"),
        "mibPerSecond": case.size / MIB / median("seconds"),
        "cpuSecondsPerGib": median("cpuSeconds") / (case.size / GIB),
        "standInsCpuSecondsPerGib": median("standInsCpuSeconds") / (case.size / GIB),
        # Memory is judged by its worst.
        "peakRss": max(run["peakRss"] for run in taken),
        "runs": taken,
    }
    if "firstByteSeconds" in taken[0]:
        measurement["firstByteSeconds"] = median("firstByteSeconds")
    if case.carried:
        measurement["ofCarried"] = measurement["mibPerSecond"] * MIB / case.carried
    return measurement
