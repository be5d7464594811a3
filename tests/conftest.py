"""For all tests. One thread, also where the suite is started as plain ``pytest``: said before anything loads BLAS."""

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if "numpy" in sys.modules:
    # A plugin was first: its BLAS has read the environment already.
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=int(os.environ["OMP_NUM_THREADS"]))

# An assertion of a helper shows its values, too.
pytest.register_assert_rewrite("helpers")
