"""Reads a factor of a study file: where it acts, how it is distributed, between which values."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from niche_sim.config.problems import Path
from niche_sim.config.report import Report
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet
from niche_sim.study.places import find_places, read_place
from niche_sim.study.schema import FactorModel
from niche_sim.study.spec import Factor
from niche_sim.study.values import express_value
from niche_sim.units import express, inside_unit, quote, split

LOG_SPAN = 100.0
"""A range that spans more than this factor is compared, and drawn unless told, on a logarithmic scale."""
_LARGEST, _LARGEST_CV = 1e100, 10.0
_TAILS = 4.0  # a normal law without a range is cut off at so many standard deviations

_LAW_KEYS = {"normal": ("mean", "sd"), "lognormal": ("median", "cv"), "triangular": ("mode",)}
_SHAPE_KEYS = ("mean", "sd", "median", "cv", "mode")


def read_factor(
    report: Report, name: str, experiment: Mapping[str, Any], parameters: ParameterSet, kind: str
) -> Factor | None:
    """Return the factor of a name, or None after noting its mistakes.

    Parameters
    ----------
    experiment : mapping
        Resolved.
    kind : str
        Of the design.
    """
    return _Reader(report, name, experiment, parameters, kind).read()


class _Reader:
    def __init__(
        self, report: Report, name: str, experiment: Mapping[str, Any], parameters: ParameterSet, kind: str
    ) -> None:
        self.report, self.name, self.kind = report, name, kind
        self.experiment, self.parameters = experiment, parameters
        self.path: Path = ("factors", name)
        self.model = FactorModel.model_validate(report.document.get(self.path))
        self.problems = len(report.problems)

    def read(self) -> Factor | None:
        places = self.read_places()
        if not places:
            return None
        if self.kind == "table":
            self.refuse([key for key in FactorModel.model_fields if key != "at"], "the table has its values")
            return Factor(self.name, places, "choice")
        factor = self.read_values(places) if self.model.values is not None else self.read_law(places)
        return factor if len(self.report.problems) == self.problems else None

    def note(self, inner: Path, code: str, message: str, *, key: bool = False) -> None:
        """Note a mistake at a key of the factor."""
        self.report.add((*self.path, *inner), code, message, key=key)

    # ------------------------------------------------------------ where

    def read_places(self) -> tuple[str, ...]:
        """Return every place that the factor moves, wildcards replaced."""
        at = self.model.at
        named = [self.name] if at is None else at if isinstance(at, list) else [at]
        found: list[str] = []
        for i, place in enumerate(named):
            here: Path = (*self.path, "at", i) if isinstance(at, list) else (*self.path, "at")
            if not isinstance(place, str):
                self.report.add(here, "type", f"expected a place such as arms.treated.regimen.0.dose, not {quote(place)}")
                continue
            try:
                found += find_places(place, self.experiment, self.parameters)
            except InputError as error:
                hint = "; `at` says where a factor of another name acts" if at is None and "." not in self.name else ""
                self.report.add(self.path if at is None else here, "unknown", f"{error}{hint}", key=at is None)
        return tuple(dict.fromkeys(found)) if len(self.report.problems) == self.problems else ()

    def find_leaf(self, places: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the first place that has a range of its own, as it is written; else what is known of the value."""
        known: Mapping[str, Any] = {}
        for place in places:
            leaf = self.parameters[place].plain() if place in self.parameters else read_place(self.experiment, place)
            if isinstance(leaf, dict) and "range" in leaf and "value" in leaf:
                return leaf
            if not known and isinstance(leaf, (str, int, float)) and not isinstance(leaf, bool):
                known = {"value": leaf}
        return known

    # ------------------------------------------------------------ values

    def refuse(self, keys: list[str], why: str) -> None:
        for key in keys:
            if getattr(self.model, key) is not None:
                self.note((key,), "value", f"not with this factor: {why}", key=True)

    def read_values(self, places: tuple[str, ...]) -> Factor:
        """Return a factor with a list of values; numbers have one dimension."""
        values = self.model.values or []
        others = [key for key in FactorModel.model_fields if key not in ("at", "values", "distribution")]
        self.refuse(others, "it has `values`")
        if self.model.distribution not in (None, "choice"):
            self.note(("distribution",), "value", "`values` are a choice; other distributions have a `range`")
        for i, value in enumerate(values):
            if isinstance(value, (dict, list)) or value is None:
                self.note(("values", i), "type", f"expected a number, text, true or false, not {quote(value)}")
            elif any(value == other and type(value) is type(other) for other in values[:i]):
                self.note(("values", i), "duplicate", f"{quote(value)} is already in the list")
        words = Factor(self.name, places, "choice", values=tuple(values))
        if any(isinstance(value, (dict, list, bool)) or value is None for value in values):
            return words
        unit = _find_unit(values[0])
        if unit is None:
            return words
        numbers = [self.attempt(("values", i), value, unit) for i, value in enumerate(values)]
        sound = [number for number in numbers if number is not None]
        if not sound:
            return words
        low, high = min(sound), max(sound)
        return Factor(
            self.name, places, "choice", low, high, unit, values=tuple(values), scale=_choose_scale(low, high)
        )  # fmt: skip

    def attempt(self, inner: Path, value: Any, unit: str) -> float | None:
        return self.report.attempt((*self.path, *inner), "unit", express_value, value, unit)

    # ------------------------------------------------------------ a law

    def read_law(self, places: tuple[str, ...]) -> Factor | None:
        """Return a factor with a distribution over a range."""
        model, leaf = self.model, self.find_leaf(places)
        ends = self.read_ends(leaf, places)
        law = model.distribution
        if law == "choice":
            self.note(("distribution",), "value", "a choice needs `values`")
            return None
        wanted = _LAW_KEYS.get(law or "", ())
        others = [key for key in _SHAPE_KEYS if key not in wanted]
        self.refuse(others, f"a {law or 'uniform'} distribution has no such key")
        centre, spread, unit = math.nan, math.nan, ends[2] if ends else ""
        if wanted:
            shape = self.read_shape(law or "", wanted, leaf, unit if ends else None)
            if shape is None:
                return None
            centre, spread, unit = shape
            ends = ends or self.cut_tails(law or "", centre, spread, unit)
        if ends is None:
            if len(self.report.problems) == self.problems:
                message = "missing: 'range' or 'values' is needed, for nothing states the range of this place"
                self.note(("range",), "missing", message, key=True)
            return None
        low, high, _ = ends
        return self.finish(places, law or self.choose_law(low, high, leaf), (low, high, unit), centre, spread)

    def choose_law(self, low: float, high: float, leaf: Mapping[str, Any]) -> str:
        """Return the distribution of a factor that states none."""
        written = self.model.range or []
        if "range" not in leaf and isinstance(leaf.get("value"), int) and all(isinstance(end, int) for end in written):
            return "integer"
        return "loguniform" if _choose_scale(low, high) == "log" else "uniform"

    def finish(
        self, places: tuple[str, ...], law: str, ends: tuple[float, float, str], centre: float, spread: float
    ) -> Factor | None:
        low, high, unit = ends
        self.check_law(law, low, high, centre)
        rounded = self.read_round(law, low, high, unit)
        levels = self.read_levels(law, low, high)
        scale = "log" if law in ("loguniform", "lognormal") else "linear"
        return Factor(
            self.name, places, law, low, high, unit, centre, spread, levels=levels, round=rounded, scale=scale
        )  # fmt: skip

    def read_ends(self, leaf: Mapping[str, Any], places: tuple[str, ...]) -> tuple[float, float, str] | None:
        """Return lowest and highest value and their unit: those of the file, else those that the place states itself."""
        written = self.model.range
        if written is None:
            if "range" not in leaf:
                return None
            unit = _find_unit(leaf["range"][0]) or ""
            ends = [express_value(end, unit) for end in leaf["range"]]
            if not ends[0] < ends[1]:
                wider = f"{places[0].removesuffix('.value')}.range"
                message = f"missing: the range of this number is {leaf['range'][0]} alone; `set: {{{wider}: ...}}` widens it"
                self.note(("range",), "missing", message, key=True)
                return None
            return ends[0], ends[1], unit
        first = written[0] if isinstance(written[0], str) or not isinstance(written[1], str) else written[1]
        try:
            unit = inside_unit(split(first)[1]) and split(first)[1] if isinstance(first, str) else ""
        except InputError as error:
            self.note(("range", 0), "unit", str(error))
            return None
        if isinstance(first, str) and not unit:
            unit = split(first)[1]  # percent
        low, high = (self.attempt(("range", i), end, unit) for i, end in enumerate(written))
        if low is None or high is None:
            return None
        if not low < high:
            message = f"is empty: {quote(written[0])} is not below {quote(written[1])}"
            self.note(("range",), "range", message)
            return None
        return low, high, unit

    def read_shape(
        self, law: str, keys: tuple[str, ...], leaf: Mapping[str, Any], unit: str | None
    ) -> tuple[float, float, str] | None:
        """Return centre, spread and unit of a law; the centre is the value of the place unless the file has one."""
        written = getattr(self.model, keys[0])
        written = leaf.get("value") if written is None else written
        if written is None:
            self.note((keys[0],), "missing", f"missing: '{keys[0]}' is needed for this distribution", key=True)
            return None
        if unit is None:
            unit = _find_unit(written)
        centre = None if unit is None else self.attempt((keys[0],), written, unit)
        if unit is None:
            self.note((keys[0],), "unit", f"{quote(written)} is not a number with a unit")
        spread: float | None = math.nan
        if len(keys) > 1:
            given = getattr(self.model, keys[1])
            if given is None:
                self.note((keys[1],), "missing", f"missing: {keys[1]!r} is needed for this distribution", key=True)
                return None
            spread = self.attempt((keys[1],), given, "" if keys[1] == "cv" else unit or "")
            if spread is not None and not 0.0 < spread <= (_LARGEST_CV if keys[1] == "cv" else _LARGEST):
                self.note((keys[1],), "range", f"{quote(given)} is not above 0, or beyond reason")
                return None
        if centre is not None and abs(centre) > _LARGEST:
            self.note((keys[0],), "range", f"{quote(written)} is beyond reason")
            return None
        if law == "lognormal" and centre is not None and not centre > 0.0:
            self.note((keys[0],), "range", f"{quote(written)} is not above 0, as the median must be")
            return None
        return None if centre is None or spread is None or unit is None else (centre, spread, unit)

    def cut_tails(self, law: str, centre: float, spread: float, unit: str) -> tuple[float, float, str] | None:
        """Return the ends of a law that has no range."""
        if law == "normal":
            return centre - _TAILS * spread, centre + _TAILS * spread, unit
        if law == "lognormal":
            fold = math.exp(_TAILS * math.sqrt(math.log1p(spread**2)))
            return centre / fold, centre * fold, unit
        return None

    def check_law(self, law: str, low: float, high: float, centre: float) -> None:
        """Note what of a range does not fit a distribution."""
        here = (*self.path, "range") if self.model.range is not None else (*self.path, "distribution")
        if not max(abs(low), abs(high)) <= _LARGEST:
            self.report.add(here, "range", "is beyond reason")
        if law == "loguniform" and not low > 0.0:
            self.report.add(here, "range", "a loguniform distribution needs a lowest value above 0")
        if law == "integer" and not (low.is_integer() and high.is_integer()):
            self.report.add(here, "range", "expected whole numbers for an integer distribution")
        if law == "integer" and max(abs(low), abs(high)) > 2**53:
            self.report.add(here, "range", f"expected whole numbers up to {2**53}")
        if law == "triangular" and not low <= centre <= high:
            self.note(("mode",), "range", "the mode is outside the range")
        if law == "lognormal" and not low >= 0.0:
            self.report.add(here, "range", "a lognormal distribution needs a lowest value of 0 or more")
        if law in ("normal", "lognormal") and not low < centre < high:
            self.report.add(here, "range", "the centre of the distribution is not inside the range")

    def read_round(self, law: str, low: float, high: float, unit: str) -> str:
        """Return what the values are multiples of, as text."""
        written = self.model.round
        if written is None:
            return ""
        here: Path = (*self.path, "round")
        if law == "integer":
            self.report.add(here, "value", "an integer is round already", key=True)
            return ""
        step = self.report.attempt(here, "unit", express_value, written, unit)
        if step is None:
            return ""
        if not step > 0.0:
            self.report.add(here, "range", f"{quote(written)} is not above 0")
            return ""
        exact = express(str(written), unit)
        if math.ceil(Fraction(repr(low)) / exact) > math.floor(Fraction(repr(high)) / exact):
            self.report.add(here, "range", f"no multiple of {quote(written)} lies in the range")
        return str(written)

    def read_levels(self, law: str, low: float, high: float) -> int:
        """Return how many values a grid takes."""
        levels = self.model.levels
        if self.kind != "grid":
            self.refuse(["levels"], f"a design of kind {self.kind} draws its values")
            return 0
        if law not in ("uniform", "loguniform", "integer"):
            self.note(("distribution",), "value", "not in a grid: give `values`, or a `range` with `levels`")
        if levels is None:
            self.note(("levels",), "missing", "missing: a grid needs `levels` of a range, or `values`", key=True)
            return 0
        if law == "integer" and levels > high - low + 1:
            self.note(("levels",), "range", f"there are only {high - low + 1:.0f} whole numbers in the range")
        return levels


def _find_unit(value: Any) -> str | None:
    """Return the unit of a number as written, None of a word."""
    if not isinstance(value, str):
        return ""
    try:
        unit = split(value)[1]
        inside_unit(unit)
    except InputError:
        return None
    return unit


def _choose_scale(low: float, high: float) -> str:
    return "log" if low > 0.0 and high > LOG_SPAN * low else "linear"
