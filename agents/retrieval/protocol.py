"""What an index of live articles is (docs/mathematics.md 7.3): all that an agent asks of retrieval.

Letters: B queries, n articles in the index, d coordinates, k articles wanted, m articles of one update.
"""

from typing import Protocol

from feedgym.env.arrays import Arrays, Doubles, Floats, Ints


class ItemIndex(Protocol):
    """What an index of live articles can do. Any class with these members fits.

    Whatever it is built of: returned articles are in the index, min(k, n) of them; scores are computed from the stored
    vectors row by row and sorted by (-score, id), so that a query gets the same bytes in any batch.
    """

    @property
    def exact(self) -> bool:
        """Whether ``search`` returns the true top k."""
        ...

    @property
    def ids(self) -> Ints:
        """The articles in the index, (n,)."""
        ...

    def __len__(self) -> int:
        """Number of articles in the index."""
        ...

    def add(self, ids: Ints, vectors: Floats, published_hours: Doubles | None = None) -> None:
        """Insert new articles (m,) with their vectors (m, d); an id that is present is an error.

        ``published_hours`` (m,) is what schedules of builds go by; an exact index does without.
        """
        ...

    def update(self, ids: Ints, vectors: Floats) -> None:
        """Overwrite the vectors (m, d) of articles (m,); an id that is absent is an error."""
        ...

    def remove(self, ids: Ints) -> None:
        """Take articles (m,) out; an id that is absent is an error."""
        ...

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """Article ids (B, k) by falling inner product with queries (B, d), and the float32 scores (B, k)."""
        ...

    def rebuild(self) -> None:
        """Restore recall after churn, where an index loses any."""
        ...

    def recall(self) -> float:
        """Share of the true top k that ``search`` finds for the latest queries; NaN before the first one."""
        ...

    def snapshot(self) -> Arrays:
        """The complete state as plain arrays: a restored index goes on byte for byte."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go back to a snapshot."""
        ...
