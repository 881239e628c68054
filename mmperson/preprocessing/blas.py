"""Matrix products on one thread, whatever numpy was set to.

On several threads BLAS adds in another order, so that a clip's scores would differ in their last
bits from machine to machine; and for products as small as these its threads cost twice the
processor time and save none.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# The number of threads is the process's: who leaves must not take the limit from who is inside.
_INSIDE: Final = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy's matrix products run on one thread inside the block; one block at a time."""
    with _INSIDE, _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> Any:
    """Find the libraries that compute, once: numpy has loaded its own by now."""
    from threadpoolctl import ThreadpoolController  # Here: text alone need not wait for it.

    return ThreadpoolController()
