"""Run numpy's matrix products on one thread.

With several threads, BLAS adds in another order, so the last bits of a score would differ between
machines. For products this small, threads also cost three times the processor time and save none.

The setting belongs to the process. Restoring it after every clip would need a lock that serialises
the preparation of clips, so it is set once and stays.
"""

from __future__ import annotations

import functools
from typing import Any


def limit_blas_threads() -> None:
    """Limit numpy's matrix products to one thread, in the whole process.

    If more threads are set later, the next call sets one again.
    """
    for library in _libraries():
        if library.num_threads != 1:
            # threadpoolctl from 3.7 on obeys only the thread that set a number first.
            release = getattr(library, "clear_controlling_thread", None)
            if release is not None:
                release(force=True)
            library.set_num_threads(1)


def rescan_blas_libraries() -> None:
    """Look for BLAS libraries again, after a package was imported that may bring its own."""
    _libraries.cache_clear()
    limit_blas_threads()


@functools.cache
def _libraries() -> list[Any]:
    """Find the loaded BLAS libraries once; numpy has loaded its own by now."""
    from threadpoolctl import ThreadpoolController  # Here: text does not need it.

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
