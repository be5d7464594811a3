"""What the reader saw and did not click: negatives for slate and pair losses, not for a softmax with logQ."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feedgym.towers.checks import require
from feedgym.towers.negatives.types import NO_IDS, NegativeContext, Negatives


@dataclass(frozen=True, kw_only=True)
class Impressed:
    """The articles of the click's own slate that were shown and not clicked, as the row's negatives.

    How often an article is shown and not clicked depends on the reader and on its click probability, the very
    thing that is learned: no log q exists. As columns of a softmax they move its optimum to the log of exposure x
    examination x click probability; in a slate loss or slate BPR exposure cancels. Hence ``corrected`` is
    False, and ``check_combination`` refuses the rest. Expired articles stay: a slate is compared as it was shown.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"impressed_ids"})
    corrected: ClassVar[bool] = False

    def draw(self, context: NegativeContext, rng: np.random.Generator) -> Negatives:
        """Draw nothing: read them off the slates. All log q are 0 and mean nothing; ``rng`` is not used.

        Raises:
            ValueError: if ``context.impressed_ids`` is None.
        """
        ids = context.impressed_ids
        require(ids is not None, "impressed_ids", None, "the articles shown and not clicked, int64 (B, K)")
        assert ids is not None
        return Negatives(
            log_q_positive=np.zeros(context.batch_size),
            shared_ids=NO_IDS,
            log_q_shared=np.empty(0),
            row_ids=ids.copy(),
            log_q_row=np.zeros(ids.shape),
            in_batch=False,
            corrected=False,
        )
