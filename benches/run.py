"""Measures everything and writes it down. Called by dev/bench, which builds and installs first."""

import argparse
import datetime
import json
import sys
from pathlib import Path

import machine
import recorded
import report
from budgets import judge
from measure import say
from parts import FULL, PARTS, QUICK, Bench
from process import Failed

# A machine that is busier than this before anything begins spoils the figures.
QUIET = 0.1


def program(path):
    """A program's absolute path: cargo runs benchmarks in other folders."""
    found = Path(path).resolve()
    if not found.is_file():
        raise argparse.ArgumentTypeError(f"there is no {path}")
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="dev/bench", description="Measures TeleStream")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run: does it work?")
    parser.add_argument("--runs", type=int, help="how often each is measured (default: 3)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}"
    )
    parser.add_argument("--output", type=Path, default=Path("target/bench/results.json"))
    recorded.add_arguments(parser, recorded.TRANSFERS)
    parser.add_argument("--telestream", type=program, required=True, help="the product")
    parser.add_argument("--sim", type=program, required=True, help="the stand-ins")
    parser.add_argument(
        "--clients", type=Path, required=True, help="the folder that dev/clients prints"
    )
    parser.add_argument(
        "--modules", type=Path, required=True, help="where benches/baseline is installed"
    )
    parser.add_argument(
        "--grammers", type=program, required=True, help="the download with grammers alone"
    )
    asked = parser.parse_args()
    if asked.record and (asked.quick or asked.only):
        parser.error("--record is for everything in full")
    return asked


def main():
    asked = arguments()
    # Read before anything is measured: a wrong path shows at once.
    old = recorded.earlier(asked)
    bench = Bench(
        extent=QUICK if asked.quick else FULL,
        runs=asked.runs or (1 if asked.quick else 3),
        telestream=asked.telestream,
        sim=asked.sim,
        clients=asked.clients,
        modules=asked.modules,
        grammers=asked.grammers,
    )
    results = {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "quick": asked.quick,
        "runs": bench.runs,
        "measurements": [],
        "resumed": [],
        "standIns": [],
        "floor": [],
    }
    if results["machine"]["busyBefore"] > QUIET:
        say(
            f"this machine is {results['machine']['busyBefore']:.0%} busy already: figures will be worse"
        )
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    for name in asked.only or PARTS:
        for key, found in PARTS[name](bench).items():
            results[key] += found
        results["budgets"] = judge(results)
        # After each part: what took minutes is not lost to what fails later.
        asked.output.write_text(json.dumps(results, indent=1) + "\n")
    text = report.render(results)
    print(text)
    if old:
        print(f"\n{report.compare(old, results)}")
    if asked.record:
        recorded.record(recorded.TRANSFERS, results, text)
    say(f"\nwritten to {asked.output}")


try:
    main()
except (Failed, OSError) as error:
    sys.exit(f"error: {error}")
