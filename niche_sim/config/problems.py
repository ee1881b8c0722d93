"""Mistakes in a file: where they are, what was expected, the nearest known name."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from niche_sim.errors import InputError

Path = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value."""

_MOST_SHOWN = 200


@dataclass(frozen=True)
class Place:
    """A position in a file, line and column from 1; None where there is no text (Python, `--set`)."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes
    ----------
    file : str
        File, or e.g. ``--set time.length``.
    line, column : int or None
        From 1.
    path : str
        Dotted path of the value, e.g. ``arms.treated.regimen.0.dose``; empty for the whole file.
    code : str
        Kind of mistake: file, encoding, size, syntax, depth, alias, tag, duplicate, unknown, missing, type,
        unit, range, value, name.
    message : str
        What is wrong and what was expected.
    """

    file: str
    line: int | None
    column: int | None
    path: str
    code: str
    message: str

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else repr(self.file)
        place = ":".join(str(part) for part in (file, self.line, self.column) if part is not None)
        # An option already names the path.
        named = self.file.startswith("--set ") and self.path.endswith(self.file[6:])
        return f"{place}: {self.path}: {self.message}" if self.path and not named else f"{place}: {self.message}"


class ConfigError(InputError):
    """Mistakes in configuration, all of them: `problems`, and one line each as text."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = list(problems)
        lines = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            lines.append(f"... and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(lines))


def write_path(path: Path) -> str:
    """Return the dotted form of a path; long keys are cut, control characters escaped."""
    return ".".join(_write_key(key) for key in path)


def _write_key(key: str | int) -> str:
    text = str(key) if str(key).isprintable() else repr(key)
    return text if len(text) <= 64 else text[:61] + "..."


def suggest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known name, or the known names if they are few."""
    names = list(known)
    near = get_close_matches(str(name)[:64], names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 12 else ""
