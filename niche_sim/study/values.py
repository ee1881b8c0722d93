"""Values of a factor: from a place of its distribution to a number and to the text that a file would hold.

Drawn values are kept to 9 significant digits: more mean nothing, and the last bits of exponentials and logarithms differ
between machines. The text is exact: read again it is the same number.
"""

import math
from fractions import Fraction
from typing import Any

from scipy.special import ndtr, ndtri

from niche_sim.config.reader import read_scalar
from niche_sim.study.spec import Factor, write_number
from niche_sim.units import convert, express, split

_DIGITS = 9

Value = tuple[str, float]
"""A value as a file writes it, and as a number in the unit of its factor (of words: as `number_word` has it)."""


def list_levels(factor: Factor) -> list[Value]:
    """Return the values of a factor in a grid, each as text and number."""
    if factor.distribution == "choice":
        return [_write_choice(factor, i) for i in range(len(factor.values))]
    ends = [find_value(factor, i / (factor.levels - 1)) for i in range(factor.levels)]
    return list(dict.fromkeys(ends))  # rounding may join two



def find_value(factor: Factor, u: float) -> Value:
    """Return the value of a factor at a place of its distribution (0 to 1), as text with unit and as number."""
    u = min(max(float(u), 0.0), 1.0)
    if factor.distribution == "choice":
        return _write_choice(factor, min(int(u * len(factor.values)), len(factor.values) - 1))
    if factor.distribution == "integer":
        low, high = int(factor.low), int(factor.high)
        number = low + min(int(u * (high - low + 1)), high - low)
        return str(write_number(number, factor.unit)), float(number)
    value = min(max(float(f"{_invert(factor, u):.{_DIGITS}g}"), factor.low), factor.high)
    if factor.round:
        return _round(factor, value)
    return str(write_number(value, factor.unit)), value


def _invert(factor: Factor, u: float) -> float:
    """Return the inverse distribution function of a continuous factor, between its ends, at u."""
    low, high = factor.low, factor.high
    if u in (0.0, 1.0):
        return high if u else low
    if factor.distribution == "loguniform":
        return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    if factor.distribution == "normal":
        return _truncate(factor.centre, factor.spread, low, high, u)
    if factor.distribution == "lognormal":
        width = math.sqrt(math.log1p(factor.spread**2))
        lowest = math.log(low) if low > 0.0 else -math.inf
        return math.exp(_truncate(math.log(factor.centre), width, lowest, math.log(high), u))
    if factor.distribution == "triangular":
        mode, width = factor.centre, high - low
        if u * width < mode - low:
            return low + math.sqrt(u * width * (mode - low))
        return high - math.sqrt((1.0 - u) * width * (high - mode))
    return low + u * (high - low)


def _truncate(mean: float, width: float, low: float, high: float, u: float) -> float:
    """Return the inverse distribution function of a normal law cut off at two ends."""
    below, above = ndtr((low - mean) / width), ndtr((high - mean) / width)
    return mean + width * float(ndtri(below + u * (above - below)))


def _round(factor: Factor, value: float) -> Value:
    """Return the nearest multiple of what a factor is rounded to that lies in its range, exactly."""
    number, unit = split(factor.round)
    step = express(factor.round, factor.unit)
    low, high = Fraction(repr(factor.low)) / step, Fraction(repr(factor.high)) / step
    times = min(max(round(Fraction(repr(value)) / step), math.ceil(low)), math.floor(high))
    rounded = float(times * step)
    if Fraction(repr(rounded)) == times * step:
        return str(write_number(rounded, factor.unit)), rounded
    return str(write_number(float(times * number), unit)), rounded  # a third of a day has no decimals


def _write_choice(factor: Factor, index: int) -> Value:
    value = factor.values[index]
    return write_text(value), number_word(factor, index) if math.isnan(factor.low) else express_value(value, factor.unit)


def number_word(factor: Factor, index: int) -> float:
    """Return the number of a word of a factor: its place in the list; of true and false, whatever their order, 1 and 0."""
    return float(factor.values[index] if all(isinstance(value, bool) for value in factor.values) else index)


def write_text(value: Any) -> str:
    """Return a plain value as the text that `read_text` reads."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def read_text(text: str) -> Any:
    """Return a value of a design as a file would hold it: a text, with its unit; a number; true or false."""
    return read_scalar(text)


def express_value(value: Any, unit: str) -> float:
    """Return a value as a number in a unit."""
    return float(express(value, unit)) if isinstance(value, str) else convert(value, unit)
