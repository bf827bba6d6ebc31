"""Runs a command and writes what it took into a file: launch.py RESULT COMMAND...

A process of its own, because what the kernel calls a process's peak memory includes what its
parent had when it forked: this one imports next to nothing (8 MiB), unlike the one that measures.
Run it as `python -I -S`, for the same reason.
"""

import os
import sys
import time


def main():
    result, command = sys.argv[1], sys.argv[2:]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    ended = time.monotonic()
    cpu = usage.ru_utime + usage.ru_stime
    with open(result, "w") as file:
        file.write(f"{began} {ended} {cpu} {usage.ru_maxrss}")
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


main()
