"""Results as Markdown that reads well in a terminal too."""

from measure import MIB
from parts import PRODUCT
from process import Failed

RATE = ("MiB/s", lambda one: number(one["mibPerSecond"]))
COST = ("CPU-s/GiB", lambda one: f"{one['cpuSecondsPerGib']:.2f}")
RSS = ("peak RSS, MiB", lambda one: f"{one['peakRss'] / MIB:.1f}")
MOVED = ("moved, MiB", lambda one: str(one["size"] // MIB))
SECONDS = ("seconds", lambda one: f"{one['seconds']:.2f}")
STAND_INS = ("stand-ins, CPU-s/GiB", lambda one: f"{one['standInsCpuSecondsPerGib']:.2f}")
CARRIED = ("of what they carry", lambda one: f"{one['ofCarried']:.0%}")
FIRST_BYTE = ("first byte, s", lambda one: f"{one['firstByteSeconds']:.3f}")
LINK = ("link, s", lambda one: f"{one['seconds']:.3f}")

# Parts that are tables of measurements: title, what the first column is, the other columns.
TABLES = {
    "sizes": ("The whole pipeline, by size", "file", [SECONDS, RATE, COST, RSS, STAND_INS]),
    "connections": ("By connections to Telegram", "at most", [RATE, COST, RSS]),
    "shaped": (
        "By connections, each slow and distant",
        "at most",
        [MOVED, RATE, CARRIED, COST, RSS],
    ),
    "start": ("From the start of the process", "file", [FIRST_BYTE, LINK]),
    "peers": ("Beside others", "program", [MOVED, RATE, COST, RSS]),
    "rclone": ("Beside rclone, with the same bytes", "program", [MOVED, RATE, COST, RSS]),
}


def number(value):
    """A figure with as many digits as it deserves."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def table(head, rows):
    """A table in Markdown, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells):
        first, *others = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1])] + [cell.rjust(width) for cell, width in others]
        return f"| {' | '.join(aligned)} |"

    first, *others = widths
    rule = "|".join(["-" * (first + 2)] + ["-" * (width + 1) + ":" for width in others])
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def render(results):
    """All there is in some results."""
    sections = [summary(results), budgets(results["budgets"])]
    for part, (title, what, columns) in TABLES.items():
        measured = [one for one in results["measurements"] if one["part"] == part]
        if measured:
            rows = [[one["name"]] + [show(one) for _, show in columns] for one in measured]
            sections.append(section(title, [what] + [name for name, _ in columns], rows))
    if results["resumed"]:
        sections.append(resumed(results["resumed"]))
    if results["floor"]:
        sections.append(floor(results))
    if results["standIns"]:
        rows = [
            [one["name"], *(show(one) for _, show in (RATE, COST))] for one in results["standIns"]
        ]
        sections.append(section("The stand-ins by themselves", ["", RATE[0], COST[0]], rows))
    return "\n\n".join(sections)


def section(title, head, rows):
    """A table under its title."""
    return f"### {title}\n\n{table(head, rows)}"


def summary(results):
    """When, what and on what."""
    machine = results["machine"]
    extent = ", small sizes" if results["quick"] else ""
    runs = results["runs"]
    times = "one run each" if runs == 1 else f"medians of {runs} runs"
    return (
        f"Taken {results['taken']} of {results['commit']}: {times}{extent}.\n"
        f"{machine['cores']} cores of {machine['cpu']} ({machine['architecture']}), "
        f"{machine['memoryBytes'] / (1 << 30):.0f} GiB, Linux {machine['kernel']}, "
        f"{machine['busyBefore']:.0%} busy before it began.\n"
        f"{machine['rustc']}; {machine['go']}; Node {machine['node']}; Python {machine['python']}."
    )


def budgets(judged):
    """The budgets beside what was measured."""
    verdicts = {None: "not measured", True: "ok", False: "MISSED"}
    rows = []
    for one in judged:
        limit = f"{one['bound']} {one['limit']:g}{one['unit']}"
        measured = "" if one["measured"] is None else f"{one['measured']:.3g}{one['unit']}"
        rows.append([one["what"], limit, measured, verdicts[one["kept"]]])
    return section("Budgets", ["", "budget", "measured", ""], rows)


def resumed(killed):
    """What was fetched again."""
    rows = [
        [f"{one['killedAt']:.0%} of {one['size'] // MIB} MiB", number(one["bytesAgain"] / MIB)]
        for one in killed
    ]
    return section("After SIGKILL", ["killed at", "fetched again, MiB"], rows)


def floor(results):
    """The primitives and their sum, and the product beside it."""
    rows = [[one["name"], f"{one['cpuSecondsPerGib']:.3f}"] for one in results["floor"]]
    least = sum(one["cpuSecondsPerGib"] for one in results["floor"])
    rows.append(["sum", f"{least:.3f}"])
    for one in results["measurements"]:
        if (one["part"], one["name"]) == ("peers", PRODUCT):
            cost = one["cpuSecondsPerGib"]
            rows.append([one["name"], f"{cost:.3f}"])
            rows.append(["as a multiple of the sum", f"{cost / least:.2f}"])
    return section("The floor", ["", "CPU-s/GiB"], rows)


def compare(old, new):
    """Two results side by side, where both have the same measurement."""
    before = {(one["part"], one["name"]): one for one in old["measurements"]}
    rows = []
    for one in new["measurements"]:
        was = before.get((one["part"], one["name"]))
        if was and was["size"] == one["size"]:
            columns = [show(run) for _, show in (RATE, COST, RSS) for run in (was, one)]
            change = one["mibPerSecond"] / was["mibPerSecond"] - 1
            rows.append([f"{one['part']}: {one['name']}", *columns, f"{change:+.0%}"])
    if not rows:
        raise Failed("the two results have no measurement in common")
    head = [
        "",
        *(f"{age} {name}" for name, _ in (RATE, COST, RSS) for age in ("old", "new")),
        "throughput",
    ]
    title = f"{old['commit']} ({old['taken']}) and {new['commit']} ({new['taken']})"
    return section(title, head, rows)
