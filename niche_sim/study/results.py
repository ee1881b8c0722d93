"""What a study has computed so far, and which of its runs are done, failed or missing."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from niche_sim.errors import InputError
from niche_sim.study.endpoints import find_unit, split_column
from niche_sim.units import split

DONE, FAILED, MISSING = "done", "failed", "missing"
SOME_TEXTS = 20  # of a factor, to tell numbers from words
COUNTS = ("planned", "done", "failed", "missing")


@dataclass(frozen=True)
class StudyResults:
    """A study with what it has computed so far.

    Attributes
    ----------
    study : Study
    design : DataFrame
        A row a point: point, each factor as a file writes it, and `<factor>.value`.
    runs : DataFrame
        A row a planned run: point, replicate, arm, key, status (done, failed, missing), error, and each endpoint.
    chosen : str, optional
        The arm that others are compared with; the first by default.

    Raises
    ------
    InputError
        There is no such arm.
    """

    study: Any
    design: pd.DataFrame
    runs: pd.DataFrame
    chosen: str | None = None

    def __post_init__(self) -> None:
        if self.chosen is not None and self.chosen not in self.arms:
            raise InputError(f"--reference: no arm '{self.chosen}'; there is {', '.join(self.arms)}")

    @property
    def reference(self) -> str:
        """The arm that others are compared with."""
        return self.chosen or self.arms[0]

    @property
    def responses(self) -> dict[str, tuple[str, ...]]:
        """What is analysed: each arm, and each other arm less the reference; by label the arms in it."""
        others = [arm for arm in self.arms if arm != self.reference]
        pairs = {f"{arm} − {self.reference}": (arm, self.reference) for arm in others}
        return {**{arm: (arm,) for arm in self.arms}, **pairs}

    @property
    def endpoints(self) -> list[str]:
        """Names of the endpoints, in their order."""
        return [endpoint.name for endpoint in self.study.endpoints]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in their order."""
        return list(self.study.arms)

    @property
    def factors(self) -> list[str]:
        """Names of the factors that vary, in their order."""
        return [factor.name for factor in self.study.factors]

    def check_endpoint(self, name: str) -> None:
        """Refuse what is no endpoint of the study, with the nearest that is.

        Raises
        ------
        InputError
        """
        if name not in self.endpoints:
            close = difflib.get_close_matches(name, self.endpoints, 1)
            remedy = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(self.endpoints)}"
            raise InputError(f"--endpoint: no {name!r}; {remedy}")

    def values(self, factor: str) -> np.ndarray:
        """Return a factor at each point (its unit), or the number of its choice where these are no numbers."""
        found = pd.to_numeric(self.design[f"{factor}.value"], errors="coerce").to_numpy(float)
        if np.isfinite(found).all():
            return found
        return pd.factorize(self.design[factor])[0].astype(float)

    def find_words(self, factor: str) -> dict[float, str]:
        """Return the words that a factor takes, by the numbers that `values` gives them; empty for a factor of numbers."""
        texts = self.design[factor].astype(str)
        try:
            for text in texts.unique()[:SOME_TEXTS]:
                split(text)
        except InputError:
            return dict(zip(self.values(factor).tolist(), texts))
        return {}

    @property
    def ordered(self) -> np.ndarray:
        """Factors with an order, as bool: numbers, and words of which there are two."""
        return np.array([len(self.find_words(factor)) <= 2 for factor in self.factors])

    def matrix(self) -> np.ndarray:
        """Return all factors at all points, shape (points, factors)."""
        return np.column_stack([self.values(name) for name in self.factors])

    def unit(self, endpoint: str) -> str:
        """Return the unit of an endpoint: that of its column, hours for a time of first crossing."""
        about = next(held for held in self.study.endpoints if held.name == endpoint)
        return find_unit(about)

    @property
    def cluster(self) -> np.ndarray:
        """Which points hang together, by number: a trajectory (morris), a block (saltelli), else each by itself."""
        factors, design = len(self.study.factors), self.study.design
        width = {"morris": factors + 1, "saltelli": (2 if design.second_order else 1) * factors + 2}.get(design.kind, 1)
        return np.arange(len(self.design)) // width

    @property
    def independent(self) -> np.ndarray:
        """Points that were drawn independently, as bool: A and B of a Saltelli design, none of a Morris design, else all."""
        cluster, kind = self.cluster, self.study.design.kind
        if kind == "saltelli":
            first = np.diff(cluster, prepend=-1) > 0
            return first | np.roll(first, -1)
        return np.full(len(cluster), kind != "morris")

    @property
    def own_seeds(self) -> bool:
        """Whether points have seeds of their own, because the seed is a factor."""
        return any("seed" in factor.places for factor in self.study.factors)

    def reach(self, label: str) -> np.ndarray:
        """Return which factors act on a response, as bool: those of the places of its own arms, and of no arm."""
        arms = self.responses[label]
        acting = [
            any(not place.startswith("arms.") or place.split(".")[1] in arms for place in factor.places)
            for factor in self.study.factors
        ]
        return np.array(acting, bool)

    def distinct(self, label: str) -> np.ndarray:
        """Return the points of a response whose runs are not all those of an earlier point, as bool.

        A response of arms that few factors act on is the same run at many points: that is one observation, not many.
        """
        held = self.runs[self.runs["arm"].isin(self.responses[label])].sort_values(["point", "arm", "replicate"])
        keys = pd.factorize(held["key"])[0].reshape(len(self.design), -1)
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, axis=0, return_index=True)[1]] = True
        return first

    def describe(self, endpoint: str) -> str:
        """Return an endpoint in words: its name, what it takes of which column, its unit."""
        about = next(held for held in self.study.endpoints if held.name == endpoint)
        argument = "" if about.argument is None else f" {about.argument:g}"
        columns = split_column(about.column)
        of = about.column if len(columns) == 1 else f"sum of {len(columns)} columns"
        return f"{endpoint} ({of}, {about.take.replace('_', ' ')}{argument}; {self.unit(endpoint)})"

    def response(self, endpoint: str, label: str) -> np.ndarray:
        """Return an endpoint of a response at each point and replicate, NaN where a run failed, is missing or has no value.

        The difference of two arms is matched: same point, same seed. Shape (points, replicates).
        """
        arms = self.responses[label]
        found = [self._read_arm(endpoint, arm) for arm in arms]
        return found[0] if len(found) == 1 else found[0] - found[1]

    def _read_arm(self, endpoint: str, arm: str) -> np.ndarray:
        held = self.runs[(self.runs["arm"] == arm) & (self.runs["status"] == DONE)]
        found = np.full((len(self.design), int(self.study.replicates)), np.nan)
        place = np.searchsorted(self.design["point"], held["point"])
        values = held[endpoint].to_numpy(float)
        found[place, held["replicate"].to_numpy(int)] = np.where(np.isfinite(values), values, np.nan)
        return found


def match_runs(planned: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row a planned run with what was found of it; equal keys are one run, computed once and shared.

    Parameters
    ----------
    planned : DataFrame
        point, replicate, arm, key of every run of the study.
    rows : DataFrame
        key, status, error and endpoints of the runs that have been computed.
    """
    held = rows.drop(columns=["point", "replicate", "arm", "number"], errors="ignore").drop_duplicates("key")
    runs = planned.merge(held, on="key", how="left")
    runs["status"] = runs["status"].fillna(MISSING)
    return runs


def count_runs(runs: pd.DataFrame) -> dict[str, int]:
    """Return how many runs are planned, done, failed and missing; one that several points share counts once."""
    found = runs.drop_duplicates("key")["status"].value_counts()
    return {"planned": int(found.sum()), **{name: int(found.get(name, 0)) for name in COUNTS[1:]}}


def tell_counts(counts: Mapping[str, int]) -> str:
    """Return the counts of runs in words."""
    lost = "".join(f", {counts[name]:,} {name}" for name in (FAILED, MISSING) if counts[name])
    return f"{counts['planned']:,} runs planned, {counts['done']:,} done{lost or ', none failed'}"


def load_study_results(directory: Path, reference: str | None = None) -> StudyResults:
    """Return a study with what it has computed so far; it may still run.

    Parameters
    ----------
    directory : Path
        Folder of the study.
    reference : str, optional
        The arm that others are compared with; the first by default.

    Raises
    ------
    InputError
        The folder is that of no study, a file in it is not as it was written, or there is no such arm.
    """
    from niche_sim.study.store import open_folder

    folder = open_folder(directory)
    problems = folder.verify()
    if problems:
        raise InputError("\n".join(f"{directory / problem.path}: {problem.message}" for problem in problems))
    study, design = folder.load_study(), folder.load_design()
    paths = [path for found in folder.list_files().values() for path in found]
    rows = [pd.read_parquet(path) for path in sorted(paths)]
    empty = pd.DataFrame(columns=["key", "status", "error", *(endpoint.name for endpoint in study.endpoints)])
    planned = folder.load_index()[["point", "replicate", "arm", "key"]]
    return StudyResults(study, design, match_runs(planned, pd.concat(rows) if rows else empty), reference)
