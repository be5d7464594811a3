"""The Open Bandit Dataset's small version as logs of a site: slates of one article, with their true propensities.

Saito, Aihara, Matsutani & Narita, "Open Bandit Dataset and Pipeline", NeurIPS Datasets and Benchmarks 2021. A row is
one item at one of three places side by side, with the chance of that item at that place; the other two places' items of
the same page are not told. So a row becomes a visit of one article, and the place what the reader came to, her
``device``. Readers are told apart by their four hashed features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.checks import require

COLUMNS = ("timestamp", "item_id", "position", "click", "propensity_score", *(f"user_feature_{k}" for k in range(4)))
PLACES = ("left", "middle", "right")


@dataclass(frozen=True)
class OpenBandit:
    """One file, in order of time: R rows."""

    hours: Doubles
    """Since the midnight before the first row, (R,)."""
    item: Ints
    """0 to A - 1, (R,)."""
    place: Ints
    """0, 1, 2: which of the three places, (R,)."""
    clicked: Bools
    """(R,)"""
    chance: Doubles
    """Of this item at this place, under the policy that served, (R,)."""
    reader: Ints
    """Readers of the same features are one, (R,)."""

    @property
    def num_items(self) -> int:
        """A."""
        return int(self.item.max()) + 1


def read_open_bandit(path: Path) -> OpenBandit:
    """Read one of the dataset's CSV files, gzipped or not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: columns that lack, or values that no log of propensities has.
    """
    from pyarrow import csv

    if not path.is_file():
        raise FileNotFoundError(f"path: got {str(path)!r}, needs a CSV file of the Open Bandit Dataset, small version")
    table = csv.read_csv(path)
    lacking = [name for name in COLUMNS if name not in table.column_names]
    require(not lacking, f"{path}: columns", table.column_names, f"also {lacking}")
    c = {name: table[name].to_numpy() for name in COLUMNS}
    time = c["timestamp"].astype("datetime64[us]")
    order = np.argsort(time, kind="stable")
    c = {name: values[order] for name, values in c.items()}
    chance, place = c["propensity_score"].astype(np.float64), c["position"].astype(np.int64) - 1
    require(bool(((chance > 0) & (chance <= 1)).all()), "propensity_score", (chance.min(), chance.max()), "in (0, 1]")
    require(bool(((place >= 0) & (place < 3)).all()), "position", (place.min() + 1, place.max() + 1), "1, 2 or 3")
    features = np.stack([c[f"user_feature_{k}"] for k in range(4)])
    reader = np.unique(features, axis=1, return_inverse=True)[1].ravel()
    hours = (time[order] - time.min().astype("datetime64[D]")) / np.timedelta64(1, "h")
    return OpenBandit(
        hours=hours.astype(np.float64),
        item=c["item_id"].astype(np.int64),
        place=place,
        clicked=c["click"].astype(np.bool_),
        chance=chance,
        reader=reader.astype(np.int64),
    )


def write_site_log(rows: OpenBandit, folder: Path) -> None:
    """Write rows as a site's own log: ``impressions/day-0000.parquet``, and ``articles.parquet`` beside it.

    An item's topic is the item: nothing else tells it from the others.
    """
    import pyarrow as pa

    from feedgym.env.log import ARTICLES_NAME, IMPRESSIONS, write_table

    one = np.ones(len(rows.item))
    log = {
        "visit_id": np.arange(len(rows.item)),
        "reader_id": rows.reader,
        "time_hours": rows.hours,
        "position": np.zeros(len(rows.item), dtype=np.int64),
        "article_id": rows.item,
        "clicked": rows.clicked,
        # Of a slate of one, the chances of slot, place and slate are one chance.
        **dict.fromkeys(("slot_propensity", "slot_marginal", "inclusion"), rows.chance),
        "num_live": (rows.num_items * one).astype(np.int64),
        "device": np.array(PLACES)[rows.place],
    }
    if np.allclose(rows.chance, 1.0 / rows.num_items, rtol=1e-6):
        # All of it is exploration; how much of Thompson sampling is, nobody says.
        log["epsilon"] = one
    items = np.arange(rows.num_items)
    always = {"published_hours": np.full(len(items), -1.0), "expires_hours": np.full(len(items), np.inf)}
    write_table(folder / IMPRESSIONS / "day-0000.parquet", pa.table(log))
    write_table(folder / ARTICLES_NAME, pa.table({"article_id": items, **always, "topic": items}))
