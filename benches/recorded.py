"""The results that docs/performance.md quotes, kept for later runs to be compared with."""

import json
from dataclasses import dataclass
from pathlib import Path

from process import Failed

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Recorded:
    """The results of one benchmark: where they are kept, and between which lines of the page."""

    path: Path
    begin: str
    end: str


def kept(name, command):
    """Those of the benchmark that is called by this command."""
    return Recorded(
        ROOT / "benches" / "results" / f"{name}.json",
        f"<!-- figures of `{command}`, not written by hand -->",
        f"<!-- end of the figures of `{command}` -->",
    )


TRANSFERS = kept("transfers", "make bench")
CONTROLLER = kept("controller", "make bench-controller")


def add_arguments(parser, of):
    """What both benchmarks can be asked to do with recorded results."""
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD",
        nargs="?",
        const=of.path,
        help="put earlier results beside the new ones (default: those that were recorded)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="make these results the recorded ones, and write them into docs/performance.md",
    )


def earlier(asked):
    """The results to compare with, if any; read first, for a wrong path to show at once."""
    return json.loads(asked.compare.read_text()) if asked.compare else None


def record(of, results, text):
    """Keeps results, and puts their tables in the place of older ones on the page."""
    page = PAGE.read_text()
    before, has_begin, rest = page.partition(of.begin)
    _, has_end, after = rest.partition(of.end)
    if not has_begin or not has_end:
        raise Failed(f"{PAGE} lacks the lines {of.begin} and {of.end}")
    PAGE.write_text(f"{before}{of.begin}\n\n{text}\n\n{of.end}{after}")
    of.path.write_text(json.dumps(results, indent=1) + "\n")
