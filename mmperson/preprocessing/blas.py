"""Matrix products on one thread, whatever numpy was set to.

On several threads BLAS adds in another order, so that a clip's scores would differ in their last
bits from machine to machine; and for products as small as these its threads cost three times the
processor time and save none.

The number of threads belongs to the process, so that to set and restore it around every clip would
need a lock under which threads prepare their clips one after the other. So it is set for good.
"""

from __future__ import annotations

import functools
from typing import Any


def limit_blas_threads() -> None:
    """Let numpy's matrix products run on one thread from now on, in the whole process.

    Where more are set afterwards, the next call takes them back.
    """
    for library in _libraries():
        if library.num_threads != 1:
            # threadpoolctl from 3.7 on ignores all threads but the first that set a number.
            release = getattr(library, "clear_controlling_thread", None)
            if release is not None:
                release(force=True)
            library.set_num_threads(1)


@functools.cache
def _libraries() -> list[Any]:
    """Find the libraries that compute, once: numpy has loaded its own by now."""
    from threadpoolctl import ThreadpoolController  # Here: text alone need not wait for it.

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
