"""Tables out of figures."""

MIB = 1 << 20
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

# What a GiB needs at least: each byte is received, hashed, decrypted, summed, encrypted and sent.
FLOOR = [
    "AES-IGE decryption, 8 at once",
    "SHA-256, 1 at once",
    "CRC32C, 1 at once",
    "AES-256-GCM encryption, 1 at once",
    "reading a socket, 1 at once",
    "writing a socket, 1 at once",
]


def size(result):
    mib = result["bytes"] // MIB
    return f"{mib // 1024} GiB" if mib % 1024 == 0 else f"{mib} MiB"


def line(result):
    """One measurement, for whoever waits."""
    connections = f", {result['connections']} connections" if "connections" in result else ""
    return (
        f"{result['group']}: {result['contender']}{connections}, {size(result)}, "
        f"{'TLS' if result['tls'] else 'plain'}: {result['mibPerSecond']:.1f} MiB/s, "
        f"{result['cpuSecondsPerGib']:.2f} CPU-s/GiB, {result['peakRssMib']:.1f} MiB"
    )


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def cost(result):
    """Throughput, processor time and memory, as cells."""
    return [
        f"{result['mibPerSecond']:.1f}",
        f"{result['cpuSecondsPerGib']:.2f}",
        f"{result['peakRssMib']:.1f}",
    ]


COST = ["MiB/s", "CPU-s/GiB", "peak RSS, MiB"]


def group(results, name):
    return [result for result in results["results"] if result["group"] == name]


def tables(results):
    """All tables, in Markdown."""
    machine = results["machine"]
    sections = [
        f"Measured {results['at']} on {machine['cores']} cores of {machine['processor']}, "
        f"Linux {machine['kernel']}.",
        "## Sizes\n\n"
        + table(
            ["file", "Object Storage over", *COST],
            [
                [size(result), "TLS" if result["tls"] else "plain HTTP", *cost(result)]
                for result in group(results, "sizes")
            ],
        ),
        "## Beside others\n\n"
        + table(
            ["", "file", *COST],
            [
                [result["contender"], size(result), *cost(result)]
                for result in group(results, "peers")
            ],
        ),
        "## Connections\n\n"
        + table(
            ["connections", "near: MiB/s", "far: MiB/s", "of what they carry"],
            [
                [
                    str(near["connections"]),
                    f"{near['mibPerSecond']:.1f}",
                    f"{far['mibPerSecond']:.1f}",
                    f"{share(far):.0%}",
                ]
                for near, far in zip(group(results, "connections"), group(results, "shaped"))
            ],
        ),
        "## The first byte and the link\n\n"
        + table(
            ["from the start of the process to", "seconds"],
            [
                [what, f"{result[key]:.3f}"]
                for result in group(results, "latency")
                for what, key in (
                    ("the first byte at Object Storage", "secondsToFirstByte"),
                    ("the link of a file of 1 MiB", "secondsToLink"),
                )
            ],
        ),
        "## The floor\n\n"
        + table(
            ["per GiB", "CPU-s"],
            [[name, f"{seconds:.3f}"] for name, seconds in results["floor"].items()],
        ),
        "## Budgets\n\n" + table(["", "budget", "measured", ""], budgets(results)),
    ]
    return "\n\n".join(sections) + "\n"


def share(result):
    """The part of what shaped connections carry that was used."""
    return result["mibPerSecond"] / (6 * result["connections"])


def budgets(results):
    """Every budget with what was measured, and whether it is kept."""

    def one(name, contender, **about):
        return next(
            result
            for result in group(results, name)
            if result["contender"] == contender
            and all(result[key] == value for key, value in about.items())
        )

    ours = one("peers", "telestream")
    original = one("peers", "the original's method")
    gotd = max(
        (result for result in group(results, "peers") if result["contender"].startswith("gotd")),
        key=lambda result: result["mibPerSecond"],
    )
    others = [
        result
        for result in group(results, "peers")
        if result["contender"] not in ("telestream", "the original's method")
    ]
    best = max(others, key=lambda result: result["mibPerSecond"])
    rss = max(result["peakRssMib"] for result in group(results, "sizes"))
    cpu = ours["cpuSecondsPerGib"]
    least = sum(results["floor"][name] for name in FLOOR)
    first_byte = group(results, "latency")[0]["secondsToFirstByte"]
    far = share(one("shaped", "telestream", connections=8))
    rows = [
        ("throughput, to the original's method", "≥ 50 x", ratio(ours, original), 50),
        (
            f"throughput, to the best peer's half ({best['contender']})",
            "≥ 1.3 x",
            ratio(ours, best),
            1.3,
        ),
        ("throughput, of what 8 shaped connections carry", "≥ 0.90", far, 0.9),
        ("CPU-s per GiB, TLS included", "≤ 2.4", cpu, -2.4),
        ("CPU, to gotd's download half", "≤ 0.45 x", cpu / gotd["cpuSecondsPerGib"], -0.45),
        (f"CPU, to the floor of {least:.2f} s", "≤ 1.4 x", cpu / least, -1.4),
        ("peak RSS of all sizes, MiB", "≤ 32", rss, -32),
        ("start to first byte, seconds", "≤ 0.3", first_byte, -0.3),
    ]
    return [
        [what, budget, f"{measured:.2f}", "kept" if kept(measured, limit) else "**missed**"]
        for what, budget, measured, limit in rows
    ]


def ratio(one, other):
    return one["mibPerSecond"] / other["mibPerSecond"]


def kept(measured, limit):
    """A negative limit is one from above."""
    return measured >= limit if limit > 0 else measured <= -limit


def comparison(before, after):
    """Throughput and processor time beside those of an earlier run."""

    def key(result):
        names = ("group", "contender", "tls", "connections", "bytes")
        return tuple(result.get(name) for name in names)

    earlier = {key(result): result for result in before["results"]}
    rows = []
    for result in after["results"]:
        old = earlier.get(key(result))
        if old and "mibPerSecond" in result:
            rows.append(
                [line(result).split(": ")[0] + " " + result["contender"], size(result)]
                + [
                    f"{old[figure]:.2f} → {result[figure]:.2f}"
                    for figure in ("mibPerSecond", "cpuSecondsPerGib", "peakRssMib")
                ]
            )
    head = [f"since {before['at']}", "file", *COST]
    return table(head, rows) + "\n"


def put_into(page, text):
    """Replaces what lies between the marks of a page."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
