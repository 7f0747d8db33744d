"""Numbers as people read them: three significant digits, and a unit where there is one."""

import math
from collections.abc import Callable

from deqlab.report.rows import ReportError
from deqlab.report.statistics import Spread

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SI = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

Format = Callable[[float], str]


def number(value: float, digits: int = 3) -> str:
    """Write a number; whole ones below a million in full, extreme ones as powers of ten.

    Example:
        >>> [number(v) for v in (0.25, 12.0, 1234.0, 1234.5)]
        ['0.250', '12', '1,234', '1,234']
    """
    if value == 0:
        return "0"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}".replace("-", MINUS)
    mantissa, exponent = _scientific(value, digits)
    if not -3 <= exponent < 5:
        return f"{mantissa}{TIMES}{power_of_ten(exponent)}"
    decimals = max(0, digits - 1 - exponent)
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def _scientific(value: float, digits: int = 3) -> tuple[str, int]:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return mantissa.replace("-", MINUS), int(exponent)


def power_of_ten(exponent: int) -> str:
    """10 with `exponent` raised: 10⁻³."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def percent(value: float) -> str:
    """A fraction of one in percent, with one decimal: 93.1 %."""
    if abs(value) < 1e6:
        return f"{100 * value:.1f}{NBSP}%".replace("-", MINUS)
    mantissa, exponent = _scientific(value)
    return f"{mantissa}{TIMES}{power_of_ten(exponent + 2)}{NBSP}%"


def integer(value: float) -> str:
    """A whole number with thousands separated; a median between two keeps its half."""
    if abs(value) >= 1e18:  # where the digits of a float mean nothing
        return number(value)
    return f"{value:,.{0 if value == round(value) else 1}f}".replace("-", MINUS)


def si(value: float) -> str:
    """A number with an SI prefix: 1.23 M."""
    return _prefixed(value, 1000, _SI) if abs(value) >= 1e-3 else number(value)


def bytes_(value: float) -> str:
    """An amount of memory with a binary unit: 1.50 MiB."""
    return _prefixed(value, 1024, _BINARY)


def seconds(value: float) -> str:
    """A duration in the unit that fits it: 12.3 ms, 4.56 s, 3.20 min, 1.50 h."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s")):
        if abs(value) < limit:
            return f"{number(value * factor)}{NBSP}{unit}"
    scale, unit = (60, "min") if abs(value) < 7200 else (3600, "h")
    return f"{number(value / scale)}{NBSP}{unit}"


def _prefixed(value: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    # 999.7 rounds to "1000" at three digits, so the next unit starts a little early.
    while abs(value) / base**power >= 0.9995 * base and power < len(units) - 1:
        power += 1
    scaled = value / base**power
    if abs(scaled) >= 1e6:  # beyond all prefixes
        return f"{number(value)}{NBSP}{units[0]}".rstrip()
    text = number(scaled) if power else number(round(scaled, 3))
    return f"{text}{NBSP}{units[power]}".rstrip()


FORMATS: dict[str, Format] = {
    "percent": percent,
    "si": si,
    "integer": integer,
    "bytes": bytes_,
    "seconds": seconds,
    "number": number,
}


def format_named(name: str, *, where: str) -> Format:
    """Look a format up.

    Raises:
        ReportError: There is no such format.
    """
    if name not in FORMATS:
        raise ReportError(
            f"{where} has format {name!r}, which is none of {', '.join((*FORMATS, 'text'))}; "
            "correct config.json"
        )
    return FORMATS[name]


def default_format(field: str) -> str:
    """The format of a chart's axis that names none: a field called ..._bytes says its unit."""
    return "bytes" if field.endswith("_bytes") else "number"


def interval(spread: Spread, form: Format) -> str:
    """Minimum and maximum with the unit once: 92.1 to 93.4 %; empty if all values agree."""
    if not spread.varies:
        return ""
    low, high = form(spread.low), form(spread.high)
    number_low, _, unit_low = low.partition(NBSP)
    if unit_low and unit_low == high.partition(NBSP)[2]:
        low = number_low
    # An en dash next to a minus sign is unreadable.
    return f"{low} to {high}" if MINUS in low + high else f"{low}–{high}"  # noqa: RUF001


def median(spread: Spread, form: Format) -> str:
    """The median, or what stands in its place."""
    return "not finite" if math.isnan(spread.median) else form(spread.median)
