"""Stable-Baselines3's PPO on the single Gymnasium face: does a stock agent learn to serve news?

The agent answers each visit with a query vector (``action="query"``). It learns from many worlds, each episode a
reader of another newsroom, and is judged on worlds and readers that it never met: the same ones for PPO, for random
queries, and for the newest articles on top. Differences are paired world by world.
Shapes: W worlds, R readers of each. Returns are minutes read.
"""

import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

import numpy as np

from feedgym.env import FeedConfig, NewsFeedEnv
from feedgym.env.arrays import Doubles, Floats
from feedgym.env.checks import require
from feedgym.env.faces import newest_first
from feedgym.experiments.cli import parsed
from feedgym.experiments.reports import Paired, interval, paired_difference

UNSEEN_WORLDS = 2**31
"""Worlds of the evaluation are numbered from here on: ``reset()`` without a seed draws training worlds below it."""
TRAINING_READERS = 1_000
"""Readers of the training worlds are numbered from here on; those of the evaluation from 0."""
REPORTS = 10
"""Lines of progress."""
NEEDS = (
    "needs stable-baselines3, which FeedGym does not install. In an environment of its own: "
    "python -m venv ppo && ppo/bin/pip install . stable-baselines3 && ppo/bin/feedgym ppo"
)

Choose = Callable[[NewsFeedEnv, Floats, np.random.Generator], Any]
"""A policy: the slate (K,) of article ids for an observation; the generator is for its own draws."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Train PPO on many worlds, judge it on others. The defaults take about five minutes on one core."""

    steps: int = 100_000
    """Visits to learn from, rounded up to whole rollouts of ``envs * rollout`` visits."""
    seed: int = 0
    """Of PPO's own draws and of the training worlds."""
    worlds: int = 100
    """Unseen worlds to judge on (W), >= 2."""
    first_world: int = 1000
    """Number of the first of them; settings were chosen with the worlds from 0 on in view."""
    readers: int = 2
    """Readers of each of them (R)."""
    days: float = 14.0
    """Horizon of an episode, in days."""
    envs: int = 8
    """Readers who are served side by side in training."""
    rollout: int = 256
    """Visits of each between two updates."""
    learning_rate: float = 1e-3
    """Of Adam."""
    gamma: float = 0.5
    """Discount per visit. Most of what a slate earns comes at its own visit; later ones add their luck as well."""
    hidden: tuple[int, ...] = ()
    """Units in each hidden layer of the policy; none: the query is linear in the observation."""
    log_std: float = -2.0
    """Log of the standard deviation with which a query's numbers are explored at first. A query's length does not
    matter, but its numbers end at 1: noise of a similar size could never be outweighed."""
    candidates: int = 1
    """Newest articles that the observation shows: a query needs none of them, and they are most of its columns."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.first_world >= 0, "first_world", self.first_world, ">= 0")
        for name in ("steps", "readers", "envs", "rollout", "candidates"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.envs * self.rollout >= 8, "envs * rollout", self.envs * self.rollout, ">= 8 visits to an update")
        require(self.worlds >= 2, "worlds", self.worlds, ">= 2: an interval needs two")
        require(0 <= self.seed < UNSEEN_WORLDS - self.envs, "seed", self.seed, f"0 to {UNSEEN_WORLDS - self.envs - 1}")
        require(0.0 <= self.gamma <= 1.0, "gamma", self.gamma, "between 0 and 1")


@dataclass(frozen=True)
class Judged:
    """What a policy earned on the unseen worlds."""

    returns: Doubles
    """Minutes read in each episode, (W, R)."""
    visits: Doubles
    """Visits in each episode, (W, R)."""

    def per_day(self, days: float) -> Doubles:
        """Minutes per reader day, of each world, (W,)."""
        rates: Doubles = self.returns.mean(axis=1) / days
        return rates

    @property
    def per_visit(self) -> float:
        """Minutes per visit, over all of them."""
        return float(self.returns.sum() / self.visits.sum())


@dataclass(frozen=True)
class PPOResult:
    """PPO, random queries and the newest articles on the same unseen worlds."""

    config: PPOConfig
    judged: Mapping[str, Judged]
    seconds: float
    """Wall-clock time of the training."""

    def versus(self, name: str) -> Paired:
        """PPO minus ``name``, minutes per reader day, paired over worlds."""
        days = self.config.days
        return paired_difference(self.judged["ppo"].per_day(days), self.judged[name].per_day(days))


def standard_errors(paired: Paired) -> float:
    """By how many standard errors of its own a paired difference is above 0; nan if nothing varies."""
    return paired.mean / (paired.sd / sqrt(paired.num_seeds)) if paired.sd > 0 else nan


def site(config: PPOConfig, reader_id: int) -> NewsFeedEnv:
    """A reader of the world ``vivid``, one world after the other, as PPO sees it."""
    return NewsFeedEnv(reader_id, config=FeedConfig(days=config.days), num_candidates=config.candidates)


def random_slate(env: NewsFeedEnv, observation: Floats, rng: np.random.Generator) -> Any:
    """The slate of a random query."""
    assert env.action_space.shape is not None
    return env.slate_of(rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32))


def newest_slate(env: NewsFeedEnv, observation: Floats, rng: np.random.Generator) -> Any:
    """The newest articles."""
    return newest_first(env.catalogue, env.config.slate_size)


def judge(choose: Choose, config: PPOConfig) -> Judged:
    """Let a policy serve R readers in each of W unseen worlds, an episode each."""
    shape = (config.worlds, config.readers)
    returns, visits = np.zeros(shape), np.zeros(shape)
    for world, reader in np.ndindex(shape):
        number = UNSEEN_WORLDS + config.first_world + world
        env, rng = site(config, reader), np.random.default_rng((config.seed, number, reader))
        observation, info = env.reset(seed=number)
        ended = False
        while not ended:
            slate = choose(env, observation, rng)  # type: ignore[arg-type]
            observation, reward, terminated, truncated, info = env.step_slate(slate)
            returns[world, reader] += reward
            ended = terminated or truncated
        visits[world, reader] = info["visit"]
    return Judged(returns, visits)


def train(config: PPOConfig, tell: Callable[[str], None] = print) -> Choose:
    """PPO's policy after ``config.steps`` visits.

    Args:
        config: settings.
        tell: takes lines of progress.

    Returns:
        The policy's mean action, as slates.

    Raises:
        RuntimeError: stable-baselines3 is not installed.
    """
    try:
        # Not an import statement: type checkers look for the package, which is not ours to install.
        baselines = importlib.import_module("stable_baselines3")
    except ImportError as error:
        raise RuntimeError(NEEDS) from error
    monitor = importlib.import_module("stable_baselines3.common.monitor").Monitor
    vectors = importlib.import_module("stable_baselines3.common.vec_env")
    readers = range(TRAINING_READERS, TRAINING_READERS + config.envs)
    plain = vectors.DummyVecEnv([lambda reader=reader: monitor(site(config, reader)) for reader in readers])
    # Rewards only. Observations are bounded as they are: scaled to unit variance, 75 noisy columns drown the constant
    # part of the query, which is what there is to learn first. With that scaling and a log_std of -1, 60,000 visits
    # led to 1.26 minutes per reader day; without it and with -2, to 1.98.
    scaled = vectors.VecNormalize(plain, norm_obs=False, gamma=config.gamma)
    model = baselines.PPO(
        "MlpPolicy",
        scaled,
        learning_rate=config.learning_rate,
        n_steps=config.rollout,
        batch_size=config.envs * config.rollout // 4,
        gamma=config.gamma,
        policy_kwargs={"log_std_init": config.log_std, "net_arch": {"pi": list(config.hidden), "vf": [64, 64]}},
        seed=config.seed,
        device="cpu",
    )
    start = time.perf_counter()
    # Whole rollouts between two lines: a part of one would be rounded up each time.
    rollout = config.envs * config.rollout
    part = max(1, config.steps // (REPORTS * rollout)) * rollout
    while (left := config.steps - model.num_timesteps) > 0:
        model.learn(min(part, left), reset_num_timesteps=model.num_timesteps == 0)
        latest = [episode["r"] for episode in model.ep_info_buffer]
        minutes = sum(latest) / max(1, len(latest)) / config.days
        spent = time.perf_counter() - start
        tell(f"{model.num_timesteps:>8} visits {spent:5.0f} s   latest episodes {minutes:.2f} minutes per reader day")

    def choose(env: NewsFeedEnv, observation: Floats, rng: np.random.Generator) -> Any:
        action, _ = model.predict(observation, deterministic=True)
        return env.slate_of(action)

    return choose


def run(config: PPOConfig, tell: Callable[[str], None] = print) -> PPOResult:
    """Train, then judge PPO, random queries and the newest articles on the same unseen worlds."""
    start = time.perf_counter()
    policies = {"ppo": train(config, tell), "random": random_slate, "newest": newest_slate}
    seconds = time.perf_counter() - start
    return PPOResult(config, {name: judge(choose, config) for name, choose in policies.items()}, seconds)


def table(result: PPOResult) -> str:
    """The result as text."""
    config = result.config
    lines = [
        f"PPO after {config.steps} visits ({result.seconds:.0f} s), on {config.worlds} unseen worlds "
        f"with {config.readers} readers each, {config.days:g} days",
        f"{'policy':<8} {'min/reader day':>14} {'min/visit':>10} {'visits/day':>10}   lead of ppo, min/day [95 %]",
    ]
    for name, judged in result.judged.items():
        row = f"{name:<8} {judged.per_day(config.days).mean():14.3f} {judged.per_visit:10.3f}"
        row += f" {judged.visits.mean() / config.days:10.2f}"
        if name != "ppo":
            lead = result.versus(name)
            row += f"   {interval(lead)}, {standard_errors(lead):.1f} standard errors"
        lines.append(row)
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    config = parsed(PPOConfig, args, "ppo", __doc__)
    try:
        print(table(run(config)))
    except RuntimeError as error:
        sys.exit(f"feedgym ppo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports a program that SIGINT ended


if __name__ == "__main__":
    main()
