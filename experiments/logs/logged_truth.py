"""The truth behind off-policy estimates: what an agent earns on the states of a log (docs/mathematics.md 5.5).

The simulator lives through the log again, slate by slate, so that its readers are in the logged states. At every
visit it is then asked what the agent's own slates would have earned there, and put back. Not the reward of a run of
the agent: its readers would be in other states.
"""

from typing import TYPE_CHECKING

import numpy as np

from feedgym.agents.ope import first_rows
from feedgym.env.arrays import Doubles, Ints
from feedgym.env.checks import require
from feedgym.experiments.runs import RunConfig, make_drive

if TYPE_CHECKING:
    from feedgym.agents.logged import LoggedSite
    from feedgym.agents.two_tower import TwoTowerAgent


def reward_on_logged_states(
    agent: "TwoTowerAgent", site: "LoggedSite", world: RunConfig, *, from_hours: float = 0.0
) -> Doubles:
    """Reward of each logged visit, had the agent served it: one sampled slate each, under the log's own luck.

    Costs a snapshot of the whole site at each tick.

    Args:
        agent: new and frozen.
        site: the log, at its first tick.
        world: where it came from.
        from_hours: visits from here on.

    Returns:
        float64 (n,): their mean is the truth, up to its standard error. Slates that were drawn ahead count once.

    Raises:
        ValueError: this world's visits are not those of the log.
    """
    feed = make_drive(world).feed
    found: list[Doubles] = []
    slates: list[Ints] = []
    while not site.done and not feed.done:
        visits = site.visits
        same = np.array_equal(visits.rows, feed.visits.rows) and visits.tick == feed.tick
        require(same, "log", f"other visits at {site.now:g} h", "those of the world that its settings name")
        served = agent.act(visits, site.catalogue)
        if len(visits) and site.now >= from_hours - 1e-9:
            before = feed.snapshot()
            reward = feed.serve(served.article_id).reward.astype(np.float64)
            feed.restore(before)
            if served.ahead is not None:
                # Drawn ahead: estimates leave out the one slate of readers who were unknown.
                sampled = ~(site.logged.greedy | served.greedy)
                reward = reward[sampled]
                slates.append(site.logged.slate_id[sampled])
            found.append(reward)
        feed.serve(site.logged.article_id)
        site.advance()
    rewards = np.concatenate(found) if found else np.zeros(0)
    return rewards[first_rows(np.concatenate(slates))] if slates else rewards
