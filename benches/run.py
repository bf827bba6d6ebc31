"""Measures the product and its peers against the same stand-ins, in one run.

Started by dev/bench, which builds and installs everything. Prints tables, writes all figures to one
JSON file, and says of each budget whether it was met.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time

import measure
import report
from contenders import Contenders
from standins import StandIns

MIB = 1 << 20

# A distant data centre: what it sends a connection, and how late.
SHAPED_RATE = 6 * MIB
SHAPED_LATENCY_MS = 80
# How long a shaped transfer lasts at best.
SHAPED_SECONDS = 16

SIZES = {
    "full": {"sizes": [1, 64, 1024, 4096], "peers": 1024, "telethon": 256, "original": 64},
    "quick": {"sizes": [1, 64], "peers": 64, "telethon": 64, "original": 16},
}


class Benchmark:
    """All measurements of one run, as they come in."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.sizes = SIZES["quick" if arguments.quick else "full"]
        self.results = []

    def run(self):
        for tls in (True, False):
            with StandIns(self.arguments.sim, tls) as stand_ins:
                self.against(stand_ins)

    def against(self, stand_ins):
        arguments = self.arguments
        contenders = Contenders(
            stand_ins, arguments.telestream, arguments.clients, arguments.modules
        )
        sent = {}

        def message(mib):
            if mib not in sent:
                sent[mib] = stand_ins.send(mib * MIB)
            return sent[mib]

        def ours(mib, **options):
            return lambda: contenders.ours(message(mib), **options)

        for mib in self.sizes["sizes"]:
            self.measure("sizes", "telestream", mib, ours(mib), stand_ins)
        if not stand_ins.tls:
            return
        self.latency(stand_ins, contenders, message)

        peers, telethon, original = (
            self.sizes[name] for name in ("peers", "telethon", "original")
        )
        self.measure("peers", "telestream", peers, ours(peers), stand_ins)
        for connections in (4, 8):
            self.measure(
                "peers",
                f"gotd, {connections} connections",
                peers,
                lambda: contenders.gotd(message(peers), connections),
                stand_ins,
            )
        self.measure(
            "peers",
            "Telethon with cryptg",
            telethon,
            lambda: contenders.telethon(message(telethon)),
            stand_ins,
        )
        self.measure(
            "peers",
            "the original's method",
            original,
            lambda: contenders.original(message(original)),
            stand_ins,
        )
        file = stand_ins.folder / "file"
        with open(file, "wb") as out:
            for _ in range(peers):
                out.write(os.urandom(MIB))
        self.measure("peers", "rclone", peers, lambda: contenders.rclone(file), stand_ins)
        file.unlink()

        for connections in (1, 2, 4, 8):
            command = ours(peers, connections=connections)
            self.measure(
                "connections", "telestream", peers, command, stand_ins, connections=connections
            )
        stand_ins.shape(SHAPED_RATE, SHAPED_LATENCY_MS)
        for connections in (1, 2, 4, 8):
            seconds = 4 if arguments.quick else SHAPED_SECONDS
            mib = connections * SHAPED_RATE // MIB * seconds
            command = ours(mib, connections=connections)
            self.measure(
                "shaped", "telestream", mib, command, stand_ins, connections=connections
            )
        stand_ins.shape(None, 0)

    def measure(self, group, contender, mib, command, stand_ins, **about):
        """Measures a command several times."""
        runs = [measure.run(*command()) for _ in range(self.arguments.runs)]
        result = {
            "group": group,
            "contender": contender,
            "tls": stand_ins.tls,
            **about,
            **measure.figures(runs, mib * MIB),
        }
        self.results.append(result)
        print(report.line(result), file=sys.stderr, flush=True)

    def latency(self, stand_ins, contenders, message):
        """From the start of the process to the first byte that Object Storage receives, and to
        the link."""
        first_bytes, links = [], []
        for _ in range(max(3, self.arguments.runs)):
            command, environment = contenders.ours(message(1))
            stand_ins.count_anew()
            begun = time.monotonic()
            seen = []

            def watch():
                while not seen and time.monotonic() < begun + 60:
                    if stand_ins.received():
                        seen.append(time.monotonic() - begun)
                    time.sleep(0.002)

            watching = threading.Thread(target=watch)
            watching.start()
            links.append(measure.run(command, environment).seconds)
            watching.join()
            first_bytes.append(seen[0])
        self.results.append(
            {
                "group": "latency",
                "contender": "telestream",
                "tls": stand_ins.tls,
                "secondsToFirstByte": sorted(first_bytes)[len(first_bytes) // 2],
                "secondsToLink": sorted(links)[len(links) // 2],
            }
        )


def floor(arguments):
    """What the primitives cost that every byte needs, in processor seconds per GiB."""
    figures = {}
    for program in arguments.primitives:
        output = subprocess.run([program, "--bench", "--json"], check=True, stdout=subprocess.PIPE)
        for line in output.stdout.splitlines():
            figure = json.loads(line)
            figures[f"{figure['name']}, {figure['lanes']} at once"] = figure["seconds_per_gib"]
    return figures


def machine():
    """What the figures were measured on."""
    with open("/proc/cpuinfo") as lines:
        models = [line.split(": ", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, what in {
        "telestream": "the product's program",
        "sim": "the stand-ins' program",
        "clients": "the folder of the independent clients",
        "modules": "the folder with the Node.js modules of the original's method",
    }.items():
        parser.add_argument(f"--{name}", required=True, help=what)
    parser.add_argument(
        "--primitives", action="append", default=[], help="a benchmark program of primitives"
    )
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where the figures go")
    parser.add_argument("--compare", type=pathlib.Path, help="the figures of an earlier run")
    parser.add_argument("--markdown", type=pathlib.Path, help="the page to put the tables into")
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="small files, to see that it works")
    arguments = parser.parse_args()

    benchmark = Benchmark(arguments)
    results = {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "floor": floor(arguments),
        "results": benchmark.results,
    }
    benchmark.run()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    text = report.tables(results)
    print(text)
    if arguments.compare:
        print(report.comparison(json.loads(arguments.compare.read_text()), results))
    if arguments.markdown:
        report.put_into(arguments.markdown, text)
    print(f"All figures are in {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
