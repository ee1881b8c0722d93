"""Parameter sets: named numbers, each with unit, range, status, source and note."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from niche_sim.errors import InputError
from niche_sim.units import convert, inside_unit, quote, split

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("measured", "derived", "model", "calibrated", "assumed")
"""Where a number can come from, best first."""

_ROUNDING = 1e-9  # a bound written in another unit is the same bound


@dataclass(frozen=True)
class Parameter:
    """One number with its provenance.

    Attributes
    ----------
    name : str
        Dotted name, e.g. ``dormancy.exit_rate``.
    value : float
        In inside units (um, h, nmol/L, fmol; see `niche_sim.units`).
    written : str or float
        The value as written, e.g. ``"1.6e-4 /d"``.
    range : tuple of float
        Plausible lowest and highest value, in inside units.
    written_range : tuple
        The same as written.
    status : str
        One of `STATUSES`.
    source : str
        Keys of references.bib, separated by commas, or ``none``.
    note : str
    """

    name: str
    value: float
    written: str | float
    range: tuple[float, float]
    written_range: tuple[str | float, str | float]
    status: str
    source: str
    note: str

    @property
    def unit(self) -> str:
        """The unit as written; empty for a plain number."""
        return split(self.written)[1] if isinstance(self.written, str) else ""

    @property
    def inside_unit(self) -> str:
        """The unit of `value` and `range`; empty for a plain number."""
        return inside_unit(self.unit)

    def replace(self, value: object) -> "Parameter":
        """Return the parameter with another value: its paper no longer speaks for it, so it is assumed.

        Raises
        ------
        InputError
            A wrong or missing unit, or a value outside the range.
        """
        number = convert(value, self.unit)
        check_range(number, value, self.range, self.written_range)
        if number == self.value:
            return self
        note = f"Set by the experiment; {self.written} in the parameter set ({self.status}, {self.source})."
        written = value if isinstance(value, str) else number
        return replace(self, value=number, written=written, status="assumed", source="none", note=note)

    def plain(self) -> dict[str, Any]:
        """Return the parameter as it is written in a file."""
        return {
            "value": self.written,
            "range": list(self.written_range),
            "status": self.status,
            "source": self.source,
            "note": self.note,
        }


def check_range(number: float, written: object, bounds: tuple[float, float], texts: tuple[str | float, str | float]) -> None:
    """Raise InputError if a number lies outside its range.

    Parameters
    ----------
    number : float
        In inside units, as `bounds`.
    written, texts
        The number and the bounds as written, for the message.
    """
    low, high = bounds
    if number < low - _ROUNDING * abs(low) or number > high + _ROUNDING * abs(high):
        raise InputError(f"{quote(written)} is outside the range {texts[0]} to {texts[1]}")


@dataclass(frozen=True)
class ParameterSet(Mapping[str, Parameter]):
    """Parameters by dotted name, in the order of their file.

    Attributes
    ----------
    entries : dict of str to Parameter
    name : str
        Name of the set; two sets are equal if their entries are.
    """

    entries: dict[str, Parameter]
    name: str = field(default="", compare=False)

    def __getitem__(self, name: str) -> Parameter:
        if name not in self.entries:
            raise InputError(self._unknown(name))
        return self.entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _unknown(self, name: str) -> str:
        near = get_close_matches(str(name), self.entries, n=1, cutoff=0.6)
        return f"unknown parameter {quote(name)}" + (f"; did you mean {near[0]!r}?" if near else "")

    def value(self, name: str) -> float:
        """Return a value in inside units.

        Raises
        ------
        InputError
            There is no such parameter.
        """
        return self[name].value

    def group(self, group: str) -> dict[str, float]:
        """Return the values of a group, e.g. ``group("dormancy")["exit_rate"]``, in inside units.

        Raises
        ------
        InputError
            There is no such group.
        """
        prefix = f"{group}."
        found = {name[len(prefix) :]: item.value for name, item in self.entries.items() if name.startswith(prefix)}
        if not found:
            raise InputError(f"unknown group of parameters {quote(group)}; known: {', '.join(self.groups())}")
        return found

    def groups(self) -> list[str]:
        """Return the names of the groups."""
        return list(dict.fromkeys(name.partition(".")[0] for name in self.entries))

    def override(self, changes: Mapping[str, object]) -> "ParameterSet":
        """Return a new set with some values replaced.

        Parameters
        ----------
        changes : mapping of dotted name to value
            Texts with a unit, or numbers for plain numbers.

        Raises
        ------
        InputError
            All mistakes at once: unknown names, wrong units, values outside their range.
        """
        entries, mistakes = dict(self.entries), []
        for name, value in changes.items():
            try:
                entries[name] = self[name].replace(value)
            except InputError as error:
                mistakes.append(str(error) if name not in self.entries else f"{name}: {error}")
        if mistakes:
            raise InputError("\n".join(mistakes))
        return ParameterSet(entries, self.name)

    def count_by_status(self) -> dict[str, int]:
        """Return how many parameters have each status, all of `STATUSES` present."""
        counts = Counter(item.status for item in self.entries.values())
        return {status: counts[status] for status in STATUSES}

    def sources(self) -> dict[str, list[str]]:
        """Return the names that each paper supports, by its key in references.bib."""
        found: dict[str, list[str]] = {}
        for name, item in self.entries.items():
            for key in item.source.split(","):
                if key.strip() != "none":
                    found.setdefault(key.strip(), []).append(name)
        return dict(sorted(found.items()))

    def provenance(self) -> "pd.DataFrame":
        """Return a table with one row a parameter: value, range, status, source and note."""
        import pandas as pd

        rows = [
            {
                "name": name,
                "written": str(item.written),
                "value": item.value,
                "inside_unit": item.inside_unit,
                "low": item.range[0],
                "high": item.range[1],
                "status": item.status,
                "source": item.source,
                "note": item.note,
            }
            for name, item in self.entries.items()
        ]
        return pd.DataFrame(rows).set_index("name")

    def plain(self) -> dict[str, dict[str, Any]]:
        """Return the set as the two levels of its file."""
        levels: dict[str, dict[str, Any]] = {}
        for name, item in self.entries.items():
            group, _, key = name.partition(".")
            levels.setdefault(group, {})[key] = item.plain()
        return levels
