"""Driving an agent over a small site."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import Agent, Served
from feedgym.env import Feed, NewsReader, NewsReaderConfig
from feedgym.env.feed.feed import ServedOutcome

Drive = Callable[..., list[tuple[Served, ServedOutcome]]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def drive() -> Drive:
    def loop(agent: Agent, feed: Feed, until: float = np.inf) -> list[tuple[Served, ServedOutcome]]:
        """Serve and learn until ``until`` hours, or the horizon."""
        served = []
        while not feed.done and feed.now < until:
            slates = agent.act(feed.visits, feed.catalogue)
            outcome = feed.serve(slates.article_id)
            agent.learn(outcome)
            served.append((slates, outcome))
        return served

    return loop


@pytest.fixture(scope="session")
def plain_readers() -> Callable[..., NewsReader]:
    """Readers with every mechanism off, but those named."""

    def make(**switches: Any) -> NewsReader:
        off = {name: False for name, kind in NewsReaderConfig.__annotations__.items() if kind in (bool, "bool")}
        return NewsReader(NewsReaderConfig(**(off | switches)))

    return make
