"""How much memory a listing of many keys takes, on the memory backend.

    python benchmarks/listing_memory.py --keys 1000000

The backend holds the keys. Measured with tracemalloc: the peak while the listing is
walked one entry at a time, and what ``glob`` holds when it returns all names as a list.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cottoncandy as cc  # noqa: E402 - after the path is set
from cottoncandy.core.buffers import Body  # noqa: E402

MB = 10**6


def main() -> None:
    """Fill a bucket in memory, and list it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    count = parser.parse_args().keys
    cci = cc.get_interface("listing", backend="memory", verbose=False)
    body = Body.of(b"")
    for number in range(count):
        cci.backend_interface.put(f"subject{number % 100:03d}/session/run{number:012d}.arr", body)
    start = time.perf_counter()
    walked = sum(1 for _ in cci.backend_interface.scan())
    print(f"walked {walked:,} keys in {time.perf_counter() - start:.1f} s, not traced")
    tracemalloc.start()
    walked = sum(1 for _ in cci.backend_interface.scan())
    print(f"walking them: {tracemalloc.get_traced_memory()[1] / MB:.1f} MB at the peak")
    tracemalloc.reset_peak()
    names = cci.glob("*")
    held, peak = tracemalloc.get_traced_memory()
    print(
        f"glob('*'): {len(names):,} names of {len(names[0])} characters, {held / MB:.0f} MB held, "
        f"{peak / MB:.0f} MB at the peak"
    )


if __name__ == "__main__":
    main()
