"""The bare faiss calls that each kind of index is measured against: same parameters, same vectors, nothing around them.

Letters: n live articles, B queries, d coordinates, k articles wanted, m articles that come and go.
"""

import copy
import re
from typing import Any, Protocol

import faiss
import numpy as np

from feedgym.agents.retrieval import BLAS_FROM, cells_of, use_blas_from
from feedgym.env.arrays import Bools, Doubles, Floats, Ints

_faiss: Any = faiss  # its stubs do not know all that is used here


class Bare(Protocol):
    """What is measured."""

    def search(self, queries: Floats, k: int) -> Ints:
        """Ids (B, k) of what is found for queries (B, d)."""
        ...

    def refresh(self, gone: Ints, new: Ints, vectors: Floats, hours: Doubles) -> None:
        """Remove (m,), add (m,) with vectors (m, d) published at these hours (m,)."""
        ...

    def with_settings(self, kind: str) -> "Bare":
        """The same lists or graph, searched with the settings of this name."""
        ...


def bare_of(kind: str, vectors: Floats) -> Bare:
    """What stands against an index of this name, with articles 0 to n - 1 in it."""
    family = kind.partition(":")[0]
    if family == "exact":
        return BareFlat(vectors)
    if family == "hnsw":
        return BareHnsw(vectors).with_settings(kind)
    return BareIvf(vectors, family == "ivf-sq8").with_settings(kind)


def _setting(kind: str, name: str, default: int) -> int:
    found = re.search(rf"[:+]{name}=(\d+)", kind)
    return int(found[1]) if found else default


class BareFlat:
    """``faiss.knn``; a refresh is ``IndexFlatIP``: reset, and add all, which is faster than removal by id."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors.copy()
        self._index: Any = faiss.IndexFlatIP(vectors.shape[1])
        self._first = 0

    def search(self, queries: Floats, k: int) -> Ints:
        """Ids (B, k)."""
        use_blas_from(BLAS_FROM, queries.shape[1])
        ids: Ints = faiss.knn(queries, self._vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[1]
        return ids

    def refresh(self, gone: Ints, new: Ints, vectors: Floats, hours: Doubles) -> None:
        """The rows of those who leave are overwritten; then the index is filled anew."""
        self._vectors[gone % len(self._vectors)] = vectors
        self._index.reset()
        self._index.add(self._vectors)

    def with_settings(self, kind: str) -> "BareFlat":
        """There are none."""
        return self


class BareIvf:
    """``IndexIVFFlat``, or ``IndexIVFScalarQuantizer`` whose best 4 k are rescored as ``IndexRefineFlat`` does."""

    def __init__(self, vectors: Floats, quantised: bool) -> None:
        n, dim = vectors.shape
        cells, metric, nlist = faiss.IndexFlatIP(dim), faiss.METRIC_INNER_PRODUCT, cells_of(n)
        if quantised:
            self._lists = _faiss.IndexIVFScalarQuantizer(
                cells, dim, nlist, faiss.ScalarQuantizer.QT_8bit, metric, False
            )
        else:
            self._lists = _faiss.IndexIVFFlat(cells, dim, nlist, metric)
        self._cells = cells  # or it would be gone with this call
        self._lists.cp.seed, self._lists.cp.min_points_per_centroid = 0, 1
        faiss.omp_set_num_threads(1)
        use_blas_from(BLAS_FROM, dim)
        self._lists.train(vectors)
        self._lists.add(vectors)
        self._refined = _faiss.IndexRefineFlat(self._lists, faiss.swig_ptr(vectors)) if quantised else None
        self._nprobe = 1

    def search(self, queries: Floats, k: int) -> Ints:
        """Ids (B, k)."""
        use_blas_from(BLAS_FROM, queries.shape[1])
        lists = _faiss.SearchParametersIVF(nprobe=self._nprobe)
        ids: Ints
        if self._refined is None:
            _, ids = self._lists.search(queries, k, params=lists)
        else:
            found = _faiss.IndexRefineSearchParameters(k_factor=4, base_index_params=lists)
            _, ids = self._refined.search(queries, k, params=found)
        return ids

    def refresh(self, gone: Ints, new: Ints, vectors: Floats, hours: Doubles) -> None:
        """``remove_ids`` and ``add_with_ids``."""
        use_blas_from(BLAS_FROM, self._lists.d)
        self._lists.remove_ids(gone)
        self._lists.add_with_ids(vectors, new)

    def with_settings(self, kind: str) -> "BareIvf":
        """Another ``nprobe``."""
        other = copy.copy(self)
        other._nprobe = _setting(kind, "nprobe", 64)
        return other


class BareHnsw:
    """``IndexHNSWFlat``; whoever leaves is struck from a bitmap that searches are given."""

    def __init__(self, vectors: Floats) -> None:
        self._index: Any = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 40
        faiss.omp_set_num_threads(1)
        self._index.add(vectors)
        self._live: Bools = np.ones(len(vectors), dtype=np.bool_)
        self._ef = 100

    def search(self, queries: Floats, k: int) -> Ints:
        """Ids (B, k)."""
        ids: Ints = self._index.search(queries, k, params=_faiss.SearchParametersHNSW(efSearch=max(self._ef, k)))[1]
        return ids

    def refresh(self, gone: Ints, new: Ints, vectors: Floats, hours: Doubles) -> None:
        """Articles are rows here: ids are 0 to n - 1, and go on from there."""
        self._live[gone] = False
        self._index.add(vectors)
        self._live = np.concatenate([self._live, np.ones(len(new), dtype=np.bool_)])

    def with_settings(self, kind: str) -> "BareHnsw":
        """Another ``ef``."""
        other = copy.copy(self)
        other._ef = _setting(kind, "ef", 100)
        return other
