"""Measures the controller and writes it down. Called by dev/bench-controller.

The figures are those that benches/controller.rs writes; here they get the machine they were taken
on, and become tables.
"""

import argparse
import datetime
import json
import math
import subprocess
import sys
from pathlib import Path

import machine
import recorded
import report
from measure import say
from process import Failed

PARTS = {
    "speed": "On a node with real pods, 3 slots",
    "cost": "On a control plane, with pods as processes",
}

LIMITS = {"atMost": "at most", "atLeast": "at least"}


def arguments():
    parser = argparse.ArgumentParser(
        prog="dev/bench-controller", description="Measures the controller"
    )
    parser.add_argument("--quick", action="store_true", help="few of everything: does it work?")
    parser.add_argument("--speed-only", action="store_true", help="only what takes a node")
    parser.add_argument("--cost-only", action="store_true", help="only what many jobs cost")
    parser.add_argument("--many-waiting", action="store_true", help="only 10,000 that wait at once")
    parser.add_argument("--output", type=Path, default=Path("target/bench/controller.json"))
    recorded.add_arguments(parser, recorded.CONTROLLER)
    asked = parser.parse_args()
    if asked.record and flags(asked):
        parser.error("--record is for everything in full")
    return asked


def flags(asked):
    """What the benchmark itself is told."""
    names = ["quick", "speed_only", "cost_only", "many_waiting"]
    return ["--" + name.replace("_", "-") for name in names if getattr(asked, name)]


def main():
    asked = arguments()
    old = recorded.earlier(asked)
    results = {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "quick": asked.quick,
        "runs": 1,
    }
    output = asked.output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    figures = output.with_suffix(".figures")
    bench = ["cargo", "bench", "--quiet", "--locked", "-p", "telestream", "--bench", "controller"]
    ended = subprocess.run([*bench, "--", *flags(asked), "--output", figures], check=False)
    if ended.returncode:
        raise Failed("the benchmark failed")
    results["figures"] = [json.loads(line) for line in figures.read_text().splitlines()]
    figures.unlink()
    output.write_text(json.dumps(results, indent=1) + "\n")
    text = render(results)
    print(f"\n{text}")
    if old:
        print(f"\n{compare(old, results)}")
    if asked.record:
        recorded.record(recorded.CONTROLLER, results, text)
    say(f"\nwritten to {output}")


def render(results):
    """All figures, a table for each part of them."""
    sections = [report.summary(results)]
    for part, title in PARTS.items():
        figures = [one for one in results["figures"] if one["part"] == part]
        sections += [report.section(title, head, rows) for head, rows in tables(figures)]
    return "\n\n".join(sections)


def tables(figures):
    """A table for all figures without jobs; others with the same names side by side, by their jobs."""
    columns = {}
    for one in figures:
        columns.setdefault(one.get("jobs"), {})[one["what"]] = one
    alike = {}
    for jobs, found in columns.items():
        alike.setdefault(frozenset(found), []).append(jobs)
    for names in alike.values():
        head = ["", "budget", *(name or "measured" for name in names)]
        rows = [
            [what, limit(one), *(value(columns[name][what]) for name in names)]
            for what, one in columns[names[0]].items()
        ]
        yield head, rows


def limit(figure):
    """What a figure is to be, if anything."""
    for key, words in LIMITS.items():
        if key in figure:
            return f"{words} {figure[key]:g}{unit(figure)}"
    return ""


def value(figure):
    """A figure, marked if it is not what it is to be."""
    missed = figure["value"] > figure.get("atMost", math.inf) or figure["value"] < figure.get(
        "atLeast", -math.inf
    )
    return f"{figure['value']:.3g}{unit(figure)}{' MISSED' if missed else ''}"


def unit(figure):
    """Its unit, as it follows a number."""
    return f" {figure['unit']}" if figure["unit"] else ""


def compare(old, new):
    """Two results side by side, where both have the same figure."""

    def key(figure):
        return (figure["part"], figure.get("jobs"), figure["what"])

    before = {key(one): one for one in old["figures"]}
    rows = [
        [": ".join(filter(None, key(one))), value(before[key(one)]), value(one)]
        for one in new["figures"]
        if key(one) in before
    ]
    if not rows:
        raise Failed("the two results have no figure in common")
    title = f"{old['commit']} ({old['taken']}) and {new['commit']} ({new['taken']})"
    return report.section(title, ["", "old", "new"], rows)


try:
    main()
except (Failed, OSError) as error:
    sys.exit(f"error: {error}")
