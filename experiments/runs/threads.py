"""One thread for everything that a run computes with: torch, faiss, and the BLAS of numpy, scipy and faiss.

The matrices of a run are small: a second thread wins nothing and spins at barriers, so that the same run takes more
CPU time and, on cores that others use too, more time by the clock. Runs side by side use processes instead.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread(*late: str) -> Iterator[None]:
    """Hold what is loaded to one thread; afterwards everybody has as many as before.

    Args:
        late: libraries that would be loaded inside, such as ``torch`` and ``faiss``: they are imported first, since
            what comes later is not held.
    """
    from threadpoolctl import threadpool_limits

    for name in late:
        importlib.import_module(name)
    torch = sys.modules.get("torch")
    with threadpool_limits(limits=1):
        if torch is None:
            yield
            return
        # Besides OpenMP: torch's own copy of MKL is linked into it, where nobody else finds it.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
