"""What every point of a study fulfils: one comparison of two sums of products, read without `eval`.

    comparison = sum ("<" | "<=" | ">" | ">=") sum        sum = product {("+" | "-") product}
    product = factor {("*" | "/") factor}                 factor = number [unit] | name | "-" factor | "(" sum ")"

Names are those of factors. A unit follows its number and has no spaces inside: ``0.1 /d`` is a rate and ``5 um/d`` a speed,
``0.1 / d`` divides by a factor named d. What is added or compared has one dimension: ``dose / interval < 60 mg / 365 d``.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from niche_sim.config.problems import suggest
from niche_sim.errors import InputError
from niche_sim.units import UNIT_NAMES, Dimension, find_unit, measure, quote, tell_dimension

LONGEST = 500
_PLAIN: Dimension = frozenset()
_ATOM = r"[A-Za-z%\u00b5\u03bc]+(?:(?:\*\*|\^)-?[1-9]|[1-9])?"
_UNIT = re.compile(rf"\s*(?P<unit>/?{_ATOM}(?:[*/]{_ATOM})*)")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<sign><=|>=|<|>|[-+*/()]))"
)
_COMPARE: dict[str, Callable] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMBINE: dict[str, Callable] = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

Columns = Mapping[str, np.ndarray]


class Constraint(NamedTuple):
    """A comparison: its text, and which rows of columns, as `scale` returns them, fulfil it."""

    text: str
    holds: Callable[[Columns], np.ndarray]


class _Token(NamedTuple):
    text: str
    begin: int
    end: int
    unit: str = ""  # of a number


class _Term(NamedTuple):
    """A part of the text, from `begin` to `end`: its values, its dimension, and the unit of a lone number or factor."""

    values: Callable[[Columns], Any]
    dimension: Dimension
    begin: int
    end: int
    unit: str = ""


def scale(values: Any, unit: str) -> Any:
    """Return numbers of a unit in um, h, fmol, mg and their powers, in which alone products and quotients agree."""
    size = measure(unit)[1]
    return values * float(size.numerator) / float(size.denominator)


def read_constraint(text: object, units: Mapping[str, str]) -> Constraint:
    """Return the constraint that a text states of factors, whose units are given by name.

    Raises
    ------
    InputError
        The text is no comparison, has a name that is none of them, or adds or compares what differs in dimension.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise InputError(f"expected a comparison such as 'dose / interval < 4 mg / 28 d', not {quote(text)}")
    reader = _Reader(text, units)
    left = reader.read_sum()
    sign = reader.take()
    if sign.text not in _COMPARE:
        raise InputError(f"expected <, <=, > or >= {_tell(sign)}")
    right = reader.read_sum()
    if reader.tokens:
        raise InputError(f"expected nothing more {_tell(reader.tokens[0])}; write each comparison as one constraint")
    reader.check_alike(left, right, "compared")
    compare = _COMPARE[sign.text]

    def holds(columns: Columns) -> np.ndarray:
        with np.errstate(all="ignore"):  # a division by 0 is fulfilled by no row
            return np.asarray(compare(left.values(columns), right.values(columns)))

    return Constraint(text, holds)


def _tell(token: _Token) -> str:
    return f"at {quote(token.text)}" if token.text else "at the end"


class _Reader:
    """Reads tokens from left to right, one function a rule of the grammar."""

    def __init__(self, text: str, units: Mapping[str, str]) -> None:
        self.text, self.units, self.depth = text, units, 0
        self.tokens = _split(text, units)

    def take(self) -> _Token:
        return self.tokens.pop(0) if self.tokens else _Token("", len(self.text), len(self.text))

    def read_sum(self) -> _Term:
        return self._chain("+-", self.read_product)

    def read_product(self) -> _Term:
        return self._chain("*/", self.read_factor)

    def _chain(self, signs: str, read: Callable[[], _Term]) -> _Term:
        found = read()
        while self.tokens and self.tokens[0].text in signs:
            sign = self.take().text
            found = self._join(sign, found, read())
        return found

    def _join(self, sign: str, left: _Term, right: _Term) -> _Term:
        combine, unit = _COMBINE[sign], ""
        if sign in "+-":
            self.check_alike(left, right, "added" if sign == "+" else "subtracted")
            dimension, unit = left.dimension, left.unit or right.unit
        else:
            dimension = _multiply(left.dimension, right.dimension, 1 if sign == "*" else -1)
        return _Term(lambda c: combine(left.values(c), right.values(c)), dimension, left.begin, right.end, unit)

    def check_alike(self, left: _Term, right: _Term, done: str) -> None:
        """Refuse terms of two dimensions."""
        if left.dimension == right.dimension:
            return
        texts = [self.text[term.begin : term.end] for term in (left, right)]
        told = [f"{quote(text)} is {tell_dimension(t.dimension, t.unit)}" for text, t in zip(texts, (left, right))]
        remedy = "multiply or divide one of them"
        for text, term, other in zip(texts, (left, right), (right, left)):
            if term.dimension == _PLAIN and re.fullmatch(r"[0-9.eE]+", text):
                remedy = f"give the number a unit: '{text} {(other.unit or find_unit(other.dimension)).removeprefix('1')}'"
        message = f"only what has the same dimension can be {done}"
        raise InputError(f"{' and '.join(told)}: {message}; {remedy}")

    def read_factor(self) -> _Term:
        token = self.take()
        text = token.text
        if text == "-":
            inner = self.read_factor()
            return inner._replace(values=lambda columns: -inner.values(columns), begin=token.begin)
        if text == "(":
            self.depth += 1
            if self.depth > 20:
                raise InputError("brackets are nested more than 20 deep")
            inner, end = self.read_sum(), self.take()
            if end.text != ")":
                raise InputError("a bracket is not closed")
            self.depth -= 1
            return inner._replace(begin=token.begin, end=end.end)
        if text in self.units:
            unit = self.units[text]
            return _Term(lambda columns: columns[text], measure(unit)[0], token.begin, token.end, unit)
        if text[:1].isdigit() or text[:1] == ".":
            return self._read_number(token)
        if text[:1].isalpha() or text[:1] == "_":
            raise InputError(f"{quote(text)} is not a factor with numbers{suggest(text, self.units)}")
        raise InputError(f"expected a number, a factor or a bracket {_tell(token)}")

    def _read_number(self, token: _Token) -> _Term:
        number = scale(float(token.text), token.unit)
        if not math.isfinite(number):
            raise InputError(f"{quote(token.text)} is not finite")
        following = self.tokens[0].text if self.tokens else ""
        if following[:1].isalpha() and not token.unit:
            message = f"{quote(following)} after {token.text} is not a unit{suggest(following, UNIT_NAMES)}"
            raise InputError(f"{message}; between a number and a factor stands * or /")
        return _Term(lambda columns: number, measure(token.unit)[0], token.begin, token.end, token.unit)


def _multiply(left: Dimension, right: Dimension, sign: int) -> Dimension:
    powers: dict[str, Fraction] = dict(left)
    for name, power in right:
        powers[name] = powers.get(name, Fraction(0)) + sign * power
    return frozenset((name, power) for name, power in powers.items() if power)


def _split(text: str, units: Mapping[str, str]) -> list[_Token]:
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if not match:
            known = "known are numbers, factors, + - * / ( ) and < <= > >="
            raise InputError(f"{quote(stripped[at:].strip()[:20])} is not understood; {known}")
        begin, at = match.end() - len(match.group().strip()), match.end()
        unit = ""
        if match["number"]:
            unit, at = _find_unit(stripped, at, units)
        tokens.append(_Token(match.group().strip(), begin, at, unit))
    return tokens


def _find_unit(text: str, at: int, names: Mapping[str, str]) -> tuple[str, int]:
    """Return the longest unit that follows a number, and where it ends: of `mg/interval` it is `mg`."""
    match = _UNIT.match(text, at)
    pieces = re.split(r"(?<!\*)(?=[*/](?!\*))", match["unit"]) if match else []
    for number in range(len(pieces), 0, -1):
        unit = "".join(pieces[:number])
        end = match.start("unit") + len(unit) if match else at
        if re.match(r"[A-Za-z0-9_.]", text[end:]) or not _is_unit(unit):
            continue
        if unit[0] == "/" and match and match.start("unit") == at and unit[1:] in names:
            name = unit[1:]
            raise InputError(f"{unit!r} is a unit and {name!r} a factor; write ' {unit}' for one, ' / {name}' for the other")
        return unit, end
    return "", at


def _is_unit(unit: str) -> bool:
    try:
        measure(unit)
    except InputError:
        return False
    return True
