"""A small log that ``feedgym offline`` reads, and how it is spoiled."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from feedgym.env import RewardConfig, read_impressions

QUICK = "regression-dwell:max_steps=10,train_every_hours=12.0"
REWARD = RewardConfig(click=0.5, dwell_minutes=1.0, subscription=3.0)
SETTINGS: dict[str, Any] = {"readers": 40, "days": 2.0, "tick_hours": 2.0, "seed": 5, "reward": REWARD}


def copied(logged: Path, folder: Path, settings: dict[str, Any] | None) -> Path:
    """The log as one part with other settings; None: as a site's own."""
    table = read_impressions(logged / "impressions")
    metadata = {} if settings is None else table.schema.metadata | {b"feedgym_config": json.dumps(settings).encode()}
    folder.mkdir()
    pq.write_table(table.replace_schema_metadata(metadata), folder / "day.parquet")
    (folder / "articles.parquet").write_bytes((logged / "articles.parquet").read_bytes())
    return folder
