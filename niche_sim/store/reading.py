"""Reading a result: nothing is decoded before its checksum has been compared."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from niche_sim.errors import InputError
from niche_sim.store import arrays, tables
from niche_sim.store.manifest import COHORT_FORMAT, NAME, SUBMODEL_FORMAT, read_manifest, read_plain_file, sha256
from niche_sim.units import convert

_DRAWN = ("figures/", "report.html", ".")  # drawn from the result afterwards, or a file manager's own


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a results folder: a file, relative to the folder, and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def _check_file(directory: Path, name: str, checksum: str) -> Problem | None:
    try:
        content = read_plain_file(directory / name)
    except InputError as error:
        return Problem(name, str(error).removeprefix(f"{directory / name}: "))
    if sha256(content) != checksum:
        return Problem(name, "was changed after it was written (its checksum does not match)")
    return None


def verify(directory: Path) -> list[Problem]:
    """Return everything wrong with the files of a result; an empty list for an intact one.

    Raises
    ------
    InputError
        The folder is no result at all.
    """
    directory = Path(directory)
    checksums = read_manifest(directory)["checksums"]
    problems = [_check_file(directory, name, checksum) for name, checksum in checksums.items()]
    return [problem for problem in problems if problem] + _find_strangers(directory, set(checksums))


def _find_strangers(directory: Path, known: set[str]) -> list[Problem]:
    names = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())
    strangers = sorted(n for n in names if n not in known and n != NAME and not n.startswith(_DRAWN))
    return [Problem(name, "does not belong to this result") for name in strangers]


class Result:
    """A finished run read from its folder; tables and arrays are read when first asked for.

    Attributes
    ----------
    directory : Path
    manifest : dict
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Result({str(self.directory)!r}, arms={self.arms})"

    @property
    def experiment_mapping(self) -> dict[str, Any]:
        """The resolved experiment, as `resolved.yaml` holds it."""
        return self.manifest["configuration"]

    @property
    def arms(self) -> list[str]:
        """Names of the arms in their order."""
        return list(self.manifest["arms"])

    @property
    def length_h(self) -> float:
        """How long every arm ran, h."""
        return convert(self.experiment_mapping["time"]["length"], "h")

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row an arm and recorded time."""
        return self._table("series")

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event."""
        return self._table("events")

    @cached_property
    def bmus(self) -> pd.DataFrame:
        """One row a BMU that ended: the times of its phases, what it opened, removed and filled."""
        return self._table("bmus")

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a cell and snapshot."""
        return self._table("cells")

    @cached_property
    def ledgers(self) -> pd.DataFrame:
        """One row an entry of a ledger and recorded time; the entries of an item at a time add up to nothing."""
        return self._table("ledgers")

    def fields(self, arm: str, name: str) -> np.ndarray:
        """Snapshots of one field of one arm (nmol/L), shape (t, z, y, x)."""
        return self._array("fields.zarr", arm, name)

    def maps(self, arm: str, name: str) -> np.ndarray:
        """Snapshots of one map of one arm, shape (t, z, y, x)."""
        return self._array("maps.zarr", arm, name)

    def field_times_h(self, arm: str) -> np.ndarray:
        """Times of the field snapshots (h)."""
        return self._array("fields.zarr", arm, "time_h")

    def map_times_h(self, arm: str) -> np.ndarray:
        """Times of the map snapshots (h)."""
        return self._array("maps.zarr", arm, "time_h")

    def field_names(self, arm: str) -> list[str]:
        """Names of the fields recorded in one arm."""
        return self._names("fields.zarr", arm)

    def map_names(self, arm: str) -> list[str]:
        """Names of the maps recorded in one arm."""
        return self._names("maps.zarr", arm)

    def final_state(self, arm: str) -> dict[str, np.ndarray]:
        """Every array of the state at the end of one arm, under its dotted name."""
        self._require(arm, self.arms, "arm")
        return dict(self._group("final_state.zarr")[arm])

    def _checked(self, prefix: str) -> None:
        checksums: Mapping[str, str] = self.manifest["checksums"]
        for name in checksums:
            if name == prefix or name.startswith(prefix + "/"):
                problem = _check_file(self.directory, name, checksums[name])
                if problem:
                    raise InputError(f"{self.directory / problem.path}: {problem.message}")

    def _table(self, name: str) -> pd.DataFrame:
        path = self.directory / f"{name}.parquet"
        self._checked(path.name)
        try:
            return tables.decode_table(read_plain_file(path))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable table: {error}") from error

    @cached_property
    def _groups(self) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        return {}

    def _group(self, name: str) -> dict[str, dict[str, np.ndarray]]:
        if name not in self._groups:
            self._checked(name)
            try:
                self._groups[name] = arrays.read_group(self.directory / name)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise InputError(f"{self.directory / name}: not readable: {error}") from error
        return self._groups[name]

    def _array(self, group: str, arm: str, name: str) -> np.ndarray:
        self._require(arm, self.arms, "arm")
        found = self._group(group).get(arm, {})
        self._require(name, list(found), group.removesuffix("s.zarr"))
        return found[name]

    def _names(self, group: str, arm: str) -> list[str]:
        self._require(arm, self.arms, "arm")
        return sorted(name for name in self._group(group).get(arm, {}) if name != "time_h")

    def _require(self, name: str, known: list[str], what: str) -> None:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise InputError(f"{self.directory}: no {what} {name!r}; there is {there}")


def load(directory: str | Path) -> Result:
    """Return the result in a folder; every file must be there, contents are checked when read.

    Raises
    ------
    InputError
        The folder is no result, or a file is missing or of another size; the message names it.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest["format"] == SUBMODEL_FORMAT:
        raise InputError(f"{directory}: holds the tables of a sub-model; read its .csv files")
    if manifest["format"] == COHORT_FORMAT:
        raise InputError(f"{directory}: holds a cohort; read its .parquet and .csv files")
    for name, size in manifest["sizes"].items():
        path = directory / name
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: missing from this result")
        if path.stat().st_size != size:
            raise InputError(f"{path}: has {path.stat().st_size:,} bytes, {size:,} were written")
    return Result(directory, manifest)


def digest_result(
    tables_of: Mapping[str, pd.DataFrame], state: Mapping[str, Mapping[str, np.ndarray]]
) -> str:
    """Return the SHA-256 over the values of every table and of the final state, in hexadecimal."""
    digest = hashlib.sha256(b"niche_sim result 1")
    for name in tables.TABLES:
        digest.update(tables.digest_table(tables_of[name]))
    digest.update(arrays.digest_arrays(state))
    return digest.hexdigest()


def hash_result(directory: str | Path) -> str:
    """Return the hash of a result, computed from the values in its files.

    Equal seeds and configurations give equal hashes on any number of threads; times, host, and the bytes of
    the file formats do not enter.

    Raises
    ------
    InputError
        The folder is no result, or a file was changed, lost or added; the message names the first.
    """
    directory = Path(directory)
    problems = verify(directory)
    if problems:
        more = f" (and {len(problems) - 1} more; see `niche-sim verify`)" if len(problems) > 1 else ""
        raise InputError(f"{directory / problems[0].path}: {problems[0].message}{more}")
    manifest = read_manifest(directory)
    if manifest["format"] == SUBMODEL_FORMAT:
        named = (name.removesuffix(".csv") for name in manifest["checksums"] if name.endswith(".csv"))
        return sha256("".join(sorted(manifest["checksums"][f"{name}.csv"] + name for name in named)).encode())
    if manifest["format"] == COHORT_FORMAT:
        from niche_sim.store.cohorts import digest_cohort, load_cohort

        return digest_cohort(load_cohort(directory))
    result = load(directory)
    state = {arm: result.final_state(arm) for arm in result.arms}
    return digest_result({name: getattr(result, name) for name in tables.TABLES}, state)
