"""Runs the benchmarks: ``python -m benchmarks [NAME…] [--quick] [--json]``, or `make bench`."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import document, table
from benchmarks.registry import BENCHMARKS


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure drorch beside others; judge nothing.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; all unless said")
    parser.add_argument("--quick", action="store_true", help="tiny and once: shows that they work, measures nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--into", type=Path, help="folder to work in; the system's temporary one unless said")
    said = parser.parse_args()
    if unknown := set(said.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there is {', '.join(BENCHMARKS)}")
    for name in said.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="drorch-bench-", dir=said.into) as folder:
            for figure in BENCHMARKS[name](Path(folder), quick=said.quick):
                sys.stdout.write(f"{(document if said.json else table)([figure])}\n")
                sys.stdout.flush()


main()
