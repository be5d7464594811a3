"""``render_mode`` as training scripts pass it: None works, anything else is refused with the modes there are."""

from typing import Any

import gymnasium
import pytest

import feedgym.env  # noqa: F401
from feedgym.env import FeedConfig

SMALL = {"config": FeedConfig(days=1.0, slate_size=3)}


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec], ids=["make", "make_vec"])
def test_none_works_and_another_mode_is_refused(make: Any) -> None:
    env = make("FeedGym/NewsFeed-v0", render_mode=None, **SMALL)
    env.reset(seed=0)
    assert env.unwrapped.render_mode is None
    env.close()
    with pytest.raises(ValueError, match=r"render_mode: got 'human', needs None, or one of render_modes \[\]"):
        env.unwrapped.__class__(render_mode="human", **SMALL)
