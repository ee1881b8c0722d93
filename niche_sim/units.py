"""Texts with a unit, and the one set of units inside: um, h, fmol, nmol/L, L, mg, g/mol.

Conversions are exact fractions, rounded once, so that "24 h" and "1 d" are the same number.
"""

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from niche_sim.errors import InputError

_DEFINITIONS = """
um = [length]; nm = 1/1000 * um; mm = 1000 * um; cm = 10000 * um; m = 1000000 * um
h = [time]; s = 1/3600 * h; min = 1/60 * h; d = 24 * h; week = 168 * h
month = 1461/2 * h; yr = 8766 * h
fmol = [amount]; pmol = 1000 * fmol; nmol = 1000000 * fmol; umol = 1000000000 * fmol
mmol = 1000000000000 * fmol; mol = 1000000000000000 * fmol
mg = [mass]; ng = 1/1000000 * mg; ug = 1/1000 * mg; g = 1000 * mg; kg = 1000000 * mg
L = 1000000000000000 * um ** 3; mL = 1/1000 * L; uL = 1/1000000 * L
M = 1 * mol / L; mM = 1/1000 * M; uM = 1/1000000 * M; nM = 1/1000000000 * M; pM = 1/1000000000000 * M
percent = 1/100; cell = 1
"""
_WORDS = {
    "hour": "h",
    "hours": "h",
    "hr": "h",
    "day": "d",
    "days": "d",
    "weeks": "week",
    "months": "month",
    "year": "yr",
    "years": "yr",
    "yrs": "yr",
    "minute": "min",
    "minutes": "min",
    "second": "s",
    "seconds": "s",
    "cells": "cell",
    "litre": "L",
    "litres": "L",
    "liter": "L",
    "liters": "L",
    "l": "L",
    "ml": "mL",
    "molar": "M",
    "%": "percent",
}
UNIT_NAMES = tuple(part.split("=")[0].strip() for part in re.split(r"[;\n]", _DEFINITIONS) if part.strip())
"""Units that a text may use."""

_INSIDE = {
    "h": ("a time", "6 h"),
    "um": ("a length", "20 um"),
    "um**2": ("an area", "50 um**2"),
    "L": ("a volume", "3 L"),
    "1/h": ("a rate", "0.1 /d"),
    "um/h": ("a speed", "5 um/h"),
    "um**2/h": ("a diffusion coefficient", "10 um**2/s"),
    "L/h": ("a clearance", "5 L/h"),
    "nmol/L": ("a concentration", "1 nmol/L"),
    "nmol/L/h": ("a change of concentration", "1 nmol/L/h"),
    "fmol": ("an amount", "1 fmol"),
    "fmol/h": ("an amount per time", "1 fmol/h"),
    "fmol/um**2": ("an amount per area", "1e-3 fmol/um**2"),
    "fmol/um**2/h": ("an amount per area and time", "1e-6 fmol/um**2/h"),
    "mg": ("a mass", "4 mg"),
    "mg/L": ("a mass concentration", "0.3 ng/mL"),
    "g/mol": ("a molar mass", "272 g/mol"),
    "1/um": ("an inverse length", "0.01 /um"),
    "L/nmol": ("an affinity", "1e6 L/mol"),
    "L/nmol/h": ("a kill rate per concentration", "1e-5 L/nmol/h"),
    "": ("a plain number", "0.5"),
}

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_ATOM = re.compile(r"([A-Za-z%]+)(?:(?:\*\*|\^)?(-?[1-9]))?")
_MOST_CHARACTERS = 80


def quote(value: object) -> str:
    """Return a value as a short text for a message, control characters escaped."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number of too many digits"
    return text if len(text) <= 60 else text[:57] + "..."


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint  # slow to import

    registry: Any = pint.UnitRegistry(None, non_int_type=Fraction)
    for line in re.split(r"[;\n]", _DEFINITIONS):
        if line.strip():
            registry.define(line.strip())
    return registry


def _atom(text: str) -> str:
    match = _ATOM.fullmatch(text)
    if not match:
        comma = "; the decimal point is a point, not a comma" if text.startswith(",") else ""
        raise InputError(f"{quote(text)} is not a unit{comma}" if text else "a unit ends too early")
    name, power = match.groups()
    # Case matters: mm is a length, mM a concentration.
    name = _WORDS.get(name, name)
    if name not in UNIT_NAMES:
        from difflib import get_close_matches

        near = get_close_matches(name, UNIT_NAMES, n=2, cutoff=0.5) or ["h", "um"]
        raise InputError(f"unknown unit {quote(name)}; did you mean {' or '.join(quote(n) for n in near)}?")
    return f"{name}**{power}" if power else name


@lru_cache(maxsize=512)
def _parse_unit(unit: str) -> str:
    """Return a unit in the form that pint reads; only products, quotients and small powers exist."""
    text = unit.replace("\u00b5", "u").replace("\u03bc", "u").replace("**", "^").strip()
    text = re.sub(r"\s*([*/])\s*", r"\1", re.sub(r"^1?\s*/", "1/", text))
    if not text:
        return ""
    pieces = re.split(r"([*/ ])", re.sub(r"\s+", " ", text))
    parsed = [("*" if piece == " " else piece) if i % 2 else piece for i, piece in enumerate(pieces)]
    for i in range(0, len(parsed), 2):
        if not (i == 0 and parsed[0] == "1" and len(parsed) > 1):
            parsed[i] = _atom(parsed[i])
    return "".join(parsed)


@lru_cache(maxsize=512)
def _measure(unit: str) -> tuple[frozenset[tuple[str, Fraction]], Fraction]:
    """Return the dimension of a unit and its size in um, h, fmol, mg."""
    parsed = _parse_unit(unit)
    if not parsed:
        return frozenset(), Fraction(1)
    registry = _registry()
    base = registry.Quantity(Fraction(1), registry.parse_units(parsed)).to_base_units()
    return frozenset((str(k), Fraction(v)) for k, v in base.dimensionality.items()), Fraction(base.magnitude)


Dimension = frozenset[tuple[str, Fraction]]
"""Powers of [length], [time], [amount] and [mass]; empty for plain numbers."""
_BASE = {"[length]": "um", "[time]": "h", "[amount]": "fmol", "[mass]": "mg"}


def measure(unit: str) -> tuple[Dimension, Fraction]:
    """Return the dimension of any unit, of the model or not, and its size in um, h, fmol, mg and their powers.

    Raises
    ------
    InputError
        The unit is unknown.
    """
    return _measure(unit)


def find_unit(dimension: Dimension) -> str:
    """Return the inside unit of a dimension; of one that nothing in the model has, a product of powers, e.g. "mg/h"."""
    inside = _inside_by_dimension().get(dimension)
    if inside is not None:
        return inside
    powers = sorted((_BASE[name], power) for name, power in dimension)
    above = "*".join(_write_power(name, power) for name, power in powers if power > 0)
    below = "".join(f"/{_write_power(name, -power)}" for name, power in powers if power < 0)
    return (above or "1") + below


def tell_dimension(dimension: Dimension, unit: str = "") -> str:
    """Return a dimension in words, with a unit of it: "a time (d)", "a plain number", "measured in mg/h"."""
    unit, inside = unit or find_unit(dimension), _inside_by_dimension().get(dimension)
    if inside is None:
        return f"measured in {unit}"
    return f"{_INSIDE[inside][0]} ({unit})" if inside else _INSIDE[""][0]


def _write_power(name: str, power: Fraction) -> str:
    return name if power == 1 else f"{name}**{power}"


@lru_cache(maxsize=1)
def _inside_by_dimension() -> dict[frozenset[tuple[str, Fraction]], str]:
    return {_measure(unit)[0]: unit for unit in _INSIDE}


def inside_unit(unit: str) -> str:
    """Return the inside unit of the dimension of `unit` ("" for plain numbers, percent and cells).

    Raises
    ------
    InputError
        The unit is unknown, or nothing in the model has its dimension.
    """
    dimension = _measure(unit)[0]
    found = _inside_by_dimension().get(dimension)
    if found is None:
        raise InputError(f"nothing here is measured in {quote(unit)}")
    return found


def split(text: str, example: str = "6 h") -> tuple[Fraction, str]:
    """Return the number and the unit text of e.g. "1e-4 /d"; `example` is told where there is none.

    Raises
    ------
    InputError
        The text does not begin with a finite number, or is too long.
    """
    stripped = text.strip()
    match = _NUMBER.match(stripped)
    if not match or len(stripped) > _MOST_CHARACTERS:
        raise InputError(f"{quote(text)} is not a number with a unit; write e.g. {example!r}")
    return Fraction(match.group()), stripped[match.end() :].strip()


def describe(unit: str) -> tuple[str, str]:
    """Return the words and an example for a dimension, e.g. ("a time", "6 h")."""
    return _INSIDE[inside_unit(unit)]


def _number(value: int | float | Fraction) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{quote(value) if not isinstance(value, Fraction) else 'the number'} is not finite")
    return number


def convert(value: object, unit: str) -> float:
    """Return a value from outside as a float in the inside unit of the dimension of `unit`.

    Parameters
    ----------
    value : str, int or float
        A text with a unit; a plain number, or a text without unit or in percent, where `unit` is "".
    unit : str
        Any unit of the expected dimension.

    Raises
    ------
    InputError
        A missing, unknown or wrong unit, a unit on a plain number, or no finite number.
    """
    wanted, example = describe(unit)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"expected {wanted}, e.g. {example!r}, not {quote(value)}")
    if not isinstance(value, str):
        if inside_unit(unit):
            raise InputError(f"missing unit: expected {wanted}, write e.g. '{quote(value)} {split(example)[1]}'")
        return _number(value)
    return _convert_text(value, inside_unit(unit))


@lru_cache(maxsize=8192)
def _convert_text(text: str, inside: str) -> float:
    """Return what a text with a unit is in an inside unit; kept, for the points of a study hold the same texts."""
    wanted, example = _INSIDE[inside]
    number, written = split(text, example) if inside else split(text)
    if not written and inside:
        raise InputError(f"missing unit in {quote(text)}: expected {wanted}, write e.g. {example!r}")
    dimension, size = _measure(written)
    expected, inside_size = _measure(inside)
    if dimension != expected:
        found = _INSIDE.get(_inside_by_dimension().get(dimension, "?"), ("something else", ""))[0]
        raise InputError(f"{quote(text)} is {found}; expected {wanted}, e.g. {example!r}")
    return _number(number * size / inside_size)


def express(text: str, unit: str) -> Fraction:
    """Return the number that a text with a unit is in another unit of its dimension, e.g. 7 for "1 week" in "d".

    Raises
    ------
    InputError
        A missing, unknown or wrong unit.
    """
    convert(text, unit)
    number, written = split(text)
    return number * _measure(written)[1] / _measure(unit)[1]


def write(value: float, unit: str) -> str | float:
    """Return a float in its inside unit as it is written in a file; `convert` gives the same float back."""
    inside = inside_unit(unit)
    if not inside:
        return value
    text = repr(float(value))
    return f"{text[:-2] if text.endswith('.0') else text} {inside.removeprefix('1')}"
