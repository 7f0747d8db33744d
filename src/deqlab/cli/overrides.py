"""`--set FIELD=VALUE`: any field of any config, parsed as the type that it has."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from deqlab.experiments.config import ConfigT, UsageError
from deqlab.own.target import hint


def override(config: ConfigT, settings: Sequence[str], *, option: str = "--set") -> ConfigT:
    """Return `config` with each "field=value" applied.

    Args:
        config: The config.
        settings: What follows the option, each time that it is given.
        option: The option, for sentences.

    Raises:
        UsageError: A setting has no value, names no field, is not of the field's type, or out of
            its domain.
    """
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    changes = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"{option} takes FIELD=VALUE, got {setting!r}")
        current = fields[one_of(name, fields, what="field")]
        most = MOST_OF_SEEDS if name == "seeds" else MOST
        try:
            changes[name] = _parse(text, like=current, most=most)
        except OverflowError as error:
            raise UsageError(f"{option} {setting}: a number must be at most {most:,}") from error
        except ValueError as error:
            raise UsageError(
                f"{option} {name} takes {_kind(current)} such as {shown(current)}, got {text!r}"
            ) from error
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        raise UsageError(f"{option} {' '.join(settings)}: {error}") from error


MAX_SEEDS = 10_000
"""A hundred times as many as any experiment of ours has."""


def first_seeds(count: int) -> tuple[int, ...]:
    """Return the seeds from 0 to `count` - 1.

    Raises:
        UsageError: Nobody could mean so many.
    """
    if count > MAX_SEEDS:
        raise UsageError(f"--seeds must be at most {MAX_SEEDS:,}, got {count:,}")
    return tuple(range(count))


def one_of(name: str, known: Iterable[str], *, what: str) -> str:
    """Return `name` if it is known.

    Raises:
        UsageError: It is not; the closest known name is suggested, or all are listed.
    """
    known = list(known)
    if name in known:
        return name
    raise UsageError(f"no {what} named {name!r}; {hint(name, known)}")


def _parse(text: str, *, like: Any, most: int) -> Any:  # noqa: ANN401
    if like is None:  # a word that is not given
        return text
    if isinstance(like, bool):
        return {"true": True, "false": False}[text.lower()] if text.lower() in _BOOLS else _fail()
    if isinstance(like, tuple):
        one = like[0] if like else ""  # of words that are not given
        return tuple(_parse(part.strip(), like=one, most=most) for part in text.split(","))
    value = type(like)(text)
    if isinstance(value, int) and abs(value) > most:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


MOST = 10**8
"""The largest whole number. Sizes beyond it fill the memory, or overflow without a word."""

MOST_OF_SEEDS = 2**32
"""The largest seed. Seeds are no sizes; numpy takes none beyond it."""


_BOOLS = ("true", "false")


def _fail() -> None:
    raise ValueError


def _kind(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return f"{_kind(value[0] if value else '')}s, separated by commas,".replace(
            "a ", ""
        ).replace("an ", "")
    return {bool: "true or false", int: "an integer", float: "a number", str: "a word"}[type(value)]


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as `--set` takes it."""
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
