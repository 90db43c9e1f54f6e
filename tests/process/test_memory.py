"""Memory that a job used goes back to the system, in a process of its own: its size is what counts."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import functools, os, sys
from zimage_syncd.process.memory import give_back

@functools.lru_cache(64)
def remembered(name):
    return name + "/"

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

before = resident_mib()
kept = []
for number in range(400_000):
    kept.append(f"some name {number}")
    if number % 6_250 == 0:
        remembered(kept[-1])
most = resident_mib()
del kept
give_back()
still = resident_mib()
give_back(remembered.cache_clear)
print(most - before, still - before, resident_mib() - before)
"""


def test_a_cache_that_is_emptied_lets_go_of_what_lay_around_it() -> None:
    """64 names in the cache kept 25 MiB."""
    said = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    most, still, after = map(float, said.stdout.split())
    assert most > 20
    assert still > 10
    assert after < 6
