"""What every point of a study fulfils: one comparison of two sums of products, read without `eval`.

    comparison = sum ("<" | "<=" | ">" | ">=") sum        sum = product {("+" | "-") product}
    product = factor {("*" | "/") factor}                 factor = number [unit] | name | "-" factor | "(" sum ")"

Names are those of factors. All is compared in inside units (um, h, mg, nmol/L ...), so a number that means a time has a
unit: ``dose / interval < 60 mg / 365 d``.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from niche_sim.config.problems import suggest
from niche_sim.errors import InputError
from niche_sim.units import UNIT_NAMES, convert, quote

LONGEST = 500
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)"
    r"|(?P<sign><=|>=|<|>|[-+*/()]))"
)
_COMPARE: dict[str, Callable] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMBINE: dict[str, Callable] = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

Columns = Mapping[str, np.ndarray]
Term = Callable[[Columns], Any]


class Constraint(NamedTuple):
    """A comparison: its text, and which rows of columns in inside units fulfil it."""

    text: str
    holds: Callable[[Columns], np.ndarray]


def read_constraint(text: object, names: Sequence[str]) -> Constraint:
    """Return the constraint that a text states of the factors of these names.

    Raises
    ------
    InputError
        The text is no comparison, or has a name that is none of them.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise InputError(f"expected a comparison such as 'dose / interval < 4 mg / 28 d', not {quote(text)}")
    reader = _Reader(text, names)
    left = reader.read_sum()
    sign = reader.take()
    if sign not in _COMPARE:
        raise InputError(f"expected <, <=, > or >= {_tell(sign)}")
    right = reader.read_sum()
    if reader.tokens:
        raise InputError(f"expected nothing more {_tell(reader.tokens[0])}; write each comparison as one constraint")
    compare = _COMPARE[sign]

    def holds(columns: Columns) -> np.ndarray:
        with np.errstate(all="ignore"):  # a division by 0 is fulfilled by no row
            return np.asarray(compare(left(columns), right(columns)))

    return Constraint(text, holds)


def _tell(token: str) -> str:
    return f"at {quote(token)}" if token else "at the end"


class _Reader:
    """Reads tokens from left to right, one function a rule of the grammar."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.names, self.tokens, self.depth = names, _split(text), 0

    def take(self) -> str:
        return self.tokens.pop(0) if self.tokens else ""

    def read_sum(self) -> Term:
        return self._chain("+-", self.read_product)

    def read_product(self) -> Term:
        return self._chain("*/", self.read_factor)

    def _chain(self, signs: str, read: Callable[[], Term]) -> Term:
        found = read()
        while self.tokens and self.tokens[0] in signs:
            found = _join(_COMBINE[self.take()], found, read())
        return found

    def read_factor(self) -> Term:
        token = self.take()
        if token == "-":
            inner = self.read_factor()
            return lambda columns: -inner(columns)
        if token == "(":
            self.depth += 1
            if self.depth > 20:
                raise InputError("brackets are nested more than 20 deep")
            inner = self.read_sum()
            if self.take() != ")":
                raise InputError("a bracket is not closed")
            self.depth -= 1
            return inner
        if token in self.names:
            return lambda columns: columns[token]
        if token[:1].isdigit() or token[:1] == ".":
            number = self._read_number(token)
            return lambda columns: number
        if token[:1].isalpha() or token[:1] == "_":
            raise InputError(f"{quote(token)} is not a factor with numbers{suggest(token, self.names)}")
        raise InputError(f"expected a number, a factor or a bracket {_tell(token)}")

    def _read_number(self, token: str) -> float:
        """Return a number in inside units; a unit follows it directly."""
        if self.tokens and self.tokens[0] not in self.names and self.tokens[0] in UNIT_NAMES:
            unit = self.take()
            return convert(f"{token} {unit}", unit)
        return convert(token, "")


def _join(combine: Callable, left: Term, right: Term) -> Term:
    return lambda columns: combine(left(columns), right(columns))


def _split(text: str) -> list[str]:
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if not match:
            known = "known are numbers, factors, + - * / ( ) and < <= > >="
            raise InputError(f"{quote(stripped[at:].strip()[:20])} is not understood; {known}")
        tokens.append(match.group().strip())
        at = match.end()
    return tokens
