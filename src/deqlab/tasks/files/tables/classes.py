"""Labels in a file of the user's: which column or array holds them, and which classes they name."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

import numpy as np
from jaxtyping import Int64

from deqlab.tasks.files.errors import DataError

NAMES = ("label", "labels", "class", "target", "y")
"""The names by which a column or array of labels is found if the user gives none."""

OPTION = "--label NAME, label=NAME in Python"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?", re.ASCII | re.IGNORECASE)
_SHOWN_NAMES = 6
_COMPARED_NAMES = 1000  # with one that is not there; of a million it would take a minute

_Key = tuple[int, Decimal, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """Labels as classes, numbered from 0.

    Attributes:
        of_samples: The class of each sample.
        names: The labels as the file has them: numbers in ascending order, then texts in order.
    """

    of_samples: Int64[np.ndarray, " n"]
    names: list[str]


def find_label(names: Sequence[str], asked: str | None, *, where: str, what: str) -> int | None:
    """Return the place of the labels among columns or arrays, None if there are none.

    Args:
        names: The names of the columns or arrays.
        asked: The name that the user gives for the labels; if None, the labels are the only
            column or array, if there is one, that has one of `NAMES`, in capitals or not.
        where: The file.
        what: "column" or "array".

    Raises:
        DataError: None is called `asked`, or several are, or several have one of `NAMES`.
    """
    wanted = [i for i, name in enumerate(names) if _is_wanted(name, asked)]
    if len(wanted) > 1:
        both = " and ".join(f"'{shown(names[i])}'" for i in wanted[:2])
        advice = "rename one" if asked else f"say which {what} holds the labels ({OPTION})"
        raise DataError(f"{where} has {what}s {both}; {advice}")
    if not wanted and asked is not None:
        close = difflib.get_close_matches(asked, names[:_COMPARED_NAMES], n=1)
        hint = f"did you mean '{shown(close[0])}'?" if close else f"it has {listed(names)}"
        raise DataError(f"{where} has no {what} called '{shown(asked)}'; {hint}")
    return wanted[0] if wanted else None


def _is_wanted(name: str, asked: str | None) -> bool:
    return name.lower() in NAMES if asked is None else name == asked


def classes_of_texts(labels: Sequence[str]) -> Classes:
    """Return the classes of labels in a text; "1" and "1.0" are one."""
    keys = {text: _key(text.strip()) for text in dict.fromkeys(labels)}
    names: dict[_Key, str] = {}
    for text, key in keys.items():
        names.setdefault(key, text.strip())
    order = sorted(names)
    rank = {key: number for number, key in enumerate(order)}
    numbers = np.fromiter((rank[keys[text]] for text in labels), np.int64, count=len(labels))
    return Classes(of_samples=numbers, names=[names[key] for key in order])


def classes_of_array(labels: np.ndarray, *, where: str) -> Classes:
    """Return the classes of an array of labels, one a sample.

    Raises:
        DataError: It holds neither numbers nor strings, or nan.
    """
    if labels.dtype.kind in "US":
        texts = labels.astype(str) if labels.dtype.kind == "U" else np.char.decode(labels, "latin1")
        return classes_of_texts(texts.tolist())
    if labels.dtype.kind not in "fiub":
        raise DataError(f"{where} must hold numbers or strings as labels")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise DataError(f"{where} holds {labels[row]} as the label of row {row + 1}; give it one")
    values, numbers = np.unique(labels, return_inverse=True)
    return Classes(
        of_samples=numbers.astype(np.int64), names=[f"{value:.17g}" for value in values.tolist()]
    )


def refuse_a_regression(classes: Classes, name: str, *, where: str, what: str) -> None:
    """Raise if labels that nobody named are numbers with decimals, which are no classes."""
    for text in classes.names:
        number = _key(text)[1]
        if number != number.to_integral_value():
            raise DataError(
                f"{where} has {text} in {what} '{shown(name)}', which is no class; say which "
                f"{what} holds the labels ({OPTION}), or rename '{shown(name)}' if it is a feature"
            )


def described(classes: Classes, name: str, *, asked: bool, what: str) -> str:
    """Say which classes there are, and where they were found."""
    found = f"{plural(len(classes.names), 'class', 'classes')} ({listed(classes.names)})"
    why = "" if asked else ", taken for its name (--label takes another)"
    return f"{found} from {what} '{shown(name)}'{why}"


def plural(number: int, one: str, more: str) -> str:
    """Write a number with its noun."""
    return f"{number} {one if number == 1 else more}"


def listed(names: Sequence[str]) -> str:
    """Join the first names by commas, each made safe to print."""
    end = [] if len(names) <= _SHOWN_NAMES else ["..."]
    return ", ".join([*(shown(name) for name in islice(names, _SHOWN_NAMES)), *end]) or "none"


def shown(text: str, most: int = 40) -> str:
    """Return a text of a file as a sentence can hold it: short, without control characters."""
    cut = text[:most]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return safe if cut == text else f"{safe}..."


def _key(text: str) -> _Key:
    """Return what orders classes, and is equal for labels that are equal as numbers."""
    if _NUMBER.fullmatch(text):
        return 0, Decimal(text), ""
    return 1, Decimal(0), text
