"""What one run is: an agent, a seed and a world. Everything that its bytes depend on, and nothing else."""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from feedgym.agents.registry import AgentPlan, parse_agent
from feedgym.env.checks import require
from feedgym.env.config import FeedConfig, ModuleConfig, RewardConfig
from feedgym.env.newsroom import Newsroom, ReplayNewsroom
from feedgym.env.readers import NewsReader, ReaderModel
from feedgym.env.worlds import WORLDS
from feedgym.experiments.runs.checkpoint import file_name
from feedgym.experiments.runs.code import Code, code_of_feedgym, own_modules

Face = Literal["feed", "vector"]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The site, its readers and for how long: what all runs of a comparison share."""

    world: str = "vivid"
    """Preset of the site and its readers."""
    readers: int = 3000
    """Readers at hour 0 (P). Fewer than about 1,000 separate nothing."""
    newcomers_per_day: float | None = None
    """Readers who join in 24 hours, as a share of ``readers``; the world's own if not given, 0: nobody joins."""
    days: float | None = None
    """Simulated days; 14 if not given, or those of the file with ``--articles``."""
    slate_size: int | None = None
    """Articles in a slate (K); the world's own if not given."""
    tick_hours: float | None = None
    """The clock's step in hours; the world's own if not given."""
    articles_per_day: float | None = None
    """Mean arrivals in 24 hours; the world's own if not given. Not with ``articles``."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """What a visit pays."""
    organic_share: float = 0.0
    """Share of all opens that come from elsewhere (search, push, social, front page), without a slate, where slates are
    as good as those of ``recent``; the share that came about is reported (docs/guide/worlds.md)."""
    organic_reward: float = 0.0
    """What such an open pays, in times of what a click of as many minutes pays; 0: no agent has earned it."""
    reader_model: str | None = None
    """``module:Class`` of a reader model of your own, instead of the world's; see README, "Your own readers"."""
    articles: Path | None = None
    """CSV or Parquet file of articles for the newsroom to replay: id, publication time, and what else there is."""
    modules: bool = False
    """Serve modules of a home page, each of which pools some articles, instead of articles (docs/guide/modules.md)."""
    evaluate_visits: int = 96
    """Visits a day whose ranking of the full live catalogue is evaluated; 0 evaluates nothing, calibration and own
    lists neither."""
    log: bool = True
    """Write the log of impressions (Parquet, a part per simulated day; 14 to 18 bytes an impression)."""
    log_marginals: bool = False
    """Write the exact chance of each impression at its position and anywhere on the slate, too (16 bytes more)."""

    def __post_init__(self) -> None:
        """Check what can be checked; of a file of articles, how many days it has."""
        require(self.world in WORLDS, "world", self.world, f"one of {', '.join(WORLDS)}")
        require(self.evaluate_visits >= 0, "evaluate_visits", self.evaluate_visits, ">= 0")
        unwritten = self.log_marginals and not self.log
        require(not unwritten, "log_marginals", self.log_marginals, "False without a log")
        both = self.articles is not None and self.articles_per_day is not None
        require(not both, "articles_per_day", self.articles_per_day, "not given together with articles")
        self.feed_config()

    @functools.cached_property
    def horizon_days(self) -> float:
        """Simulated days: as given, or those of the file of articles, or 14.

        Raises:
            FileNotFoundError: no such file.
            ValueError: whatever is wrong in the file.
        """
        if self.days is not None:
            return self.days
        return 14.0 if self.articles is None else float(ReplayNewsroom(self.articles).days)

    def run_of(self, agent: str, seed: int, face: Face = "feed") -> "RunConfig":
        """One run in this world: what its bytes depend on, and nothing else."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(WorldConfig)}
        return RunConfig(agent=agent, seed=seed, face=face, **shared | {"days": self.horizon_days})

    def feed_config(self) -> FeedConfig:
        """The world's site with this run's changes."""
        base = WORLDS[self.world].feed
        newsroom = base.newsroom
        if self.articles_per_day is not None:
            newsroom = dataclasses.replace(newsroom, articles_per_day=self.articles_per_day)
        return dataclasses.replace(
            base,
            num_readers=self.readers,
            newcomers_per_day=base.newcomers_per_day if self.newcomers_per_day is None else self.newcomers_per_day,
            days=self.horizon_days,
            slate_size=base.slate_size if self.slate_size is None else self.slate_size,
            tick_hours=base.tick_hours if self.tick_hours is None else self.tick_hours,
            reward=self.reward,
            newsroom=newsroom,
            organic=dataclasses.replace(base.organic, share=self.organic_share, reward=self.organic_reward),
            modules=ModuleConfig() if self.modules else None,
        )

    def make_reader_model(self) -> ReaderModel:
        """The world's readers, or the user's."""
        if self.reader_model is None:
            return NewsReader(WORLDS[self.world].reader)
        return load_reader_model(self.reader_model)


@dataclass(frozen=True, kw_only=True)
class RunConfig(WorldConfig):
    """One agent under one seed in a world."""

    agent: str = "regression-dwell"
    """An agent of ``feedgym.agents``, maybe with settings: ``regression:target=click,sharpness=4``."""
    seed: int = 0
    """Of the world: newsroom, readers and their luck. All agents under one seed meet the same."""
    face: Face = "feed"
    """Drive the Feed itself, or Gymnasium's vector face (slower, same bytes)."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.face in ("feed", "vector"), "face", self.face, "'feed' or 'vector'")
        self.plan()
        super().__post_init__()

    def plan(self) -> AgentPlan:
        """The agent."""
        return parse_agent(self.agent)

    def make_newsroom(self) -> Newsroom | None:
        """The newsroom that replays a file; None for the world's own."""
        if self.articles is None:
            return None
        return ReplayNewsroom(self.articles, WORLDS[self.world].feed.newsroom, self.seed)

    def settings(self) -> dict[str, Any]:
        """Everything that the run's bytes depend on, as JSON takes it: files by their content, code by its digests."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        values["agent"], values["days"] = self.plan().label, self.horizon_days
        if self.articles is not None:
            values["articles"] = self.articles.name
            require(self.articles.is_file(), "articles", str(self.articles), "a file that exists")
            state = self.articles.stat()
            values["articles_sha256"] = _file_digest(self.articles, state.st_size, state.st_mtime_ns)
        values["code"] = self.code()
        # The same bytes either way: one folder serves both.
        del values["face"]
        return values

    def code(self) -> Code:
        """Digests of what this run executes: of FeedGym by part, of the user's own by module."""
        own = [] if self.reader_model is None else [self.reader_model.partition(":")[0]]
        if self.reader_model is not None:
            own.append(type(self.make_reader_model()).__module__)
        if "." in self.plan().name:
            own.append(self.plan().name.rpartition(".")[0])
        return {**code_of_feedgym(), **own_modules(own)}

    def folder_name(self) -> str:
        """``<agent>-<hash>/seed-<k>``: a restart with the same settings finds it, other settings do not.

        Code is not in the name: what other code has left there is found, said, and replaced.
        """
        settings = self.settings()
        del settings["seed"], settings["code"]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        return f"{file_name(self.plan().label)}-{digest}/seed-{self.seed}"


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:
    """SHA-256 of a file, read once for all runs of a comparison as long as its size and time of change stay."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_reader_model(name: str) -> ReaderModel:
    """The reader model that ``module:Class`` names; the current folder is searched first."""
    module_name, _, class_name = name.partition(":")
    require(bool(module_name and class_name), "reader_model", name, "module:Class, such as my_readers:NightOwl")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.split(".")[0] and error.name != module_name:
            raise
        raise ValueError(f"reader_model: got {name!r}, needs an importable module; {error}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"reader_model: got {name!r}, needs a class of {module_name}, which has no {class_name}")
    model: Any = found() if inspect.isclass(found) else found
    for method in ("spawn", "first_visit", "respond", "next_visit"):
        require(callable(getattr(model, method, None)), "reader_model", name, f"a method {method}, see ReaderModel")
    checked: ReaderModel = model
    return checked
