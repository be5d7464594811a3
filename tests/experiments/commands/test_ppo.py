"""PPO on the single face: what is judged on what, the message where its library is missing, and a very small run."""

import dataclasses
import importlib.util
from typing import Any

import numpy as np
import pytest

from feedgym.env import NewsFeedEnv
from feedgym.experiments.commands import ppo
from feedgym.experiments.commands.ppo import (
    Judged,
    PPOConfig,
    PPOResult,
    judge,
    newest_slate,
    random_slate,
    standard_errors,
)

SMALL = PPOConfig(steps=64, worlds=3, readers=2, days=2.0, envs=2, rollout=16)
needs_sb3 = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None,
    reason="stable-baselines3 is not a dependency: pip install it in an environment of its own",
)


def test_policies_are_judged_on_the_same_worlds_and_readers_and_newest_beats_random() -> None:
    config = PPOConfig(worlds=6, readers=2, days=6.0)
    random, newest = judge(random_slate, config), judge(newest_slate, config)
    again = judge(newest_slate, config)
    np.testing.assert_array_equal(newest.returns, again.returns)
    np.testing.assert_array_equal(newest.visits, again.visits)
    assert random.returns.shape == random.visits.shape == (6, 2)
    assert newest.per_visit > 1.5 * random.per_visit > 0.0


def test_a_judged_episode_is_the_env_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    reset = NewsFeedEnv.reset

    def recording(self: NewsFeedEnv, **settings: Any) -> Any:
        seeds.append(settings["seed"])
        return reset(self, **settings)

    monkeypatch.setattr(NewsFeedEnv, "reset", recording)
    judge(newest_slate, dataclasses.replace(SMALL, first_world=50))
    judged = judge(newest_slate, dataclasses.replace(SMALL, first_world=0))
    assert seeds == [ppo.UNSEEN_WORLDS + world for world in (50, 51, 52, 0, 1, 2) for _ in range(2)]
    env = ppo.site(SMALL, reader_id=1)
    _, info = env.reset(seed=ppo.UNSEEN_WORLDS + 2)
    total, ended = 0.0, False
    while not ended:
        slate = np.sort(env.catalogue.article_id)[::-1][: env.config.slate_size]
        _, reward, terminated, truncated, info = env.step_slate(slate)
        total, ended = total + reward, terminated or truncated
    assert (judged.returns[2, 1], judged.visits[2, 1]) == (total, info["visit"])


def test_training_worlds_are_never_those_of_the_evaluation() -> None:
    env = ppo.site(SMALL, ppo.TRAINING_READERS)
    env.reset(seed=SMALL.seed)
    for _ in range(20):
        env.reset()
        assert env.feed.seed < ppo.UNSEEN_WORLDS
    assert SMALL.readers < ppo.TRAINING_READERS
    with pytest.raises(ValueError, match="seed: got 2147483647"):
        PPOConfig(seed=2**31 - 1)


def test_the_lead_is_paired_over_worlds() -> None:
    config = PPOConfig(worlds=3, readers=2, days=2.0)
    visits = np.full((3, 2), 4.0)
    base = np.array([[1.0, 3.0], [10.0, 30.0], [0.0, 2.0]])
    better = Judged(base + np.array([[1.0, 3.0], [3.0, 5.0], [7.0, 5.0]]), visits)
    result = PPOResult(config, {"ppo": better, "random": Judged(base, visits), "newest": better}, 1.0)
    lead = result.versus("random")
    assert lead.mean == pytest.approx(2.0)  # minutes per reader day
    assert standard_errors(lead) == pytest.approx(2.0 * np.sqrt(3.0))
    assert "+2.000" in ppo.table(result)
    assert "3.5 standard errors" in ppo.table(result)
    assert better.per_visit == pytest.approx((base.sum() + 24.0) / 24.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"worlds": 1}, "worlds: got 1"),
        ({"envs": 1, "rollout": 4}, r"envs \* rollout: got 4"),
        ({"steps": 0}, "steps: got 0"),
        ({"gamma": 1.5}, "gamma: got 1.5"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)


def test_without_its_library_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(vars(ppo)["importlib"], "import_module", absent)
    with pytest.raises(SystemExit, match=r"needs stable-baselines3.*pip install \. stable-baselines3"):
        ppo.main(["--steps", "1"])


@needs_sb3
def test_a_very_small_run_learns_and_is_judged() -> None:
    told: list[str] = []
    result = ppo.run(SMALL, told.append)
    assert [*result.judged] == ["ppo", "random", "newest"]
    assert told[-1].split()[0] == "64"
    for judged in result.judged.values():
        assert np.isfinite(judged.returns).all()
    np.testing.assert_array_equal(result.judged["random"].returns, judge(random_slate, SMALL).returns)
    same = ppo.run(SMALL, told.append)
    np.testing.assert_array_equal(result.judged["ppo"].returns, same.judged["ppo"].returns)


@needs_sb3
def test_stable_baselines_checker_finds_no_fault() -> None:
    check_env = importlib.import_module("stable_baselines3.common.env_checker").check_env
    for action in ("query", "slate", "item"):
        for obs in ("flat", "dict"):
            check_env(NewsFeedEnv(action=action, obs=obs), warn=False)
