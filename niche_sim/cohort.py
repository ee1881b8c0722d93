"""A cohort: patients of several independent niches each, and their markers in every arm.

Patient p of a cohort of seed s has the key run_key(s, p, PATIENT), with which her numbers (`spread:`), her missed doses and
the scatter of her markers are drawn; her niche n is a run of the seed run_key(s, p, n). Arms share all of it. So a patient
is the same in every arm, in a larger cohort and on any number of jobs.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from niche_sim.bootstrap import average, resample
from niche_sim.config.spread import Spread, vary
from niche_sim.draws import run_key, uniform
from niche_sim.errors import InputError, Interrupted, NicheSimError, ResourceError
from niche_sim.kinds import MARKER_UNITS as UNITS
from niche_sim.kinds import S_SPREAD
from niche_sim.markers import measure, read_markers
from niche_sim.plan import INTERPRETER_BYTES, find_memory, forecast_memory
from niche_sim.simulation import Progress, run_experiment
from niche_sim.tumour_summary import summarise_tumours
from niche_sim.tumours import COLUMNS, LESION_COLUMNS, follow_tumours

PATIENT = 2**32 - 1  # stands where the number of a niche stands, and is above every one
SHORTEST_BASELINE_H = 30.0 * 24.0
USUAL_TUMOURS = 200
VALUES = ("true", "measured", "relative")
_SIGNALS = ["resorption_um3_per_d", "formation_um3_per_d", "bone_surface_um2", "bone_mineral_content_um3"]
_ROW = ["arm", "step", "time_h"]


@dataclass
class Tumours:
    """Tumours of a cohort: how many a patient, every lesion, means over them by patient and visit, what is said of all."""

    number: int
    lesions: pd.DataFrame
    visits: pd.DataFrame
    summary: pd.DataFrame


@dataclass
class Cohort:
    """Markers of every patient, arm and visit; who the patients are; what is said of them all; their tumours, if any."""

    markers: pd.DataFrame
    patients: pd.DataFrame
    summary: pd.DataFrame
    baseline_h: float
    reference: str
    tumours: Tumours | None = None


def draw_factors(spread: tuple[Spread, ...], key: Any) -> dict[str, float]:
    """Return by what each spread number of the patient of a key is multiplied.

    A log-normal factor has the median 1 and the stated coefficient of variation, a normal one the mean 1; both are truncated
    to the range, by the inverse of the distribution function.
    """
    factors = {}
    for entry in spread:
        lognormal = entry.distribution == "lognormal"
        width = math.sqrt(math.log1p(entry.cv**2)) if lognormal else entry.cv
        ends = [(math.log(end) if end > 0 else -math.inf) if lognormal else end - 1.0 for end in (entry.low, entry.high)]
        low, high = ndtr(np.array(ends) / width)
        draw = uniform(key, np.uint64(crc32(entry.name.encode())), 0, S_SPREAD)
        shift = width * float(ndtri(low + draw * (high - low)))
        factors[entry.name] = math.exp(shift) if lognormal else 1.0 + shift
    return factors


def build_niche(experiment: Any, seed: int, patient: int, niche: int, sentinels: bool = False) -> tuple[Any, Any]:
    """Return the experiment of one niche of one patient, recording its series alone, and the key of the patient.

    With `sentinels` nothing happens to its tumour cells: their hazards are measured, in bone that no lesion has changed.
    """
    key = run_key(seed, patient, PATIENT)
    own = int(run_key(seed, patient, niche))
    # Bone that was to be made with the seed of the experiment is made anew; a scene with a seed of its own stays.
    scene = experiment.scene
    if scene.seed == experiment.seed:
        scene = scene.model_copy(update={"seed": own})
    off: dict[str, Any] = {"events": False, "cells_h": None, "fields_h": None, "ledgers_h": None, "pictures_h": []}
    lean = replace(experiment, seed=own, scene=scene, record=experiment.record.model_copy(update=off))
    if sentinels:
        lean = replace(lean, switches=experiment.switches | {"tumour_fates": False})
    return vary(lean, draw_factors(experiment.spread, key)), key


def check_memory(experiment: Any, jobs: int) -> None:
    """Refuse a cohort whose niches, side by side, do not fit.

    Raises
    ------
    ResourceError
        They need more memory than there is.
    """
    each = forecast_memory(experiment, 1) - INTERPRETER_BYTES
    need, there = (INTERPRETER_BYTES + jobs * each) >> 20, find_memory() >> 20
    if need > there:
        raise ResourceError(
            f"{experiment.name}: {jobs} niches side by side need about {need:,} MiB of memory, {there:,} MiB are free; "
            "use fewer --jobs or a smaller scene"
        )


class _Progress:
    """Adds up the progress of all niches as that of one arm named `cohort`, in simulated time of patches."""

    def __init__(self, report: Progress, total_h: float) -> None:
        self._report, self._guard, self._done_h, self._said = report, threading.Lock(), 0.0, False
        report("start", arm="cohort", total_h=total_h)

    def follow(self) -> Progress:
        """Return what one niche is to report to."""
        reached: dict[str, float] = {}

        def take(event: str, **info: Any) -> None:
            with self._guard:
                if event == "compiling" and not self._said:
                    self._said = True
                    self._report(event, **info)
                if event == "advance":
                    time_h, arm = float(info["time_h"]), info["arm"]
                    self._done_h += time_h - reached.get(arm, 0.0)
                    reached[arm] = time_h
                    self._report("advance", arm="cohort", time_h=self._done_h)

        return take


def run_cohort(
    experiment: Any, patients: int, niches: int, *, jobs: int = 1, progress: Progress | None = None,
    reference: str | None = None,
    tumours: int | None = None,
) -> Cohort:  # fmt: skip
    """Run a cohort.

    Parameters
    ----------
    experiment : Experiment
        Its seed is that of the cohort.
    patients, niches : int
        Patients, and niches of each.
    jobs : int
        Niches run side by side; the results do not depend on it.
    progress : callable, optional
        As that of `run_experiment`, for one arm named `cohort`.
    reference : str, optional
        Arm that others are compared with; by default the first.
    tumours : int, optional
        Women of the same bone but with tumours of their own for whom each patient stands; 0 for none. By default
        USUAL_TUMOURS, or none if the experiment places no dormant tumour cells.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        The experiment records no series, has no such arm, or no tumour cells where tumours are asked for.
    NumericalError, ResourceError
        In a niche, which the message names.
    Interrupted
        `progress` asked for the end.
    """
    reference = next(iter(experiment.arms)) if reference is None else reference
    if reference not in experiment.arms:
        raise InputError(f"--reference: no arm {reference!r}; there is {', '.join(experiment.arms)}")
    if experiment.record.series_h is None:
        raise InputError("record.series: a cohort is read off the series; write an interval, e.g. '28 d'")
    tumours = count_tumours(experiment, tumours)
    each_h = experiment.spin_up_h + experiment.length_h * len(experiment.arms)
    report = _Progress(progress or (lambda event, **info: None), patients * niches * each_h)
    tables, rows, start_h = [], [], find_start(experiment)
    lesions: list[pd.DataFrame] = []
    visits: list[pd.DataFrame] = []
    for number, (series, key) in enumerate(_run_patients(experiment, patients, niches, jobs, report, tumours > 0)):
        rows.append({"patient": number} | draw_factors(experiment.spread, key))
        signals, ntx = _add_up(series), {}
        for arm in experiment.arms:
            mine = signals[signals["arm"] == arm].reset_index(drop=True)
            table = measure(mine, key, read_markers(experiment.arm_parameters(arm)))
            ntx[arm] = table["ntx_true"].to_numpy()
            table.insert(0, "arm", arm)
            table.insert(0, "patient", number)
            tables.append(add_baseline(table, start_h))
        if tumours:
            own = build_niche(experiment, experiment.seed, number, 0)[0]
            found = follow_tumours(own, key, tumours, _split_arms(series, experiment.arms), ntx, start_h)
            lesions.append(found[0].assign(patient=number)[LESION_COLUMNS])
            visits.append(found[1].assign(patient=number))
    markers = pd.concat(tables, ignore_index=True)
    limit = 1e6 * experiment.parameters.value("markers.ntx_upper_limit")
    summary = pd.concat(
        [summarise(markers, reference, experiment.seed), count_normalised(markers, limit, start_h)], ignore_index=True
    )
    bundle = _bundle(tumours, lesions, visits, reference, experiment.seed) if tumours else None
    return Cohort(markers, pd.DataFrame(rows), summary, start_h, reference, bundle)


def count_tumours(experiment: Any, asked: int | None) -> int:
    """Return how many tumours each patient is given.

    Raises
    ------
    InputError
        Fewer than none are asked for, or some, but the experiment places no dormant tumour cells to read hazards off.
    """
    placed = int(experiment.population.dormant_dtc)
    if asked is not None and asked < 0:
        raise InputError(f"--tumours: expected 0 or more, not {asked}")
    if asked and not placed:
        raise InputError(
            "--tumours: the experiment places no dormant tumour cells, so there are no hazards for lesions to meet; "
            "write e.g. population: {dormant_dtc: 48}, or leave --tumours out"
        )
    return asked if asked is not None else USUAL_TUMOURS if placed else 0


def _add_up(series: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the signals of a patient, summed over her niches."""
    signals = series[0][_ROW + _SIGNALS].copy()
    # Always in the order of the niches, so that the sum has the same bits on any number of jobs.
    signals[_SIGNALS] = sum(frame[_SIGNALS].to_numpy() for frame in series)
    return signals


def _split_arms(series: list[pd.DataFrame], arms: Iterable[str]) -> dict[str, list[pd.DataFrame]]:
    return {arm: [frame[frame["arm"] == arm].reset_index(drop=True) for frame in series] for arm in arms}


def _bundle(
    number: int, lesions: list[pd.DataFrame], visits: list[pd.DataFrame], reference: str, seed: int
) -> Tumours:  # fmt: skip
    means = pd.concat(visits, ignore_index=True)
    means = means[["patient", *means.columns.drop("patient")]]
    summary = summarise_tumours(means, reference, run_key(seed, PATIENT, PATIENT))
    return Tumours(number, pd.concat(lesions, ignore_index=True), means, summary)


def _run_patients(
    experiment: Any, patients: int, niches: int, jobs: int, report: _Progress, tumours: bool
) -> Iterator[tuple[list[pd.DataFrame], Any]]:
    """Yield the series of the niches of each patient, what is used of them, and her key, in order."""
    columns = _ROW + _SIGNALS + (COLUMNS if tumours else [])

    def run(patient: int, niche: int) -> pd.DataFrame:
        built, key = build_niche(experiment, experiment.seed, patient, niche, sentinels=tumours)
        try:
            return run_experiment(built, progress=report.follow(), host_key=key).series[columns]
        except Interrupted:
            raise
        except NicheSimError as error:
            raise type(error)(f"patient {patient}, niche {niche} (seed {built.seed}): {error}") from error

    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        waiting = [[pool.submit(run, p, n) for n in range(niches)] for p in range(patients)]
        for patient in range(patients):
            series = [future.result() for future in waiting[patient]]
            waiting[patient] = []  # what has been summed up is not kept
            yield series, run_key(experiment.seed, patient, PATIENT)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def find_start(experiment: Any) -> float:
    """Return the end (h) of the time in which all arms are still alike: until the first dose or change of any.

    Where no arm is treated it is the shortest baseline.
    """
    starts = [0.0 for arm in experiment.arms.values() if arm.override or arm.switches]
    starts += [course.start_h for arm in experiment.arms.values() for course in arm.regimen]
    starts += [change.at_h for arm in experiment.arms.values() for change in arm.changes]
    return min(starts, default=SHORTEST_BASELINE_H)


def add_baseline(table: pd.DataFrame, start_h: float) -> pd.DataFrame:
    """Return the markers of one patient and arm with NAME_relative: measured over her own baseline.

    The baseline is the mean of what was measured up to `start_h` if that is at least SHORTEST_BASELINE_H and holds a
    measurement, else the first measurement.
    """
    before = table["time_h"] <= start_h if start_h >= SHORTEST_BASELINE_H else table["time_h"] < 0
    for name in UNITS:
        measured = table[f"{name}_measured"]
        held = measured[before].dropna()
        baseline = held.mean() if len(held) else measured.dropna().iloc[0] if measured.notna().any() else np.nan
        table[f"{name}_relative"] = measured / baseline if baseline else np.nan
    return table


def summarise(markers: pd.DataFrame, reference: str, seed: int) -> pd.DataFrame:
    """Return each marker by arm and time over patients: mean, median, 2.5 and 97.5 %, and the ratio of means to an arm.

    The interval of the ratio is the middle 95 % of RESAMPLES bootstrap samples of patients, each with all her arms.
    """
    patients = markers["patient"].nunique()
    counts = resample(run_key(seed, PATIENT, PATIENT), patients)
    rows: list[pd.DataFrame] = []
    for name, unit in UNITS.items():
        for value in VALUES:
            wide = markers.pivot(index="patient", columns=["arm", "time_h"], values=f"{name}_{value}")
            compared = wide[reference].to_numpy()
            for arm in markers["arm"].unique():
                held = wide[arm].to_numpy()
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratios = average(counts, held) / average(counts, compared)
                    low, high = np.percentile(ratios[1:], (2.5, 97.5), axis=0)
                rows.append(pd.DataFrame({
                    "arm": arm, "time_h": wide[arm].columns, "marker": name, "value": value,
                    "unit": "1" if value == "relative" else unit, "patients": np.isfinite(held).sum(axis=0),
                    "mean": average(counts[:1], held)[0], "median": wide[arm].median().to_numpy(),
                    "low": wide[arm].quantile(0.025).to_numpy(), "high": wide[arm].quantile(0.975).to_numpy(),
                    "ratio": ratios[0], "ratio_low": low, "ratio_high": high,
                }))  # fmt: skip
    # The first visit closes no interval: what comes from rates begins with the second.
    table = pd.concat(rows, ignore_index=True)
    table = table[table["patients"] > 0].replace([np.inf, -np.inf], np.nan)
    if patients == 1:
        table[["ratio_low", "ratio_high"]] = np.nan
    return table


def count_normalised(markers: pd.DataFrame, limit: float, start_h: float) -> pd.DataFrame:
    """Return, of patients with a baseline NTX above `limit`, the share below it at each later visit, or never so far.

    Rows like those of `summarise`: value is `normal` or `never_normal`, mean the share, low and high its exact 95 % limits.
    """
    rows = []
    for arm, held in markers.groupby("arm", sort=False):
        measured = held.pivot(index="patient", columns="time_h", values="ntx_measured")
        baseline = measured / held.pivot(index="patient", columns="time_h", values="ntx_relative")
        high = measured[baseline.bfill(axis=1).iloc[:, 0] > limit]
        after = high.loc[:, high.columns > (start_h if start_h >= SHORTEST_BASELINE_H else 0.0)]
        normal = after <= limit
        shares = {"normal": normal, "never_normal": ~normal.cummax(axis=1)} if len(after) else {}
        for value, found in shares.items():
            for time_h, count in found.sum().items():
                interval = binomtest(int(count), len(found)).proportion_ci()
                rows.append({
                    "arm": arm, "time_h": time_h, "marker": "ntx", "value": value, "unit": "1", "patients": len(found),
                    "mean": count / len(found), "low": interval.low, "high": interval.high,
                })  # fmt: skip
    return pd.DataFrame(rows)
