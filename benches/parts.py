"""The parts of the benchmark: what is measured, with which sizes."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import programs
from measure import GIB, MIB, Case, measure, say
from process import POLL_SECONDS, Failed
from stand_ins import StandIns

# A slow and distant Telegram.
LATENCY_MILLISECONDS = 80
CONNECTION_RATE = 6 * MIB

GOTD_CONNECTIONS = (4, 8)

# Names of cases that are looked up.
PRODUCT = "telestream: whole pipeline, TLS"
ORIGINAL = "original method: whole pipeline, TLS"
GOTD = "gotd, 8 threads"
# How names of peers end that do only half of the work.
DOWNLOAD = ": download alone"

# When a transfer is killed: so much of the file has been received.
KILLED_AT = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Extent:
    """How much is moved."""

    sizes: tuple[int, ...]
    connections: tuple[int, ...]
    connections_size: int
    shaped_size_per_connection: int
    start_size: int
    resume_size: int
    product_size: int
    original_size: int
    gotd_size: int
    grammers_size: int
    telethon_size: int
    file_size: int
    stand_ins_size: int


FULL = Extent(
    sizes=(MIB, 64 * MIB, GIB, 4 * GIB),
    connections=(1, 2, 4, 8),
    connections_size=GIB,
    shaped_size_per_connection=128 * MIB,
    start_size=64 * MIB,
    resume_size=GIB,
    product_size=GIB,
    original_size=64 * MIB,
    gotd_size=GIB,
    grammers_size=GIB,
    telethon_size=256 * MIB,
    file_size=GIB,
    stand_ins_size=2 * GIB,
)
QUICK = Extent(
    sizes=(MIB, 64 * MIB),
    connections=(1, 8),
    connections_size=64 * MIB,
    shaped_size_per_connection=8 * MIB,
    start_size=64 * MIB,
    resume_size=128 * MIB,
    product_size=64 * MIB,
    original_size=4 * MIB,
    gotd_size=64 * MIB,
    grammers_size=64 * MIB,
    telethon_size=32 * MIB,
    file_size=64 * MIB,
    stand_ins_size=128 * MIB,
)


@dataclass(frozen=True)
class Bench:
    """What all parts need to know."""

    extent: Extent
    runs: int
    telestream: Path
    sim: Path
    # The folders that dev/clients made, and of the Node modules of benches/baseline.
    clients: Path
    modules: Path
    grammers: Path

    def stand_ins(self, tls=True):
        """Fresh stand-ins."""
        return StandIns(self.sim, tls)

    def product(self, stand_ins):
        """The product, set to use these."""
        return programs.Telestream(self.telestream, stand_ins)


def size_name(size):
    """A size for people."""
    return f"{size // GIB} GiB" if size >= GIB else f"{size // MIB} MiB"


def transfer_case(product, name, size, at_most=None, carried=None):
    """The whole pipeline, with a file that is there before anything is measured."""
    message = product.stand_ins.message(size)
    return Case(name, size, lambda: product.transfer(message, at_most), carried=carried)


def sizes(bench):
    """The whole pipeline, by size of the file, over TLS and without."""
    taken = []
    for tls, manner in ((True, "TLS"), (False, "plain HTTP")):
        with bench.stand_ins(tls) as stand_ins:
            product = bench.product(stand_ins)
            cases = [
                transfer_case(product, f"{size_name(size)}, {manner}", size)
                for size in bench.extent.sizes
            ]
            taken += measure("sizes", cases, bench.runs, stand_ins)
    return {"measurements": taken}


def connections(bench):
    """The whole pipeline, by number of connections to Telegram."""
    with bench.stand_ins() as stand_ins:
        product = bench.product(stand_ins)
        cases = [
            transfer_case(product, connections_name(count), bench.extent.connections_size, count)
            for count in bench.extent.connections
        ]
        return {"measurements": measure("connections", cases, bench.runs, stand_ins)}


def shaped(bench):
    """The same, from a slow and distant Telegram: a file that keeps all of them equally long busy."""
    with bench.stand_ins() as stand_ins:
        product = bench.product(stand_ins)
        cases = [
            transfer_case(
                product,
                connections_name(count),
                count * bench.extent.shaped_size_per_connection,
                at_most=count,
                carried=count * CONNECTION_RATE,
            )
            for count in bench.extent.connections
        ]
        stand_ins.shape(CONNECTION_RATE, LATENCY_MILLISECONDS)
        return {"measurements": measure("shaped", cases, bench.runs, stand_ins)}


def connections_name(count):
    """Connections for people."""
    return "1 connection" if count == 1 else f"{count} connections"


def start(bench):
    """How soon a new process uploads its first byte."""
    size = bench.extent.start_size
    with bench.stand_ins() as stand_ins:
        product = bench.product(stand_ins)
        message = stand_ins.message(size)

        def run():
            before = stand_ins.received()
            return product.transfer(message, seen=lambda: stand_ins.received() > before)

        cases = [Case(f"{size_name(size)}, TLS", size, run)]
        return {"measurements": measure("start", cases, bench.runs, stand_ins)}


def resume(bench):
    """What is fetched again after a SIGKILL."""
    size = bench.extent.resume_size
    with bench.stand_ins() as stand_ins:
        product = bench.product(stand_ins)
        return {"resumed": [resumed(product, size, at) for at in KILLED_AT]}


def resumed(product, size, killed_at):
    """Kills a transfer when so much of it has been received, and lets the next one go on."""
    say(f"resume: SIGKILL at {killed_at:.0%}")
    stand_ins = product.stand_ins
    message = stand_ins.publish(size)
    before = stand_ins.received()
    process = product.begin(message)
    try:
        while stand_ins.received() - before < size * killed_at:
            if process.poll() is not None:
                raise Failed(f"a transfer ended with {process.returncode} before it was killed")
            time.sleep(POLL_SECONDS)
    finally:
        process.kill()
        process.wait()
    product.go_on(message)
    again = stand_ins.fetched_again(message["fileId"])
    return {"killedAt": killed_at, "size": size, "bytesAgain": again}


def peers(bench):
    """The product beside the original's method, and beside others' download half alone."""
    extent, clients = bench.extent, bench.clients
    with bench.stand_ins() as stand_ins:
        original_file = stand_ins.message(extent.original_size)
        gotd_file = stand_ins.message(extent.gotd_size)
        grammers_file = stand_ins.message(extent.grammers_size)
        telethon_file = stand_ins.message(extent.telethon_size)
        cases = [
            transfer_case(bench.product(stand_ins), PRODUCT, extent.product_size),
            Case(
                ORIGINAL,
                extent.original_size,
                lambda: programs.original(bench.modules, stand_ins, original_file),
                times_itself=True,
            ),
            *(
                Case(
                    f"{GOTD}, {count} connections{DOWNLOAD}",
                    extent.gotd_size,
                    lambda count=count: programs.gotd(clients, stand_ins, gotd_file, count),
                    times_itself=True,
                )
                for count in GOTD_CONNECTIONS
            ),
            Case(
                f"grammers, 4 requests at a time{DOWNLOAD}",
                extent.grammers_size,
                lambda: programs.grammers(bench.grammers, stand_ins, grammers_file),
                times_itself=True,
            ),
            Case(
                f"Telethon with cryptg{DOWNLOAD}",
                extent.telethon_size,
                lambda: programs.telethon(clients, stand_ins, telethon_file),
                times_itself=True,
            ),
        ]
        return {"measurements": measure("peers", cases, bench.runs, stand_ins)}


def rclone(bench):
    """rclone's upload half alone, of the same bytes."""
    size = bench.extent.file_size
    with bench.stand_ins() as stand_ins:
        product = bench.product(stand_ins)
        file = stand_ins.path / "file"
        with open(file, "wb") as random:
            for _ in range(size // MIB):
                random.write(os.urandom(MIB))
        message = stand_ins.publish_file(file)
        cases = [
            Case(PRODUCT, size, lambda: product.transfer(message)),
            Case(
                "rclone: upload alone, TLS",
                size,
                lambda: programs.rclone(bench.clients, stand_ins, file),
            ),
        ]
        return {"measurements": measure("rclone", cases, bench.runs, stand_ins)}


def stand_ins(bench):
    """What the stand-ins serve by themselves: they must not be the limit."""
    say("stand-ins: alone")
    mebibytes = str(bench.extent.stand_ins_size // MIB)
    printed = cargo_bench(
        "telestream-sim",
        "serve",
        *["telegram", "oci-tls", "--connections", "1,8", "--size", mebibytes],
        *["--program", bench.sim],
    )
    line = re.compile(r"^(.+?) +([\d.]+) MiB/s +([\d.]+) processor-s/GiB$", re.MULTILINE)
    found = [
        {"name": name, "mibPerSecond": float(rate), "cpuSecondsPerGib": float(cpu)}
        for name, rate, cpu in line.findall(printed)
    ]
    if not found:
        raise Failed(f"the stand-ins' benchmark printed no figures:\n{printed}")
    return {"standIns": found}


def floor(bench):
    """What each byte costs at the very least: the primitives that a transfer is made of."""
    say("floor: primitives")
    primitives = json_lines(cargo_bench("mtproto", "primitives", "--json"))
    decryption = [one for one in primitives if one["name"] == "AES-IGE decryption"]
    lanes = min(decryption, key=lambda one: one["seconds_per_gib"])
    by_name = {one["name"]: one["seconds_per_gib"] for one in primitives}
    items = [
        (f"{lanes['name']}, {lanes['lanes']} lanes", lanes["seconds_per_gib"]),
        ("SHA-256 of the message key", by_name["SHA-256"]),
        ("CRC32C of the part", by_name["CRC32C"]),
    ]
    say("floor: TLS and sockets")
    for one in json_lines(cargo_bench("telestream", "floor", "--json")):
        items.append((one["name"], one["seconds_per_gib"]))
    return {"floor": [{"name": name, "cpuSecondsPerGib": cost} for name, cost in items]}


def json_lines(text):
    """The documents of a text that has one on each line."""
    return [json.loads(line) for line in text.splitlines()]


def cargo_bench(package, name, *arguments):
    """What a benchmark of this workspace prints."""
    command = ["cargo", "bench", "--quiet", "--locked", "--package", package, "--bench", name, "--"]
    ran = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    if ran.returncode:
        raise Failed(f"cargo bench of {package} failed:\n{ran.stderr}")
    return ran.stdout


PARTS = {
    "sizes": sizes,
    "connections": connections,
    "shaped": shaped,
    "start": start,
    "resume": resume,
    "peers": peers,
    "rclone": rclone,
    "stand-ins": stand_ins,
    "floor": floor,
}
