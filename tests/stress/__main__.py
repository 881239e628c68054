"""Stress mmperson, and write what became of it to ``benchmarks/results``.

    python -m tests.stress mutants --mutants 10000
    python -m tests.stress crash-safety --kills 200
    python -m tests.stress fuzz all 120          # needs `pip install atheris`

``python -m tests.stress NAME --help`` shows the arguments of one.
"""

from __future__ import annotations

import importlib
import sys

MODULES = {"mutants": "mutants", "crash-safety": "crash_safety", "fuzz": "fuzz"}


def main() -> None:
    """Run the named module on the other arguments."""
    name, *arguments = sys.argv[1:] or ("",)
    if name not in MODULES:
        raise SystemExit(__doc__)
    importlib.import_module(f"tests.stress.{MODULES[name]}").main(arguments)


if __name__ == "__main__":
    main()
