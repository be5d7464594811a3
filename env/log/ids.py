"""Ids in text, as many sites have them, as whole numbers: the same in the log, its articles and its opens."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ("reader_id", "article_id")
"""Columns that may be text."""
_LARGEST = 2**62


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text, behind a dictionary or not."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@lru_cache(maxsize=1 << 20)
def whole_id(text: str) -> int:
    """A number for an id: itself where the text is one, else 62 bits of its BLAKE2b hash.

    Two of ten million ids share a number with a chance of one in a hundred thousand.
    """
    if text.isascii() and text.isdigit() and text == str(number := int(text)) and number <= _LARGEST:
        return number
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 2


def whole_ids(column: pa.Array) -> pa.Array:
    """Ids in text as int64; a column of anything else as it is. Nulls, and empty text, are null."""
    import pyarrow as pa

    if not is_text(column.type):
        return column
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    names = coded.dictionary.to_pylist()
    table = np.array([whole_id(name) if name else -1 for name in names] + [-1], dtype=np.int64)
    values = table[coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]
    return pa.array(values, mask=values < 0)
