"""The tumours of a patient: what becomes of the lesions, in and outside bone, of many women who share her bone.

Niches are crowded with dormant cells, so that their hazards are well measured; a woman has a handful of lesions. So each
patient of a cohort stands for many women with the same bone, host and doses, who differ in their tumours: density of tumour
cells in marrow, number of lesions, and every draw of their fate. Tumour t of the patient of key k is drawn with the key
run_key(k, t, TUMOUR).

Hazards of dormant cells in bone are means over the patient's niches, weighted by the cell-days at risk; those of growth are
plain means. Lesions outside bone know the host only. Growing lesions shed cells into blood, of which a few found new
lesions, in and outside bone; these are followed as the others are, but shed none: a cascade of one generation. A lesion
sheds no more than at the detectable size: what is found is treated, which is not followed.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from niche_sim.aspirate import Aspirate, draw_count, draw_density, read_aspirate
from niche_sim.circulation import Circulation, draw_seeds, find_founding, find_pool, read_circulation
from niche_sim.dissemination import BONE, SITES, Dissemination, draw_lesions, find_left, read_dissemination
from niche_sim.draws import run_key
from niche_sim.errors import InputError
from niche_sim.host import Forcing
from niche_sim.imaging import Imaging, find_detectable, read_imaging
from niche_sim.lesions import CAUSES, ROUTES, Place, count_cells, detect_lesions, draw_growing, find_interval, follow
from niche_sim.simulation import follow_host, list_phases
from niche_sim.skeletal_events import SkeletalEvents, draw_events, find_hazard, read_skeletal_events

TUMOUR = 2**32 - 2  # stands where the number of a niche stands, and is above every one
ORIGINS = ("initial", "seeded")
WAKES = [f"hazard_wake_{route}_per_d" for route in ROUTES]
DEATHS = [f"hazard_death_{cause}_per_d" for cause in CAUSES]
GROWTH = ["growth_division_per_d", "growth_death_per_d"]
COLUMNS = [*WAKES, *DEATHS, *GROWTH, "dormant_cell_days", "suitability_mean"]  # of the series of a niche
LESION_COLUMNS = [
    "patient", "tumour", "arm", "lesion", "site", "origin", "start_h", "fate", "woke_h", "route", "died_h", "cause",
    "established", "detectable_h", "detected_h",
]  # fmt: skip
_HOURS_PER_DAY = 24.0
_NTX_INSIDE = 1e-6  # of nmol/mmol
_PUNCTURES = ("left", "right")


class Numbers(NamedTuple):
    """What the tumours of one arm are followed with."""

    aspirate: Aspirate
    spread: Dissemination
    imaging: Imaging
    blood: Circulation
    events: SkeletalEvents


def read_numbers(parameters: Any) -> Numbers:
    """Return the numbers of a parameter set."""
    return Numbers(
        read_aspirate(parameters), read_dissemination(parameters), read_imaging(parameters), read_circulation(parameters),
        read_skeletal_events(parameters),
    )  # fmt: skip


# ---------------------------------------------------------------- what lesions meet


def join_niches(series: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the series of one arm as a patient's lesions meet it: step, time_h and COLUMNS, from those of her niches.

    A time in which no dormant cell was left in any niche has the hazards of the time before.

    Raises
    ------
    InputError
        There was nothing to measure from the beginning.
    """
    first = series[0]
    weights = np.stack([frame["dormant_cell_days"].to_numpy(float) for frame in series])
    joined = first[["step", "time_h"]].reset_index(drop=True)
    for name in COLUMNS:
        held = np.stack([frame[name].to_numpy(float) for frame in series])
        weight = np.where(np.isfinite(held), weights if name in WAKES + DEATHS else 1.0, 0.0)
        total = weight.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * np.where(weight > 0, held, 0.0)).sum(axis=0) / total
        # The first row closes no interval: rates begin with the second.
        joined[name] = pd.Series(np.where(total > 0, mean, np.nan)).ffill()
    joined["dormant_cell_days"] = weights.sum(axis=0)
    missing = [name for name in WAKES + DEATHS + GROWTH if joined[name].iloc[1:].isna().any()]
    if len(joined) < 2 or missing:
        raise InputError(
            "tumours: no hazard was measured in the first interval of the series: that needs dormant tumour cells, free "
            "marrow at bone, and at least two visits; raise population.dormant_dtc, or use --tumours 0"
        )
    return joined


def build_bone(joined: pd.DataFrame) -> Place:
    """Return what lesions in bone meet."""
    rates = joined.iloc[1:]
    wake, death = (rates[names].to_numpy(float).T / _HOURS_PER_DAY for names in (WAKES, DEATHS))
    division, loss = (rates[name].to_numpy(float) / _HOURS_PER_DAY for name in GROWTH)
    return Place(joined["time_h"].to_numpy(float), wake, death, division, loss)


def build_outside(experiment: Any, arm: str, forcing: Forcing, steps: np.ndarray) -> Place:
    """Return what lesions outside bone meet: hazards of the host alone, as means over the ticks of each interval.

    Waking, dying and growth are constant but for endocrine therapy, which multiplies waking and division, chemotherapy and
    gamma-delta T cells:

        death = dormant_death + surveillance + s g kill A + e q chemotherapy     of dormant cells,
        loss = growing_death + surveillance + s g kill A + e chemotherapy        of growing ones,

    A the activity of gamma-delta T cells, e and s the shares of exposure to chemotherapy and of killing outside bone, q the
    kill of quiescent cells. With `vessel_shelter` off e is 1, with `quiescent_shelter` off q is.
    """
    ticks = len(forcing.chemotherapy)
    wake, death = np.zeros((len(ROUTES), ticks)), np.zeros((len(CAUSES), ticks))
    division, loss = np.zeros(ticks), np.zeros(ticks)
    for start, parameters, on in list_phases(experiment, arm):
        of, d, own = slice(start, None), parameters.group("death"), parameters.group("outside")
        if not on["death"]:
            death[:, of], loss[of] = 0.0, 0.0
        else:
            immune = np.full(ticks - start, d["surveillance"])
            if on["drug_gamma_delta"]:
                immune += own["gamma_delta_share"] * d["gamma_delta_kill"] * forcing.gamma_delta[of]
            exposed = own["chemotherapy_share"] if on["vessel_shelter"] else 1.0
            at_rest = d["quiescent_chemotherapy_share"] if on["quiescent_shelter"] else 1.0
            chemotherapy = exposed * forcing.chemotherapy[of] * on["chemotherapy"]
            death[CAUSES.index("baseline"), of] = own["dormant_death"]
            death[CAUSES.index("immune"), of] = immune
            death[CAUSES.index("chemotherapy"), of] = at_rest * chemotherapy
            loss[of] = own["growing_death"] + immune + chemotherapy
        wakes = on["dormancy"] and on["wake_spontaneous"]
        slowed = forcing.hormone_waking[of], forcing.hormone_growth[of]
        waking, growth = slowed if on["endocrine_therapy"] else (1.0, 1.0)
        wake[ROUTES.index("spontaneous"), of] = own["exit_rate"] * waking if wakes else 0.0
        division[of] = own["division"] * growth if on["division"] else 0.0
    return Place(
        steps * float(experiment.tick_h), *(_average_ticks(rate, steps) for rate in (wake, death, division, loss))
    )  # fmt: skip


def _average_ticks(rate: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return np.asarray(np.add.reduceat(rate[..., : steps[-1]], steps[:-1], axis=-1) / np.diff(steps))


# ---------------------------------------------------------------- lesions


def draw_initial(keys: np.ndarray, densities: np.ndarray, numbers: Numbers) -> pd.DataFrame:
    """Return the lesions that tumours have at time 0."""
    counts = draw_lesions(densities, keys, numbers.spread, numbers.aspirate)
    rows = []
    for site in range(len(SITES)):
        tumour = np.repeat(np.arange(len(keys)), counts[:, site])
        order = np.arange(len(tumour)) - np.repeat(np.cumsum(counts[:, site]) - counts[:, site], counts[:, site])
        rows.append(_list_lesions(keys, tumour, order, site, 0, np.zeros(len(tumour)), numbers.spread.growing_share))
    return pd.concat(rows, ignore_index=True)


def _list_lesions(
    keys: np.ndarray, tumour: np.ndarray, order: np.ndarray, site: int, origin: int, start_h: np.ndarray, growing: float
) -> pd.DataFrame:  # fmt: skip
    # The number is that of the draws: the n-th lesion of a site and origin is the same one in every arm.
    number = 4 * order + 2 * origin + site
    grows, head = draw_growing(keys[tumour], number, growing)
    return pd.DataFrame({
        "tumour": tumour, "key": keys[tumour], "lesion": number, "site": SITES[site], "origin": ORIGINS[origin],
        "start_h": start_h, "growing": grows, "head": np.where(grows & (origin == 0), head, 0.0),
    })  # fmt: skip


def _follow(lesions: pd.DataFrame, places: tuple[Place, Place], imaging: Imaging) -> pd.DataFrame:
    """Return lesions of both sites followed, with detected_h, in their order."""
    last_h = float(places[BONE].times_h[-1])
    parts = [follow(lesions[lesions["site"] == site], place, imaging) for site, place in zip(SITES, places)]
    return detect_lesions(pd.concat(parts, ignore_index=True), imaging, last_h)


def follow_arm(
    keys: np.ndarray, initial: pd.DataFrame, places: tuple[Place, Place], suitability: np.ndarray, numbers: Numbers,
    on: dict[str, bool],
) -> tuple[pd.DataFrame, np.ndarray]:  # fmt: skip
    """Return all lesions of the tumours in one arm, and the cells in blood of each tumour in each interval.

    Parameters
    ----------
    keys : array of uint64, shape (tumours,)
    initial : DataFrame
        As `draw_initial` returns it.
    places : tuple of Place
        In and outside bone.
    suitability : array, shape (n,)
        Mean of the patient's marrow in each interval.
    numbers : Numbers
    on : dict
        Switches: without `egress` lesions shed nothing, without `arrival` nothing lodges.
    """
    times_h = places[BONE].times_h
    followed = _follow(initial, places, numbers.imaging)
    source = np.full((len(keys), len(times_h) - 1), numbers.blood.background)
    for site, place in zip(SITES, places) if on["egress"] else ():
        mine = followed[followed["site"] == site]
        cells = np.minimum(count_cells(mine, place, numbers.imaging), find_detectable(numbers.imaging))
        np.add.at(source, mine["tumour"].to_numpy(), numbers.blood.shedding * cells)
    pool = find_pool(source, suitability, numbers.blood)
    if not on["arrival"]:
        return followed, pool.cells
    seeds = []
    for number, rate in enumerate(find_founding(pool, numbers.blood)):
        tumour, order, start_h = draw_seeds(keys, SITES[number], times_h, rate)
        seeds.append(_list_lesions(keys, tumour, order, number, 1, start_h, numbers.blood.growing_share))
    seeded = _follow(pd.concat(seeds, ignore_index=True), places, numbers.imaging)
    return pd.concat([followed, seeded], ignore_index=True), pool.cells


# ---------------------------------------------------------------- visits


def _count_by(times_h: np.ndarray, reached: Any) -> np.ndarray:
    """Return how many of `reached` (h; NaN never) have come by each time."""
    return np.searchsorted(np.sort(reached[np.isfinite(reached)]), times_h, side="right")


def count_lesions(followed: pd.DataFrame, times_h: np.ndarray, tumours: int) -> dict[str, np.ndarray]:
    """Return by visit, of each site, the mean lesions that are dormant, growing, detected; and who has metastases."""
    found: dict[str, np.ndarray] = {}
    firsts = []
    for site in SITES:
        mine = followed[followed["site"] == site]
        start, asleep = mine["start_h"].to_numpy(), ~mine["growing"].to_numpy(bool)
        ended, begin = mine["died_h"].to_numpy(), mine["begin_h"].to_numpy()
        left = np.fmin(np.fmin(ended, begin), mine["woke_h"].to_numpy())  # whichever ends sleep
        found[f"{site}_dormant"] = (_count_by(times_h, start[asleep]) - _count_by(times_h, left[asleep])) / tumours
        grew = np.isfinite(begin)
        found[f"{site}_growing"] = (_count_by(times_h, begin[grew]) - _count_by(times_h, ended[grew])) / tumours
        found[f"{site}_detected"] = _count_by(times_h, mine["detected_h"].to_numpy()) / tumours
        first = np.full(tumours, np.inf)
        np.minimum.at(first, mine["tumour"].to_numpy(), mine["detected_h"].fillna(np.inf).to_numpy())
        found[f"{site}_metastasis_share"] = _count_by(times_h, first) / tumours
        firsts.append(first)
    found["any_metastasis_share"] = _count_by(times_h, np.minimum(*firsts)) / tumours
    seen = firsts[BONE][np.isfinite(firsts[BONE])]
    found["bone_metastasis_h"] = np.maximum(times_h[:, None] - seen, 0.0).sum(axis=1) / tumours
    return found


def aspirate_marrow(
    keys: np.ndarray, densities: np.ndarray, steps: np.ndarray, left: np.ndarray, aspirate: Aspirate, baseline: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return by visit what aspirates find: an aliquot of 2e6 MNC of each iliac crest at each visit.

    Parameters
    ----------
    keys, densities : array, shape (tumours,)
        Densities at diagnosis, per 1e6 MNC.
    steps, left : array, shape (visits,)
        Steps of the visits, and what is left of the density.
    aspirate : Aspirate
    baseline : int
        Visit at which patients were positive of whom persistence is told.
    """
    millions = aspirate.examined / 1e6
    now = densities[:, None] * left
    counts = [draw_count(now, keys[:, None], place, steps, millions, aspirate) for place in _PUNCTURES]
    found = {"dtc_density": now.mean(axis=0), "dtc_count": counts[0].mean(axis=0)}
    for name, positive in (("", counts[0] > 0), ("_two_sides", counts[0] + counts[1] > 0)):
        before = positive[:, baseline]
        found[f"dtc_positive{name}_share"] = positive.mean(axis=0)
        found[f"dtc_baseline{name}_share"] = np.full(len(steps), before.mean())
        found[f"dtc_persistent{name}_share"] = (positive & before[:, None]).mean(axis=0)
    return found


def count_events(
    followed: pd.DataFrame, keys: np.ndarray, times_h: np.ndarray, ntx: np.ndarray, events: SkeletalEvents
) -> np.ndarray:  # fmt: skip
    """Return by visit the mean skeletal events of a tumour so far.

    Parameters
    ----------
    followed : DataFrame
    keys : array of uint64, shape (tumours,)
    times_h : array, shape (n + 1,)
    ntx : array, shape (n,)
        NTX in each interval, nmol/mmol.
    events : SkeletalEvents
    """
    seen = followed[(followed["site"] == SITES[BONE]) & followed["detected_h"].notna()]
    happened = [np.empty(0)]
    for tumour, mine in seen.groupby("tumour"):
        detected = np.sort(mine["detected_h"].to_numpy())
        edges = np.union1d(detected, times_h[times_h > detected[0]])
        lesions = np.searchsorted(detected, edges[:-1], side="right")
        hazard = find_hazard(lesions, _NTX_INSIDE * ntx[find_interval(edges[1:], times_h)], events)
        happened.append(draw_events(edges, hazard, keys[int(tumour)], events))
    return _count_by(times_h, np.concatenate(happened)) / len(keys)


# ---------------------------------------------------------------- the patient


def follow_tumours(
    experiment: Any, key: Any, tumours: int, niches: dict[str, list[pd.DataFrame]], ntx: dict[str, np.ndarray],
    start_h: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Return the lesions of all tumours of a patient in every arm, and means over her tumours by visit.

    Parameters
    ----------
    experiment : Experiment
        With the numbers of the patient.
    key : uint64
        Key of the patient.
    tumours : int
    niches : dict of arm to list of DataFrame
        Series of her niches.
    ntx : dict of arm to array
        True NTX by visit, nmol/mmol; the first is not used.
    start_h : float
        Until when all arms are alike: the last visit up to then is the baseline of persistence.
    """
    shared = read_numbers(experiment.parameters)
    keys = np.array([run_key(int(key), tumour, TUMOUR) for tumour in range(tumours)], dtype=np.uint64)
    densities = np.array([draw_density(one, shared.aspirate) for one in keys])
    initial = draw_initial(keys, densities, shared)
    lesions, visits = [], []
    for arm in experiment.arms:
        joined = join_niches(niches[arm])
        steps, times_h = joined["step"].to_numpy(np.int64), joined["time_h"].to_numpy(float)
        numbers = read_numbers(experiment.arm_parameters(arm))
        bone = build_bone(joined)
        outside = build_outside(experiment, arm, follow_host(experiment, arm, key), steps)
        suitability = joined["suitability_mean"].rolling(2).mean().to_numpy()[1:]
        followed, blood = follow_arm(keys, initial, (bone, outside), suitability, numbers, experiment.arm_switches(arm))
        lesions.append(followed.assign(arm=arm))
        alike = bone.death[CAUSES.index("chemotherapy")]
        left = find_left(times_h, bone.death.sum(axis=0) - alike, alike, numbers.spread)
        baseline = max(0, int(np.searchsorted(times_h, start_h, side="right")) - 1)
        table = pd.DataFrame({
            "arm": arm, "step": steps, "time_h": times_h, "tumours": tumours,
            **aspirate_marrow(keys, densities, steps, left, numbers.aspirate, baseline),
            **count_lesions(followed, times_h, tumours),
            "ctc_cells": np.concatenate([[np.nan], blood.mean(axis=0)]),
            "skeletal_events": count_events(followed, keys, times_h, ntx[arm][1:], numbers.events),
            **{name: joined[name].to_numpy() for name in WAKES + DEATHS + GROWTH},
        })  # fmt: skip
        visits.append(table)
    return pd.concat(lesions, ignore_index=True), pd.concat(visits, ignore_index=True)
