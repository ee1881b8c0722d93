"""How fields of the models are read: quantities with a unit, and what else has its own check.

Each function returns metadata for `typing.Annotated`: a check with its JSON Schema.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

from niche_sim.config.problems import suggest
from niche_sim.errors import InputError
from niche_sim.units import convert, describe, inside_unit, quote

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"


@dataclass(frozen=True, eq=False)
class Reading:
    """A check that turns what a file holds into a value, and its JSON Schema."""

    read: Callable[[object], Any]
    schema: Callable[[], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Read with the check alone."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        """Describe the field with the schema."""
        return self.schema()


def refuse(code: str, message: str) -> PydanticCustomError:
    """Return a mistake of a code of `Problem` for a validator to raise."""
    return PydanticCustomError(code, "{message}", {"message": message})


def read_quantity(
    value: object,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    texts: tuple[str, str] = ("", ""),
) -> float:
    """Return a quantity in inside units, checked against inclusive bounds and an exclusive lower one."""
    try:
        number = convert(value, unit)
    except InputError as error:
        raise refuse("unit" if isinstance(value, str) or inside_unit(unit) else "type", str(error)) from None
    if above is not None and number <= above:
        raise refuse("range", f"{quote(value)} is not above {texts[0] or above}")
    if low is not None and number < low:
        raise refuse("range", f"{quote(value)} is less than {texts[0] or low}")
    if high is not None and number > high:
        percent = f"; write '{value:g} %' for percent" if high <= 1.0 and isinstance(value, (int, float)) else ""
        raise refuse("range", f"{quote(value)} is more than {texts[1] or high}{percent}")
    return number


def quantity(low: str | float, high: str | float, *, unit: str = "", above: bool = False, off: bool = False) -> Reading:
    """Return how to read a float in inside units, read from a text with a unit.

    Parameters
    ----------
    low, high : str or float
        Inclusive bounds, written as a user would.
    unit : str
        Any unit of the dimension; empty for plain numbers.
    above : bool
        The lower bound is exclusive.
    off : bool
        ``false`` is allowed and gives None.
    """
    texts = (str(low), str(high))

    @lru_cache(maxsize=1)
    def bounds() -> tuple[float, float]:  # only when a value is read: units are slow to load
        return convert(low, unit), convert(high, unit)

    def read(value: object) -> float | None:
        if off and value is False:
            return None
        if off and value in ("off", "no", "never", None):
            raise refuse("unit", f"expected a time such as '6 h', or false for never, not {quote(value)}")
        lowest, highest = bounds()
        if above:
            return read_quantity(value, unit, None, highest, lowest, texts)
        return read_quantity(value, unit, lowest, highest, None, texts)

    return Reading(read, lambda: _schema(unit, texts, off))


@dataclass(frozen=True, eq=False)
class Moments:
    """A list of times, or the interval between them; ``false`` gives none."""

    interval: Reading

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Read a list as the list that it is, and everything else as an interval."""
        return core_schema.no_info_wrap_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        """Describe both forms."""
        return {"anyOf": [self.interval.schema(), handler(source)]}

    def _read(self, value: object, read_list: Callable[[object], Any]) -> Any:
        if isinstance(value, list):
            return read_list(value)
        found = self.interval.read(value)
        return [] if found is None else found


def _schema(unit: str, texts: tuple[str, str], off: bool) -> dict[str, Any]:
    words, example = describe(unit)
    schema: dict[str, Any]
    if inside_unit(unit):
        schema = {"type": "string", "pattern": _NUMBER + r"\s*\S", "examples": [example]}
    else:
        schema = {"type": ["number", "string"], "minimum": float(texts[0]), "maximum": float(texts[1])}
    schema["description"] = f"{words}, {texts[0]} to {texts[1]}"
    if off:
        return {"anyOf": [schema, {"const": False}]}
    return schema


def text(pattern: str, expected: str, longest: int = 64) -> Reading:
    """Return how to read a text of a pattern; `expected` says it in words."""
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        if not isinstance(value, str):
            hint = "; put it in quotes" if isinstance(value, (int, float)) else ""
            raise refuse("type", f"expected {expected}, not {quote(value)}{hint}")
        if len(value) > longest or not compiled.fullmatch(value):
            raise refuse("value", f"expected {expected}, not {quote(value)}")
        return value

    schema = {"type": "string", "pattern": f"^{pattern}$", "maxLength": longest}
    return Reading(read, lambda: dict(schema))


def whole(low: int, high: int) -> Reading:
    """Return how to read a whole number within inclusive bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse("type", f"expected a whole number, not {quote(value)}")
        if not low <= value <= high:
            raise refuse("range", f"{quote(value)} is not between {low} and {high}")
        return value

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Reading(read, lambda: dict(schema))


def choice(*words: str) -> Reading:
    """Return how to read one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            hint = suggest(value, words)
            near = hint if "did you mean" in hint else ""
            if value in ("im", "intramuscular") and "sc" in words:
                near = "; what goes into a muscle is absorbed like sc"
            raise refuse("value", f"expected one of {', '.join(words)}, not {quote(value)}{near}")
        return value

    return Reading(read, lambda: {"type": "string", "enum": list(words)})


def flag() -> Reading:
    """Return how to read true or false."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise refuse("type", f"expected true or false, not {quote(value)}")
        return value

    return Reading(read, lambda: {"type": "boolean"})
