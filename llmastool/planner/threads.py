"""One thread for linear algebra, where the last digits matter: sums come out differently on several threads."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the `with` block on one thread of NumPy's and SciPy's linear algebra.

    The limit reaches only libraries that are loaded already, so both are loaded first: without that, the first fit of
    a process would differ from the same fit later in another one.
    """
    with _libraries().limit(limits=1):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    import numpy.linalg  # noqa: F401
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
