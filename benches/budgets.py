"""What the product has promised itself, beside what was measured."""

from measure import MIB
from parts import DOWNLOAD, GOTD, ORIGINAL, PRODUCT, connections_name

MOST_CONNECTIONS = 8

# Parts of a file that are uploaded at a time, and the size of each.
BYTES_IN_FLIGHT = 3 * 16 * MIB


def judge(results):
    """Each budget: what it is about, the limit, what was measured, and whether it is kept.

    The last two are null if this run did not measure it.
    """
    found = {(one["part"], one["name"]): one for one in results["measurements"]}
    product = found.get(("peers", PRODUCT))
    original = found.get(("peers", ORIGINAL))
    rate, cost = "mibPerSecond", "cpuSecondsPerGib"
    downloads = [one for (_, name), one in found.items() if name.endswith(DOWNLOAD)]
    fastest = max(downloads, key=lambda one: one[rate], default=None)
    cheapest = min(downloads, key=lambda one: one[cost], default=None)
    gotd = [one for one in downloads if one["name"].startswith(GOTD)]
    gotd = max(gotd, key=lambda one: one[rate], default=None)
    shaped = found.get(("shaped", connections_name(MOST_CONNECTIONS)))
    peak_rss = [one["peakRss"] / MIB for one in found.values() if is_product(one)]
    first_byte = [one["firstByteSeconds"] for one in found.values() if one["part"] == "start"]
    again = [one["bytesAgain"] / MIB for one in results["resumed"]]
    floor = sum(item[cost] for item in results["floor"])
    return [
        at_least(
            "throughput against the original's method", 50, "x", ratio(rate, product, original)
        ),
        at_least("throughput against gotd's download alone", 1.3, "x", ratio(rate, product, gotd)),
        at_least(
            "throughput against the fastest download alone", 1, "x", ratio(rate, product, fastest)
        ),
        at_least(
            "of what 8 slow connections carry", 90, " %", shaped and shaped["ofCarried"] * 100
        ),
        at_most("CPU per GiB, TLS included", 2.4, " s", product and product[cost]),
        at_most("CPU against gotd's download alone", 0.45, "x", ratio(cost, product, gotd)),
        at_most("CPU against the cheapest download alone", 1, "x", ratio(cost, product, cheapest)),
        at_most(
            "CPU against the floor", 1.4, "x", product[cost] / floor if product and floor else None
        ),
        at_most("peak RSS, any size and connections", 32, " MiB", max(peak_rss, default=None)),
        at_most("start to the first uploaded byte", 0.3, " s", max(first_byte, default=None)),
        at_most(
            "fetched again after SIGKILL", BYTES_IN_FLIGHT / MIB, " MiB", max(again, default=None)
        ),
    ]


def is_product(measurement):
    """Whether it is of the product: all are, but where it stands beside others."""
    return measurement["part"] not in ("peers", "rclone") or measurement["name"] == PRODUCT


def ratio(name, ours, theirs):
    """Ours to theirs, if both were measured."""
    return ours[name] / theirs[name] if ours and theirs else None


def at_least(what, limit, unit, measured):
    """A budget that more is better for."""
    return budget(what, "at least", limit, unit, measured, lambda: measured >= limit)


def at_most(what, limit, unit, measured):
    """A budget that less is better for."""
    return budget(what, "at most", limit, unit, measured, lambda: measured <= limit)


def budget(what, bound, limit, unit, measured, kept):
    """A budget as it stands in the results."""
    return {
        "what": what,
        "bound": bound,
        "limit": limit,
        "unit": unit,
        "measured": measured,
        "kept": None if measured is None else kept(),
    }
