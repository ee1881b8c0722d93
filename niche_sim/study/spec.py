"""What a study is: plain, checked, and cheap to send to a worker."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from niche_sim.errors import InputError

KINDS = ("table", "grid", "latin_hypercube", "sobol_sequence", "morris", "saltelli")
"""Kinds of design."""

DISTRIBUTIONS = ("uniform", "loguniform", "normal", "lognormal", "triangular", "integer", "choice")
"""Distributions of a factor."""

BUILT = "design.parquet"
"""The file beside a resolved study that holds its points."""

TAKES = ("end", "start", "mean", "log10_mean", "min", "max", "sum", "change", "first_above", "first_below")
"""What an endpoint takes of a column of the series; the last two have an argument and give a time in hours."""


@dataclass(frozen=True)
class Factor:
    """What differs between the points of a study.

    Attributes
    ----------
    name : str
    places : tuple of str
        Dotted places of the experiment that it moves: ``dormancy.exit_rate``, ``arms.treated.regimen.0.dose``.
    distribution : str
        One of `DISTRIBUTIONS`.
    low, high : float
        Lowest and highest value, in `unit`; NaN of a choice.
    unit : str
        As the file writes it, e.g. ``um/d``; empty for plain numbers and words.
    centre, spread : float
        Of a normal distribution the mean and the standard deviation, of a log-normal one the median and the coefficient of
        variation, of a triangular one the mode; else NaN. In `unit`, but for the coefficient of variation.
    values : tuple
        Of a choice, as a file writes them.
    levels : int
        How many values a grid takes between `low` and `high`.
    round : str
        Values are multiples of this, e.g. ``6 h``; empty for no rounding.
    scale : str
        ``linear`` or ``log``: how to draw it and to compare its values.
    """

    name: str
    places: tuple[str, ...]
    distribution: str
    low: float = float("nan")
    high: float = float("nan")
    unit: str = ""
    centre: float = float("nan")
    spread: float = float("nan")
    values: tuple[Any, ...] = ()
    levels: int = 0
    round: str = ""
    scale: str = "linear"


@dataclass(frozen=True)
class Endpoint:
    """A column of the table of results: what to `take` of a `column` of the series, with the `argument` of the taking."""

    name: str
    column: str
    take: str
    argument: float | None = None


@dataclass(frozen=True)
class Design:
    """How points are laid out.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    points : int
        Trajectories (morris), base sample (saltelli), points before constraints (others).
    seed : int
        Of the sample; that of the runs is the experiment's.
    levels : int
        Levels of a Morris trajectory.
    second_order : bool
        Whether a Saltelli design has the points for indices of pairs.
    table : str
        File of a table.
    table_hash : str
        SHA-256 of what it holds, whatever its format and place.
    """

    kind: str
    points: int = 0
    seed: int = 0
    levels: int = 4
    second_order: bool = False
    table: str = ""
    table_hash: str = ""


@dataclass(frozen=True, eq=False)
class Study:
    """A checked study.

    Attributes
    ----------
    name, title, note : str
    experiment : dict
        Resolved, with the study's settings, before any factor.
    arms : tuple of str
        Those that run at every point.
    design : Design
    factors : tuple of Factor
        In alphabetical order, as are the endpoints.
    replicates : int
        Runs of each point and arm: seeds base, base + 1 ..., the same at every point.
    constraints : tuple of str
        What every point fulfils.
    endpoints : tuple of Endpoint
    """

    name: str
    title: str
    note: str
    experiment: dict[str, Any]
    arms: tuple[str, ...]
    design: Design
    factors: tuple[Factor, ...]
    replicates: int
    constraints: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]

    def resolved(self) -> dict[str, Any]:
        """Return the study as a mapping: written as YAML beside its points (`BUILT`), it is a study file of its own."""
        design = self.design
        laid: dict[str, Any] = {"kind": design.kind}
        if design.kind == "table":
            laid |= {"table": BUILT}
        elif design.kind != "grid":
            laid |= {"points": design.points, "seed": design.seed}
        laid |= {"levels": design.levels} if design.kind == "morris" else {}
        laid |= {"second_order": design.second_order} if design.kind == "saltelli" else {}
        return {
            "name": self.name, "title": self.title, "note": self.note, "experiment": self.experiment,
            "arms": list(self.arms), "design": laid,
            "factors": {factor.name: _write_factor(factor, design.kind) for factor in self.factors},
            "replicates": self.replicates, "constraints": list(self.constraints),
            "endpoints": {end.name: {"column": end.column, "take": _write_take(end)} for end in self.endpoints},
        }  # fmt: skip

    @property
    def image(self) -> Path | None:
        """The image that the scene is read from, if it is."""
        scene = self.experiment["scene"]
        return Path(scene["file"]) if scene["kind"] == "image" else None

    def identify(self) -> dict[str, Any]:
        """Return what a study is: resolved, with what a table and an image hold in place of where they are."""
        found = self.resolved()
        if self.design.kind == "table":
            found["design"] = {"kind": "table", "sha256": self.design.table_hash}
        if self.image is not None:
            scene = self.experiment["scene"] | {"file": hash_image(self.image)}
            found["experiment"] = self.experiment | {"scene": scene}
        return found

    @property
    def config_hash(self) -> str:
        """SHA-256 of what the study is, as canonical JSON."""
        return hash_plain(self.identify())


class RunSpec(NamedTuple):
    """One run: an arm of a point with a seed.

    Equal keys are one run: the same configuration, seed and sources. Runs of one `spin_up` begin from the same state.
    `number` counts points, their replicates, and the arms of these.
    """

    number: int
    point: int
    replicate: int
    arm: str
    key: str
    spin_up: str = ""


class Batch(NamedTuple):
    """Runs that one worker does one after the other; `name` follows from what they are."""

    number: int
    runs: tuple[RunSpec, ...]
    name: str


def hash_plain(value: Any) -> str:
    """Return the SHA-256 of plain data as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_image(file: Path) -> str:
    """Return the SHA-256 of the image of a scene; read again only if its file changed.

    Raises
    ------
    InputError
        It can no longer be read.
    """
    try:
        state = file.stat()
        return _hash_version(file, (state.st_ino, state.st_size, state.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{file}: the image of the scene can no longer be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _hash_version(file: Path, version: tuple[int, ...]) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_number(value: float, unit: str) -> str | float | int:
    """Return a number with its unit as a file writes it; read again it is the same float."""
    if not unit:
        return value
    text = repr(float(value))
    return f"{text.removesuffix('.0')} {unit}"


def _write_take(endpoint: Endpoint) -> str:
    return endpoint.take if endpoint.argument is None else f"{endpoint.take}({endpoint.argument!r})"


def _write_factor(factor: Factor, kind: str) -> dict[str, Any]:
    """Return a factor with the keys of its file."""
    written: dict[str, Any] = {"at": list(factor.places)}
    if kind == "table":
        return written
    if factor.distribution == "choice":
        return written | {"values": list(factor.values)}
    ends = [write_number(end, factor.unit) for end in (factor.low, factor.high)]
    if factor.distribution == "integer" and not factor.unit:
        ends = [int(end) for end in (factor.low, factor.high)]
    written |= {"distribution": factor.distribution, "range": ends}
    keys = {"normal": ("mean", "sd"), "lognormal": ("median", "cv"), "triangular": ("mode",)}.get(factor.distribution, ())
    for key, value in zip(keys, (factor.centre, factor.spread)):
        written[key] = value if key == "cv" else write_number(value, factor.unit)
    written |= {"round": factor.round} if factor.round else {}
    return written | ({"levels": factor.levels} if kind == "grid" else {})
