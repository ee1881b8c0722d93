"""What each effect of a drug contributes to what it does to tumours: arms in which effects are off, in the same patients.

Of an endpoint E, a mean over patients who are in every arm with the same draws,

    share of m = (E(full) - E(without m)) / (E(full) - E(control)),    share of m alone = (E(only m) - E(control)) / (same).

The first is what is lost when m is taken away, the second what m does by itself; the difference between them is what m does
only together with others, and shares need not add up to 1. Intervals are the middle 95 % of samples of patients.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from niche_sim.bootstrap import resample
from niche_sim.draws import run_key
from niche_sim.errors import InputError
from niche_sim.tumours import DEATHS, WAKES

EFFECTS = ("drug_osteoclast", "drug_macrophage", "drug_tumour", "drug_adhesion", "drug_gamma_delta")


class Endpoint(NamedTuple):
    """A sum of columns of the visits less others: the mean over the time of the run, or its value at the end."""

    label: str
    unit: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    at_end: bool = False


ENDPOINTS = {
    "waking": Endpoint("waking of dormant cells", "1/d", tuple(WAKES)),
    "clearance": Endpoint("death of dormant cells", "1/d", tuple(DEATHS)),
    "growth": Endpoint("net growth of lesions", "1/d", ("growth_division_per_d",), ("growth_death_per_d",)),
    "bone_metastasis": Endpoint("patients with a bone metastasis", "1", ("bone_metastasis_share",), at_end=True),
}


class Family(NamedTuple):
    """The arms of one regimen: all effects on, each one off alone, each one on alone."""

    full: str
    without: dict[str, str]  # arm by effect
    only: dict[str, str]


def find_families(arms: Mapping[str, Any]) -> tuple[str, list[Family]]:
    """Return the untreated arm, and the arms of each regimen by the switches that they have off.

    Parameters
    ----------
    arms : mapping
        Of the resolved configuration: regimen, switches, changes and overrides of each arm.

    Raises
    ------
    InputError
        There is no untreated arm, or no regimen with an arm with all effects and one with an effect off.
    """
    untreated, families = [], []
    off = {name: _list_off(arm) for name, arm in arms.items()}
    regimens = {name: arm.get("regimen") or [] for name, arm in arms.items()}
    for name, regimen in regimens.items():
        if not regimen and not off[name]:
            untreated.append(name)
        if not regimen or off[name]:
            continue
        same = [other for other in arms if regimens[other] == regimen and off[other] and off[other] <= set(EFFECTS)]
        without = {next(iter(off[other])): other for other in same if len(off[other]) == 1}
        left = {other: set(EFFECTS) - off[other] for other in same}
        only = {next(iter(effects)): other for other, effects in left.items() if len(effects) == 1}
        if without or only:
            families.append(Family(name, without, only))
    if not untreated or not families:
        raise InputError(
            "shares of effects need an arm without regimen, one with it, and arms of the same regimen with a switch off, "
            f"one of {', '.join(EFFECTS)}; e07_ablation is an example"
        )
    return untreated[0], families


def _list_off(arm: Mapping[str, Any]) -> set[str]:
    """Return the switches that an arm has off, from time 0 or from a change on; what else it changes is named too."""
    parts = [arm, *(arm.get("changes") or [])]
    off = {key for part in parts for key, on in (part.get("switches") or {}).items() if not on}
    return off | {key for part in parts for key in part.get("override") or {}}


def measure_endpoint(visits: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Return an endpoint by patient (rows) and arm (columns).

    Raises
    ------
    InputError
        The cohort keeps no such column, or a patient has no number.
    """
    missing = [name for name in endpoint.plus + endpoint.minus if name not in visits]
    if missing:
        raise InputError(f"tumours.parquet: no column {missing[0]}; run the cohort again with this version")
    value = visits[list(endpoint.plus)].sum(axis=1, skipna=False) - visits[list(endpoint.minus)].sum(axis=1, skipna=False)
    held = visits[["patient", "arm", "time_h"]].assign(value=value).sort_values("time_h")
    # A rate is that since the visit before; the first visit closes no interval.
    held["hours"] = held.groupby(["patient", "arm"])["time_h"].diff()
    if endpoint.at_end:
        found = held.groupby(["patient", "arm"])["value"].last()
    else:
        held = held.dropna(subset="hours")
        sums = held.assign(value=held["value"] * held["hours"]).groupby(["patient", "arm"])[["value", "hours"]]
        added = sums.sum(min_count=1)
        found = added["value"] / added["hours"]
    return found.unstack("arm")


def _find_interval(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(samples[1:], (2.5, 97.5))
    return float(low), float(high)


def attribute_effects(visits: pd.DataFrame, arms: Mapping[str, Any], seed: int) -> pd.DataFrame:
    """Return the share of each effect of each regimen in each endpoint.

    Parameters
    ----------
    visits : DataFrame
        Table `tumours` of a cohort: means over the tumours of each patient by arm and visit.
    arms : mapping
        Of the resolved configuration.
    seed : int
        Of the cohort: of the samples of patients.

    Returns
    -------
    DataFrame
        One row a regimen (its full arm), endpoint, effect and kind (`without`, `only`): the endpoint in `control`, the
        effect of the whole regimen (`effect`) and what the one effect makes of it (`part`), each with low and high, and
        `share` with its own; shares are NaN where the interval of the whole effect holds 0.

    Raises
    ------
    InputError
        The arms do not make up an ablation, or the table lacks a column.
    """
    control, families = find_families(arms)
    patients = visits["patient"].nunique()
    # The same address as that of the summary of the cohort: its samples of patients.
    counts = resample(run_key(seed, 2**32 - 1, 2**32 - 1), patients)
    rows = []
    for name, endpoint in ENDPOINTS.items():
        values = measure_endpoint(visits, endpoint)
        for family in families:
            whole = counts @ (values[family.full] - values[control]).to_numpy() / patients
            effect_low, effect_high = _find_interval(whole)
            for kind, effects in (("without", family.without), ("only", family.only)):
                for effect, arm in effects.items():
                    pair = (family.full, arm) if kind == "without" else (arm, control)
                    part = counts @ (values[pair[0]] - values[pair[1]]).to_numpy() / patients
                    row = {
                        "regimen": family.full, "endpoint": name, "unit": endpoint.unit, "effect_of": effect, "kind": kind,
                        "patients": patients, "control": float(values[control].mean()), "effect": float(whole[0]),
                        "effect_low": effect_low, "effect_high": effect_high, "part": float(part[0]),
                    }  # fmt: skip
                    row["part_low"], row["part_high"] = _find_interval(part)
                    row |= {"share": np.nan, "share_low": np.nan, "share_high": np.nan}
                    if effect_low > 0.0 or effect_high < 0.0:
                        share = part / whole
                        row["share"] = float(share[0])
                        row["share_low"], row["share_high"] = _find_interval(share)
                    rows.append(row)
    return pd.DataFrame(rows)
