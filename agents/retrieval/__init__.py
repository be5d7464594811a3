"""Indexes of live articles: one protocol, an exact slot array, and what is worth its price at other sizes.

May import ``feedgym.env``. Names are looked up late: most indexes import faiss.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.retrieval.geometry import column_scale_of
    from feedgym.agents.retrieval.ivf import cells_of
    from feedgym.agents.retrieval.kernels.flat import BLAS_FROM, use_blas_from
    from feedgym.agents.retrieval.protocol import ItemIndex
    from feedgym.agents.retrieval.recall import recall_at_k
    from feedgym.agents.retrieval.registry import INDEXES, check_index, make_index
    from feedgym.agents.retrieval.slot_array import SlotArrayIndex

__all__ = [
    "BLAS_FROM",
    "INDEXES",
    "ItemIndex",
    "SlotArrayIndex",
    "cells_of",
    "check_index",
    "column_scale_of",
    "make_index",
    "recall_at_k",
    "use_blas_from",
]

__getattr__ = late_names(
    __name__,
    {
        "column_scale_of": "geometry",
        "cells_of": "ivf",
        "BLAS_FROM": "kernels.flat",
        "use_blas_from": "kernels.flat",
        "ItemIndex": "protocol",
        "recall_at_k": "recall",
        "INDEXES": "registry",
        "check_index": "registry",
        "make_index": "registry",
        "SlotArrayIndex": "slot_array",
    },
)
