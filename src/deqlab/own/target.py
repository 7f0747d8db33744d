"""MODULE:NAME: what a module of the user's has under a name.

Only what the user types, or a package registers, is imported. Names that stand in files which are
read, such as weights, are never.
"""

import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class OwnCodeError(ValueError):
    """What the user names is not there, cannot be imported, or is of another kind."""


def is_target(text: str) -> bool:
    """Return whether a text is MODULE:NAME, such as my_module:MyCell.

    Example:
        >>> is_target("my_module:MyCell"), is_target("mnist")
        (True, False)
    """
    return _TARGET.fullmatch(text) is not None


def named(target: str) -> Any:  # noqa: ANN401, whatever stands under that name
    """Import a module, and return what it has under a name.

    The folder where the process runs is searched first from then on, as `python -m` does it and
    a console script does not; workers inherit that.

    Args:
        target: MODULE:NAME, with dots in both.

    Raises:
        OwnCodeError: There is no such module or name, or the module raises when it is imported.
    """
    module, _, name = target.partition(":")
    if module.endswith(".py") or "/" in module:
        raise OwnCodeError(
            f"{module} is a file, and a target names a module: cd to its folder, and say "
            f"{Path(module).stem}:{name or 'NAME'}"
        )
    if not is_target(target):
        raise OwnCodeError(f"a target is MODULE:NAME, such as model:make, got {target!r}")
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the module may be younger than what Python knows of its folder
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module of the user's does
        raise OwnCodeError(f"{module} could not be imported: {told(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise OwnCodeError(f"{module} has no {part!r}{_nearest(part, found)}")
        found = getattr(found, part)
    return found


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def told(error: BaseException) -> str:
    """Return the first line of an error, and the last line of the user's that led to it."""
    others = (
        "<",  # importlib's own
        str(Path(__file__).parents[1]),
        *(sysconfig.get_path(place) for place in ("stdlib", "purelib", "platlib")),
    )
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(others):
            return f"{first_line(error)} ({Path(frame.filename).name}, line {frame.lineno})"
    return first_line(error)


def hint(name: str, known: Iterable[str]) -> str:
    """Return what to say of a name that is not known: the closest known one, or all of them."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _nearest(name: str, holder: object) -> str:
    """Return what may have been meant, for a sentence that a name is missing."""
    near = get_close_matches(name, [other for other in vars(holder) if other[0] != "_"], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
