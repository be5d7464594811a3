"""Do two states of the code give the same bytes? ``make same AGAINST=REF`` (without REF: the last commit).

A refactor changes no value. This script runs the same commands in the working tree and in a checkout of another
commit, digests what came out, column by column, and names each value that differs. Digests are not kept in the
repository: the last digit of a matrix product depends on the processor, so both sides have to run on one machine.

Compared are every column of the logs but ``run_id`` (the hash of the run's settings, which may gain words), and the
curves, the evaluation and the ranking, whole. File metadata is left out for the same reason.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SMALL = ("--days", "2", "--readers", "100")
EVERY_AGENT = (
    "random",
    "recent",
    "popular",
    "sponsored",
    "regression",
    "regression-dwell",
    "regression-click",
    "contrastive",
    "contrastive-uniform",
    "reinforce",
    "direct",
    "ltv",
    "youtube-2016",
    "youtube-rerank",
    "google-play-mns",
    "uber-shared",
    "sasrec",
    "bert4rec",
    "nrms",
    "nrms-softmax",
    "nikkei-realtime",
    "recruit-ann",
    "zozo-modules",
    "oracle-click",
    "oracle-dwell",
    "oracle-planning",
)
OPTIONS = (
    "regression:loss=slate_bpr,target=click",
    "regression:loss=ips,target=click,examination=learned,encoder=gru",
    "regression:target=click+0.5*dwell,negative_keep_rate=1.0,age_decay=exponential+harmonic",
    "regression:serving=batch",
    "regression:serving=streaming",
    "regression:index=ivf,author_buckets=64",
    "contrastive:negatives=hard,loss=ccl,prediction=cosine",
    "contrastive:negatives=memory,loss=bpr,task=next",
    "reinforce:mode=plain,estimator=marginal,weights=nis",
    "reinforce:estimator=joint,credit=slate,correction=mlp",
    "reinforce:estimator=chen,weights=clip,normalise_advantage=True",
    "reinforce:behaviour=estimated",
    "reinforce:estimator=prefix",
    "direct:correction=mlp",
    "ltv:use_future=False,encoder=attention",
    "popular:rules=exclude(topic=3)+cap(topic,2)",
    "random:rules=exclude(topic=3)",
)
"""Settings whose code no shipped agent runs by its defaults."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "agents": ("compare", "--agents", *EVERY_AGENT, "--seeds", "0", *SMALL, "--workers", "1"),
    "options": ("compare", "--agents", *OPTIONS, "--seeds", "1", *SMALL, "--workers", "1"),
    "measured": (
        *("compare", "--world", "measured", "--agents", "recent", "regression", "reinforce", "oracle-planning"),
        *("--seeds", "2", *SMALL, "--workers", "1"),
    ),
    "cascade": (
        *("compare", "--reader-model", "feedgym.env:CascadeReader", "--agents", "popular", "regression-click"),
        *("--seeds", "3", *SMALL, "--workers", "1"),
    ),
    "modules": (
        "compare",
        "--modules",
        "--agents",
        "zozo-modules",
        "popular",
        "--seeds",
        "4",
        *SMALL,
        "--workers",
        "1",
    ),
    "log": ("log", "--agent", "popular", *SMALL, "--seed", "5"),
    "offline": ("offline", "--agent", "regression-dwell", "--estimate-days", "1"),
    "offline-reinforce": ("offline", "--agent", "reinforce:behaviour=estimated"),
}
"""Name -> words of ``feedgym``. ``offline`` commands read what ``log`` wrote."""


def command_of(name: str, folder: Path) -> list[str]:
    """The command with the folder that it writes to."""
    words = [*COMMANDS[name], "--out", str(folder / name)]
    return [*words, "--log", str(folder / "log")] if name.startswith("offline") else words


def digest(data: bytes) -> str:
    """Enough of a hash to tell two values apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def column_digest(column: pa.ChunkedArray) -> str:
    """The values of a column, whatever the chunks of the file."""
    one = column.combine_chunks()
    if isinstance(one, pa.ChunkedArray):
        one = pa.concat_arrays(one.chunks) if one.num_chunks else pa.array([], column.type)
    hashed = hashlib.sha256(repr((str(one.type), len(one))).encode())
    # A slice may start inside a buffer: a take makes buffers that hold these rows alone.
    for buffer in one.take(pa.array(range(len(one)), pa.int64())).buffers():
        hashed.update(b"-" if buffer is None else buffer.to_pybytes())
    return hashed.hexdigest()[:16]


def log_digests(folder: Path) -> Iterator[tuple[str, str]]:
    """A digest of each column of a run's log, and of its articles."""
    tables = {"impressions": sorted(folder.glob("impressions/*.parquet")), "articles": [folder / "articles.parquet"]}
    for what, files in tables.items():
        if not all(file.exists() for file in files) or not files:
            continue
        table = pa.concat_tables([pq.read_table(file).replace_schema_metadata(None) for file in files])
        for name in table.column_names:
            if name != "run_id":
                yield f"{what}.{name}", column_digest(table.column(name))


def output_digests(name: str, folder: Path) -> dict[str, str]:
    """Digests of everything that a command wrote."""
    found: dict[str, str] = {}
    for done_file in sorted(folder.rglob("done.json")):
        done = json.loads(done_file.read_text())
        run = f"{name}: {done['agent']} seed {done['seed']}"
        found |= {f"{run}: {key}": value for key, value in log_digests(done_file.parent)}
        found[f"{run}: curves"] = digest((done_file.parent / "curves.csv").read_bytes())
        for part in ("evaluation", "editor", "serving", "invalid_entries"):
            found[f"{run}: {part}"] = digest(json.dumps(done.get(part), sort_keys=True).encode())
    for file in sorted(folder.glob("ranking.csv")):
        found[f"{name}: {file.name}"] = digest(file.read_bytes())
    if name.startswith("offline"):
        result = json.loads((folder / "offline.json").read_text())
        found |= {f"{name}: {key}": digest(json.dumps(value).encode()) for key, value in offline_values(result)}
    return found


def offline_values(result: dict[str, object]) -> Iterator[tuple[str, object]]:
    """What ``feedgym offline`` found, without folders, seconds and the identity of the run."""
    for key, value in sorted(result.items()):
        if not any(word in key for word in ("second", "folder", "path", "settings", "log", "code")):
            yield key, value


def run_all(tree: Path, python: Path, folder: Path, names: list[str], processes: int) -> dict[str, str]:
    """Run the commands in a tree, and digest what they wrote."""
    links = tree / ".links"
    links.mkdir(exist_ok=True)
    if not (links / "feedgym").exists():
        (links / "feedgym").symlink_to("..")
    environment = dict(os.environ, PYTHONPATH=str(links), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")

    def one(name: str) -> None:
        words = [str(python), "-m", "feedgym.experiments.cli", *command_of(name, folder)]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} failed in {tree}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")

    first = [name for name in names if not name.startswith("offline")]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(one, first))
        list(pool.map(one, [name for name in names if name not in first]))
    digests: dict[str, str] = {}
    for name in names:
        digests |= output_digests(name, folder / name)
    return digests


def digests_of(ref: str | None, python: Path, names: list[str], processes: int) -> dict[str, str]:
    """Digests of a commit, or of the working tree."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "out"
        out.mkdir()
        if ref is None:
            return run_all(ROOT, python, out, names, processes)
        tree = Path(temporary) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), ref], cwd=ROOT, check=True, capture_output=True
        )
        try:
            return run_all(tree, python, out, names, processes)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def main() -> None:
    """Print digests, or compare them with those of another commit or a file of digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a commit, or a JSON file that --save wrote", default="HEAD")
    parser.add_argument("--save", type=Path, help="write this tree's digests there and compare nothing")
    parser.add_argument("--only", nargs="*", choices=sorted(COMMANDS), help="these commands instead of all")
    parser.add_argument("--processes", type=int, default=2, help="commands side by side")
    options = parser.parse_args()
    names = options.only or list(COMMANDS)
    if any(name.startswith("offline") for name in names) and "log" not in names:
        names = ["log", *names]
    python = Path(sys.executable)
    ours = digests_of(None, python, names, options.processes)
    if options.save is not None:
        options.save.write_text(json.dumps(ours, indent=1) + "\n")
        print(f"{len(ours)} digests in {options.save}")
        return
    if Path(options.against).is_file():
        saved = json.loads(Path(options.against).read_text())
        theirs = {key: value for key, value in saved.items() if key.partition(":")[0] in names}
    else:
        theirs = digests_of(options.against, python, names, options.processes)
    differing = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
    for key in differing:
        print(f"{key}: {theirs.get(key, '(not there)')} -> {ours.get(key, '(not there)')}")
    print(f"{len(ours)} values compared, {len(differing)} differ")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
