"""Vectors for TensorBoard's projector: tables of tab-separated values, and the file that names them.

The plugin reads ``projector_config.pbtxt`` in the folder that TensorBoard is pointed at, and in it, for each tensor,
paths relative to that folder (``tensorboard/plugins/projector``, ``ProjectorConfig``). Written as text: torch's
SummaryWriter would need a run of event files, and keeps no vectors apart.
Shapes: n points, d dimensions.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from feedgym.env.arrays import AnyArray, Floats
from feedgym.env.checks import require
from feedgym.experiments.runs import write_bytes

CONFIG_NAME = "projector_config.pbtxt"
MOST_POINTS = 20_000
"""Of one tensor: the page loads and projects all of them in the browser."""


def write_projector(folder: Path, tensors: Mapping[str, tuple[Floats, Mapping[str, AnyArray]]]) -> None:
    """Write vectors with what is known of each, a tensor for each name.

    Args:
        folder: to point ``tensorboard --logdir`` at.
        tensors: by name: vectors (n, d), and columns (n,) by title, two at least. Of more than ``MOST_POINTS`` points
            the last are written; a tensor without points is left out, since the plugin cannot read one.

    Raises:
        ValueError: columns of another length, or too few for a head line.
    """
    config = []
    for name, (vectors, columns) in tensors.items():
        lengths = {title: len(column) for title, column in columns.items()}
        # Of a single column the plugin takes the head line for a point's label.
        fit = len(columns) >= 2 and set(lengths.values()) == {len(vectors)}
        require(fit, f"columns of {name}", lengths, f"two or more columns of {len(vectors)} rows")
        if len(vectors) == 0:
            continue
        write_bytes(folder / name / "tensors.tsv", _table([vectors[-MOST_POINTS:]], "%.6g"))
        rows = [np.asarray(column[-MOST_POINTS:])[:, None] for column in columns.values()]
        head = "\t".join(columns) + "\n"
        write_bytes(folder / name / "metadata.tsv", head.encode() + _table(rows, "%.10g"))
        config.append(
            f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "{name}/tensors.tsv"\n'
            f'  metadata_path: "{name}/metadata.tsv"\n}}\n'
        )
    # Last: what it names is there.
    write_bytes(folder / CONFIG_NAME, "".join(config).encode())


def _table(blocks: list[AnyArray], how: str) -> bytes:
    """Numbers side by side, tab-separated, a line for each row."""
    text = io.StringIO()
    np.savetxt(text, np.hstack([block.astype(np.float64) for block in blocks]), fmt=how, delimiter="\t")
    return text.getvalue().encode()
