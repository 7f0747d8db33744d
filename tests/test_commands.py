"""The commands of README and docs: all of them are parsed, those of deqlab run at preset smoke.

A block of bash is one between ```bash and ```. What it needs beside deqlab (files of the user's) is
made by `of_the_user`.
"""

import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer

from deqlab.cli import main, names
from deqlab.cli.app import app
from deqlab.experiments import GROUPS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Command:
    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.page}:{self.line}"


def commands_of(text, page="a page"):
    """Return the commands of the blocks of bash of a page, in order."""
    found, inside, begun = [], False, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().startswith("```"):
            inside = line.strip() == "```bash"
        elif inside:
            begun += line
            if begun.endswith("\\"):
                begun = begun[:-1]
                continue
            for part in re.split(r"&&|\|", begun):
                if words := shlex.split(part, comments=True):
                    found.append(Command(page, number, tuple(words)))
            begun = ""
    return found


COMMANDS = {
    str(path.relative_to(ROOT)): commands_of(path.read_text(), str(path.relative_to(ROOT)))
    for path in PAGES
}
ALL = [command for of in COMMANDS.values() for command in of]


def check(words):
    """Raise an error unless a command can be what its page says."""
    tool, *rest = words
    if tool == "deqlab":
        parse(rest)
    elif tool == "make":
        for target in rest:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
    elif tool == "python" and rest[0] == "-m":
        assert (ROOT / f"{rest[1].replace('.', '/')}.py").exists() or rest[1] in ("venv", "pip")
    elif tool == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"\[(.*?)\]", " ".join(rest)):
            assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    else:
        assert tool in ("cd", "git", "source", "pytest"), f"nobody checks {tool}"


def parse(words):
    """Parse a command of deqlab, and run nothing; names must be known."""
    group = typer.main.get_command(app)
    name, *rest = words
    if name.startswith("--"):
        assert name in {opt for param in group.params for opt in param.opts}
        return
    assert name in group.commands, name
    try:
        params = group.commands[name].make_context(name, rest).params
    except Exception as error:  # typer brings its own click, or takes the one that is installed
        if not hasattr(error, "format_message"):
            raise
        raise AssertionError(error.format_message()) from error
    known = {"run": (*names.RUN, *names.GROUPS), "train": names.TRAIN}
    if name in known:
        assert set(params["names"] or ()) <= set(known[name]) | {
            each
            for each in params["names"] or ()
            if ":" in each  # MODULE:NAME of the user's
        }
        more = names.MORE_PRESETS.get(params["preset"], ())
        assert params["preset"] in names.PRESETS or set(params["names"]) <= set(more)
    if name == "list" and params["name"]:
        assert params["name"] in (*names.RUN, *names.TRAIN)


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_can_be_what_its_page_says(command):
    check(command.words)


@pytest.mark.parametrize(
    "line",
    [
        "deqlab rum images",
        "deqlab run imagse",
        "deqlab run images --presett smoke",
        "deqlab run images --preset slow",
        "deqlab run memory --preset mnist",
        "deqlab train images",
        "deqlab --versoin",
        "deqlab kernel",
        "make tset",
        "python -m benchmarks.nothing",
        "pip install 'deqlab[tabels]'",
        "docker run deqlab",
    ],
)
def test_a_command_that_cannot_be_is_found(line):
    with pytest.raises(AssertionError):
        check(shlex.split(line))


def test_commands_are_read_from_blocks_of_bash_alone():
    text = "```bash\na b  # c\n\nd \\\n  'e f' && g\n```\nh\n```python\ni\n```\n```text\nj\n```\n"
    assert [command.words for command in commands_of(text)] == [("a", "b"), ("d", "e f"), ("g",)]


RUN = ("list", "run", "train", "report", "kernel")
"""Commands that take seconds, at preset smoke. The others train for minutes, or fetch."""


def of_the_user(folder):
    """Write the files that pages take for granted."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 20)), np.arange(60) % 2
    np.savez(folder / "samples.npz", x=x, labels=labels)
    lines = [f"{a},{b},{'yes' if a > 0 else 'no'}" for a, b in x[:, :2]]
    for name, label in (("table.csv", "species"), ("my.csv", "churn"), ("yours.csv", "churn")):
        (folder / name).write_text("\n".join([f"a,b,{label}", *lines]) + "\n")


def small(words):
    """Return a command that does the same in seconds: preset smoke, in this process."""
    if words[0] not in ("run", "train"):
        return list(words)
    kept = [
        word
        for before, word in pairwise(["", *words])
        if "--jobs" not in (before, word) and "--preset" not in (before, word)
    ]
    return [*kept, "--preset", "smoke"] if len(words) > 1 and words[1][0] != "-" else kept


CLAIMS = ("constructions", "steep-weights")
"""Two that stand for the group, of which the others are tested by themselves."""

WITH_FILES = "docs/bring-your-own.md"
"""A page whose commands need the files that it shows; they run in `test_bring_your_own`."""

PAGES_THAT_RUN = {
    page: [c for c in of if c.words[0] == "deqlab" and c.words[1] in RUN]
    for page, of in COMMANDS.items()
    if page != WITH_FILES
}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, of in PAGES_THAT_RUN.items() if of])
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(GROUPS, "claims", CLAIMS)
    of_the_user(tmp_path)
    for command in PAGES_THAT_RUN[page]:
        words = small(command.words[1:])
        monkeypatch.setattr(sys, "argv", ["deqlab", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        if stop.value.code == 2 and "is not on this machine" in said.err:
            pytest.skip(f"{command} needs a data set that is not here")
        # 3: a network of a few steps that is no DEQ, which the verdict says.
        assert stop.value.code in (None, 0, 3), (str(command), words, said.err)
