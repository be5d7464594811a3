"""Whatever starts a run, torch, faiss and every BLAS have one thread in it, and as many as before after it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
COUNTS = """
import sys
import torch, faiss, numpy, scipy.linalg
from pathlib import Path
from threadpoolctl import threadpool_info, threadpool_limits

def counts():
    pools = {Path(pool["filepath"]).name: pool["num_threads"] for pool in threadpool_info()}
    return {"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads(), **pools}

# More than one, also on a machine with one core.
threadpool_limits(3)
torch.set_num_threads(3)
faiss.omp_set_num_threads(3)
before, inside = counts(), []
assert set(before.values()) == {3} and len(before) >= 5, before
look = lambda *told: inside.append(counts())
out = Path(sys.argv[1])

def check(way, run):
    inside.clear()
    run()
    assert inside, way
    assert {n for c in inside for n in c.values()} == {1}, (way, inside)
    assert counts() == before, way
"""
# One process for all: it loads torch, which takes longer than the runs.
WAYS = """
from feedgym.experiments import compare, offline, train
from feedgym.experiments.runs import LiveProgress
small = dict(readers=10, days=1.0, tick_hours=4.0)

def compared():
    LiveProgress.update = look
    config = compare.CompareConfig(agents=("random",), seeds=(0,), **small, workers=1, out=out / "compare")
    compare.run(config, quiet=True)
    inside.pop()  # told after the run

check("train", lambda: train.run(train.RunConfig(agent="regression", **small), out / "train", report=look))
check("compare", compared)
learning = offline.OfflineConfig(log=out / "train", agent="regression-dwell:max_steps=2", deploy=False)
check("offline", lambda: offline.run(learning, report=look))
"""


def plain(words: list[str], cwd: Path) -> str:
    """What a process prints whose environment says nothing of threads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_"))}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_has_one_thread_and_gives_back_the_others(tmp_path: Path) -> None:
    plain([sys.executable, "-c", COUNTS + WAYS, str(tmp_path)], tmp_path)


def test_a_library_that_an_agent_loads_is_held_too(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from threadpoolctl import threadpool_info
from feedgym.experiments import train
assert not {"torch", "faiss"} & sys.modules.keys()
seen = []
config = train.RunConfig(agent="regression", readers=10, days=1.0, tick_hours=4.0)
look = lambda told: seen.append([pool["num_threads"] for pool in threadpool_info()])
train.run(config, Path(sys.argv[1]), report=look)
assert len(seen[0]) >= 4 and set(seen[0]) == {1}, seen
"""
    plain([sys.executable, "-c", code, str(tmp_path)], tmp_path)


def test_plain_pytest_has_one_thread(tmp_path: Path) -> None:
    """This very folder's ``conftest.py``, around a test that looks; also where numpy's BLAS was loaded before it."""
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_look.py").write_text(
        "from threadpoolctl import threadpool_info\nimport numpy, torch, faiss, scipy.linalg\n"
        "def test_look():\n    assert {pool['num_threads'] for pool in threadpool_info()} == {1}\n"
        "    assert torch.get_num_threads() == 1\n"
    )
    assert "1 passed" in plain(pytest_here, tmp_path)
    (tmp_path / "conftest.py").write_text("import numpy\n" + (tmp_path / "conftest.py").read_text())
    # torch reads the environment when it is loaded, as above; what was there before has to be told.
    (tmp_path / "test_look.py").write_text(
        "from threadpoolctl import threadpool_info\nimport numpy, scipy.linalg\n"
        "def test_look():\n    assert {pool['num_threads'] for pool in threadpool_info()} == {1}\n"
    )
    assert "1 passed" in plain(pytest_here, tmp_path)
