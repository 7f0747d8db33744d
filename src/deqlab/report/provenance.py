"""Where a run comes from: whose claim it is, its settings, and the sessions that made it."""

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

from deqlab.report.rows import Run

UNKNOWN = "unknown"

# What a reader looks for first; the rest of a session follows in its own order.
_FIRST = (
    "started",
    "deqlab",
    "commit",
    "python",
    "torch",
    "numpy",
    "platform",
    "processor",
    "cores",
    "threads",
    "jobs",
)


def origin(run: Run) -> str:
    """Return whose claim it is, and how it got here."""
    return ": ".join(str(run.config[key]) for key in ("origin", "source") if run.config.get(key))


def commands(run: Run) -> tuple[str, ...]:
    """Return the commands of its sessions, each once."""
    return tuple(dict.fromkeys(_text(s.get("command")) for s in run.sessions)) or (UNKNOWN,)


def command_of(run: Run, recorded: str) -> str:
    """Return the command for this run alone, where the recorded one made several."""
    try:
        words = shlex.split(recorded)
    except ValueError:
        return recorded
    if words[:2] != ["deqlab", "run"]:
        return recorded
    preset = ("--preset", _text(run.config.get("preset")))
    return shlex.join([*words[:2], run.config["experiment"], *preset, *_options(words)])


def _options(words: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command that decide what is run, not where, nor by how many."""
    for word, following in pairwise([*words, ""]):
        if word in ("--set", "--seeds"):
            yield from (word, following)
        elif word.startswith(("--set=", "--seeds=")):
            yield word


def facts(run: Run, num_arms: int) -> tuple[tuple[str, str], ...]:
    """Return the names and values that stand at the head of its section."""
    seeds = sorted({job.seed for job in run.jobs})
    return (
        ("experiment", run.config["experiment"]),
        ("preset", _text(run.config.get("preset"))),
        ("arms", str(num_arms)),
        ("seeds", str(len(seeds))),
        ("jobs done", str(len(run.jobs))),
    )


def sessions(run: Run) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each key of the sessions, with its value in every session, or once if they agree."""
    keys = dict.fromkeys((*_FIRST, *(key for s in run.sessions for key in s)))
    table = []
    for key in keys:
        if key == "command":
            continue
        values = tuple(_text(session.get(key)) for session in run.sessions) or (UNKNOWN,)
        table.append((key, values if len(set(values)) > 1 else values[:1]))
    return tuple(table)


def settings(run: Run) -> str:
    """Return its config as JSON with one line for each field, however long a list it holds."""
    config = run.config.get("config", {})
    if not isinstance(config, dict) or not config:
        return json.dumps(config, ensure_ascii=False)
    lines = (
        f"  {json.dumps(key)}: {json.dumps(config[key], ensure_ascii=False)}" for key in config
    )
    return "{\n" + ",\n".join(lines) + "\n}"


def _text(value: object) -> str:
    if value is None or value == "":
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
