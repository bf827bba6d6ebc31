"""Measures the controller and writes it down. Called by dev/bench-controller.

The figures are those that benches/controller.rs writes; here they get the machine they were taken
on, and become tables.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

import machine
import report
from measure import say
from process import Failed

BEGIN = "<!-- controller's figures: written by `make bench-controller`, not by hand -->"
END = "<!-- end of the controller's figures -->"

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
    parser.add_argument(
        "--markdown", type=Path, metavar="PAGE", help="page to write the tables into"
    )
    return parser.parse_args()


def main():
    asked = arguments()
    flags = ["quick", "speed_only", "cost_only", "many_waiting"]
    passed = ["--" + flag.replace("_", "-") for flag in flags if getattr(asked, flag)]
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
    ended = subprocess.run([*bench, "--", *passed, "--output", figures], check=False)
    if ended.returncode:
        raise Failed("the benchmark failed")
    results["figures"] = [json.loads(line) for line in figures.read_text().splitlines()]
    figures.unlink()
    output.write_text(json.dumps(results, indent=1) + "\n")
    text = render(results)
    print(f"\n{text}")
    if asked.markdown:
        report.write_into(asked.markdown, text, BEGIN, END)
    say(f"\nwritten to {output}")


def render(results):
    """All figures, a table for each part of them."""
    sections = [report.summary(results)]
    for part, title in PARTS.items():
        figures = [one for one in results["figures"] if one["part"] == part]
        for jobs, rows in by_jobs(figures).items():
            name = title if jobs is None else f"{title}: {jobs}"
            sections.append(report.section(name, ["", "budget", "measured", ""], rows))
    return "\n\n".join(sections)


def by_jobs(figures):
    """Rows of tables, by the numbers of jobs that are there meanwhile."""
    tables = {}
    for one in figures:
        unit = f" {one['unit']}" if one["unit"] else ""
        limit, verdict = "", ""
        for key, words in LIMITS.items():
            if key in one:
                limit = f"{words} {one[key]:g}{unit}"
                kept = one["value"] <= one[key] if key == "atMost" else one["value"] >= one[key]
                verdict = "ok" if kept else "MISSED"
        row = [one["what"], limit, f"{one['value']:.3g}{unit}", verdict]
        tables.setdefault(one.get("jobs"), []).append(row)
    return tables


try:
    main()
except (Failed, OSError) as error:
    sys.exit(f"error: {error}")
