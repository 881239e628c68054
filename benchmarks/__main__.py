"""List, run and render the benchmarks.

List them, with the newest result of each:

    python -m benchmarks

Measure, and write ``results/*.json``; show the arguments of one; run the smallest size of one, or
of all, with checks of what the figures rest on, and keep nothing:

    python -m benchmarks run NAME -- ARGUMENTS
    python -m benchmarks run NAME -- --help
    python -m benchmarks smoke [NAME ...]

Put the results into ``results/*.csv``, ``docs/results/``, README and SECURITY; or exit with 1 where
a page is not that of its results:

    python -m benchmarks render
    python -m benchmarks render --check
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import harness
from benchmarks.registry import BENCHMARKS
from mmperson.errors import UsageError


def show() -> None:
    """Print every benchmark."""
    for name, benchmark in BENCHMARKS.items():
        print(f"{name:13} {benchmark.measures}")
        print(f"{'':13} takes {benchmark.takes}; needs {benchmark.needs}")
        for kind in benchmark.kinds:
            found = harness.results_of(kind)
            print(f"{'':13} {found[-1].name if found else f'no result of kind {kind} yet'}")


def main() -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="every benchmark, and its newest result")
    run = commands.add_parser("run", help="measure and write a result")
    run.add_argument("name", choices=BENCHMARKS)
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="of the benchmark, after --")
    smoke = commands.add_parser("smoke", help="the smallest run, and checks; keeps nothing")
    smoke.add_argument("names", nargs="*", help="default: all")
    render = commands.add_parser("render", help="put the newest results into the pages")
    render.add_argument("--check", action="store_true", help="change nothing; 1 if a page is old")
    render.add_argument("--demo", action="store_true", help="score the demo clip for the README")
    given = parser.parse_args()
    if given.command == "run":
        arguments = given.arguments
        harness.run(given.name, arguments[1:] if arguments[:1] == ["--"] else arguments)
    elif given.command == "smoke":
        if unknown := set(given.names) - set(BENCHMARKS):
            parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
        for name in given.names or BENCHMARKS:
            print(f"== {name}", flush=True)
            harness.smoke(name)
    elif given.command == "render":
        from benchmarks import pages

        return pages.check() if given.check else pages.write(demo=given.demo)
    else:
        show()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        sys.exit(str(error))
