"""The console command: what it knows, what it loads, and that every way to start it works."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from feedgym.agents.registry.plans import AGENTS
from feedgym.agents.registry.published import SYSTEMS
from feedgym.experiments import cli
from feedgym.experiments.commands import agents
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.train import TrainConfig

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "matplotlib", "faiss", "tensorboard", "pyarrow", "scipy")


def python(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, cwd=cwd)


def loaded_by(*words: str) -> tuple[str, set[str]]:
    """What ``feedgym words`` prints, and which heavy modules it loads."""
    code = (
        "import sys\n"
        f"sys.argv = ['feedgym', *{list(words)!r}]\n"
        "from feedgym.experiments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('LOADED', *sys.modules)\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    text, _, modules = done.stdout.rpartition("LOADED")
    return text, set(HEAVY) & set(modules.split())


def test_help_names_every_command_and_loads_nothing() -> None:
    text, loaded = loaded_by("--help")
    for name, (_, line) in cli.COMMANDS.items():
        assert f"  {name}" in text
        assert line in text
    assert loaded == set()


@pytest.mark.parametrize(("command", "config"), [("compare", CompareConfig), ("train", TrainConfig)])
def test_the_help_of_a_command_explains_every_setting_and_loads_nothing_heavy(command: str, config: type) -> None:
    text, loaded = loaded_by(command, "--help")
    flat = " ".join(text.replace("│", " ").split())
    docs = agents.docs_below_fields(config)
    for f in dataclasses.fields(config):
        if f.name == "reward":
            assert "--reward.dwell-minutes" in flat
            continue
        assert f"--{f.name.replace('_', '-')}" in flat, f.name
        assert docs[f.name].split("``")[0].strip() in flat, f.name
    # Help shows how to read what was written: pyarrow and the rest come with the work.
    assert loaded == set()


@pytest.mark.parametrize("command", ["show", "agents"])
def test_the_small_commands_load_neither_torch_nor_matplotlib(command: str) -> None:
    text, loaded = loaded_by(command, "--help")
    assert f"usage: feedgym {command}" in text
    assert loaded == set()


def test_an_unknown_command_is_answered_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["feedgym", "comprae"])
    with pytest.raises(SystemExit, match="feedgym: got command 'comprae', needs one of compare, train, show"):
        cli.main()


def test_all_agents_are_listed_with_settings_defaults_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    agents.main([])
    text = capsys.readouterr().out
    for name, line in AGENTS.items():
        assert name in text
        assert line in text
        agents.main([name])
        of_one = capsys.readouterr().out
        assert of_one.startswith(f"{name}: ")
        settings = [line for line in of_one.splitlines() if line.startswith("  ") and line[2] != " "]
        explained = [line for line in of_one.splitlines() if line.startswith("      ")]
        assert len(explained) >= len(settings)
        assert bool(settings) == ("It has no settings." not in of_one)
    agents.main(["contrastive"])
    text = capsys.readouterr().out
    assert "  sharpness=4.0\n" in text
    assert "  negatives=in_batch\n      What a click is contrasted with" in text
    assert re.search(r"  widths=\([\d,]+\)\n      Hidden layers of each tower", text)
    with pytest.raises(SystemExit, match="agent: got 'nope', needs one of random, recent"):
        agents.main(["nope"])


def test_published_systems_are_listed_with_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    agents.main([])
    lines = capsys.readouterr().out.splitlines()
    for name, system in SYSTEMS.items():
        (line,) = [line for line in lines if line.split(maxsplit=1)[:1] == [name]]
        assert line.endswith(f"[{system.source}]")
        agents.main([name])
        assert system.source in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("script", ["compare.py", "train.py"])
def test_a_script_works_from_any_folder_with_its_workers(script: str, tmp_path: Path) -> None:
    words = ["--readers", "20", "--days", "1", "--tick-hours", "4"]
    words += ["--agents", "random", "recent", "--seeds", "0", "--workers", "2"] if script == "compare.py" else []
    words += ["--agent", "recent"] if script == "train.py" else []
    done = python(str(ROOT / "experiments" / script), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(list(tmp_path.glob("runs/*/runs/*/seed-0/done.json"))) == (2 if script == "compare.py" else 1)


@pytest.mark.parametrize("script", ["commands/show.py", "commands/agents.py", "cli.py"])
def test_the_other_scripts_start_too(script: str, tmp_path: Path) -> None:
    done = python(str(ROOT / "experiments" / script), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
