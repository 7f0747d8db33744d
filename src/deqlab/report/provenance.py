"""Where a run comes from: whose claim it is, its settings, and the sessions that made it."""

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

from deqlab.report.rows import Run

UNKNOWN = "unknown"
LONGEST_CHIP = 40
MOST_IN_TITLE = 3

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
    return shlex.join([*words[:2], run.config["experiment"], *preset, *_options(run, words)])


def _options(run: Run, words: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command that decide what is run, not where, nor by how many.

    Of a sweep each run has one value.
    """
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        if option not in ("--set", "--seeds", "--sweep"):
            continue
        value = value if equals else following
        if option == "--sweep" and "sweep" not in run.config:
            field = value.partition("=")[0]
            option, value = "--set", f"{field}={_setting(run.settings.get(field))}"
        yield from (option, value)


def _setting(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


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


def chips(run: Run) -> tuple[tuple[str, str, str], ...]:
    """Return each field that is not as in the preset: its name, its value and the usual one.

    The usual one is empty where it is nothing, and for the field of a sweep, which has several
    values.
    """
    swept = run.config.get("sweep")
    return tuple(
        (name, _short(run.settings.get(name)), "" if name == swept else _short(usual))
        for name, usual in run.changed.items()
    )


def titles(runs: Sequence[Run]) -> list[str]:
    """Return the title of each run; those of one title say in which settings they differ."""
    found = [str(run.config["title"]) for run in runs]
    return [
        ", ".join(
            (title, *_differences(run, [r for r, t in zip(runs, found, strict=True) if t == title]))
        )
        for run, title in zip(runs, found, strict=True)
    ]


def _differences(run: Run, alike: Sequence[Run]) -> list[str]:
    """Return the preset and the settings, up to a few, in which a run differs from others."""
    presets = {_text(other.config.get("preset")) for other in alike}
    preset = _text(run.config.get("preset"))
    same = [other for other in alike if _text(other.config.get("preset")) == preset]
    fields = [
        f"{name} {_short(value) or 'none'}"
        for name, value in run.settings.items()
        if any(other.settings.get(name) != value for other in same)
    ]
    return [*([preset] if len(presets) > 1 else []), *fields[:MOST_IN_TITLE]]


def _short(value: object) -> str:
    """Return a setting in a few words; nothing if it is not set."""
    text = ", ".join(map(_short, value)) if isinstance(value, list) else _text(value)
    text = "" if value is None or value == "" else text
    return text if len(text) <= LONGEST_CHIP else f"{text[: LONGEST_CHIP - 1]}…"


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
