"""The marrow aspirate alone: what part of patients is found to have tumour cells, by aliquots, places, counts and times.

By the law of `niche_sim.aspirate`, exactly and in patients who are drawn. `shares` says what is left of every patient's
density at each of several times, 1 at surgery: after chemotherapy, say, a tenth. Two aliquots are one of each place, the
third is a pool of both. Beside density 1 stands what was published: 97 patients, 2e6 MNC an aliquot (marrow_sampling2003).
`parameters` replaces numbers of the group `aspirate` of the human set, e.g. `{site_cv: 0.3}`.
"""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from niche_sim.aspirate import (
    Aspirate,
    compare_sides,
    compare_times,
    draw_count,
    draw_density,
    find_counts,
    find_examined,
    find_positivity,
    list_aliquots,
    read_aspirate,
)  # fmt: skip
from niche_sim.config import load_parameters
from niche_sim.config.quantity import quantity, whole
from niche_sim.draws import run_key
from niche_sim.errors import InputError
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables

MODEL = "aspirate"
SCHEME = "closed form, averaged over patients by 120-point Gauss-Hermite quadrature; draws by address"
PUBLISHED = {1: 67 / 194, 2: 46 / 97, 3: 52 / 97}  # of one place, the mean of 37 and 30 patients
BOTH_PUBLISHED = 21 / 46
PLACES = ("anterior", "posterior")

COLUMNS = {
    "sampling": {
        "share": ("1", "density relative to surgery"), "aliquots": ("count", "one place, two places, and a pool of both"),
        "examined_mnc": ("cells", "mononuclear cells read"), "positive": ("1", "patients with a cell, exact"),
        "drawn": ("1", "the same in the patients drawn"), "drawn_sem": ("1", "its standard error"),
        "published": ("1", "share of 97 patients"),
    },
    "sides": {
        "share": ("1", "density relative to surgery"), "one": ("1", "patients positive at a place, exact"),
        "both": ("1", "at both places"), "either": ("1", "at one or both"),
        "both_of_either": ("1", "both of those at one or both"), "agreement": ("1", "equal at both places"),
        "published": ("1", "both of those at one or both: 21 of 46"),
    },
    "counts": {
        "share": ("1", "density relative to surgery"), "cells": ("count", "counted in one aliquot of one place"),
        "probability": ("1", "patients with so many, exact"), "at_least": ("1", "of the positive, with so many or more"),
    },
    "times": {
        "share": ("1", "density relative to surgery"), "later_share": ("1", "the same at a later time"),
        "positive": ("1", "patients with a cell in one aliquot, exact"), "later_positive": ("1", "the same later"),
        "agreement": ("1", "equal at both times, new punctures"),
    },
}  # fmt: skip


class Spec(SubModel):
    """Aspirates of many patients."""

    patients: Annotated[int, whole(1, 1_000_000)] = 10_000
    shares: list[Annotated[float, quantity(0.0, 10.0)]] = Field(default=[1.0], min_length=1, max_length=20)
    volume_L: Annotated[float, quantity("0 mL", "100 mL", unit="L", above=True)] | None = Field(default=None, alias="volume")
    most_cells: Annotated[int, whole(1, 1000)] = 10
    parameters: dict[str, float | str] = Field(default={}, max_length=10)


def _read(spec: Spec) -> Aspirate:
    changes = {f"aspirate.{name}": value for name, value in spec.parameters.items()}
    return read_aspirate(load_parameters("human").override(changes))


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    found: Mistakes = []
    for name, value in spec.parameters.items():
        try:
            load_parameters("human")[f"aspirate.{name}"].replace(value)
        except InputError as error:
            found.append((("parameters", name), str(error)))
    if spec.patients * len(spec.shares) > 2_000_000:
        found.append((("patients",), "times the shares are more than 2 million"))
    return found


def _draw(spec: Spec, aspirate: Aspirate, millions: float, step: int) -> np.ndarray:
    """Return whether one, two and three aliquots of each patient have a cell, shape (3, patients)."""
    keys = np.array([run_key(spec.seed, patient) for patient in range(spec.patients)], dtype=np.uint64)
    density = spec.shares[step] * np.array([draw_density(key, aspirate) for key in keys])
    first = [draw_count(density, keys, place, step, millions, aspirate) for place in PLACES]
    pool = [draw_count(density, keys, place, step, millions / 2, aspirate, aliquot=2) for place in PLACES]
    return np.stack([first[0], sum(first), sum(first) + sum(pool)]) > 0


def _is_published(share: float, millions: float) -> bool:
    return share == 1.0 and millions == 2.0


def _sample(spec: Spec, aspirate: Aspirate, millions: float, step: int) -> list[dict[str, Any]]:
    share = spec.shares[step]
    drawn = _draw(spec, aspirate, millions, step).mean(axis=1)
    rows = []
    for aliquots, places in enumerate(list_aliquots(millions), start=1):
        part = float(drawn[aliquots - 1])
        rows.append({
            "share": share, "aliquots": aliquots, "examined_mnc": 1e6 * sum(places),
            "positive": find_positivity(places, aspirate, share), "drawn": part,
            "drawn_sem": np.sqrt(part * (1.0 - part) / spec.patients),
            "published": PUBLISHED[aliquots] if _is_published(share, millions) else np.nan,
        })  # fmt: skip
    return rows


def _list_sides(share: float, aspirate: Aspirate, millions: float) -> dict[str, Any]:
    pair = compare_sides(millions, aspirate, share)
    return {
        "share": share, "one": pair.first, "both": pair.both, "either": pair.either,
        "both_of_either": pair.both / pair.either if pair.either > 0 else np.nan, "agreement": pair.agreement,
        "published": BOTH_PUBLISHED if _is_published(share, millions) else np.nan,
    }  # fmt: skip


def _list_counts(share: float, aspirate: Aspirate, millions: float, most: int) -> pd.DataFrame:
    found = find_counts(millions, aspirate, most, share)
    above = 1.0 - np.concatenate([[0.0], np.cumsum(found)[:-1]])
    positive = 1.0 - found[0]
    of_positive = above / positive if positive > 0 else np.full(len(found), np.nan)
    of_positive[0] = np.nan  # no cell is not positive
    return pd.DataFrame({"share": share, "cells": np.arange(most + 1), "probability": found, "at_least": of_positive})


def run(spec: Spec, progress: Progress) -> Tables:
    """Return the sampling curve, how sides agree, counts, and how times agree."""
    aspirate = _read(spec)
    millions = aspirate.examined / 1e6 if spec.volume_L is None else find_examined(spec.volume_L, aspirate)
    sampling: list[dict[str, Any]] = []
    for step in range(len(spec.shares)):
        sampling += _sample(spec, aspirate, millions, step)
        progress((step + 1) / len(spec.shares))
    times = []
    for before, after in zip(spec.shares[:-1], spec.shares[1:]):
        pair = compare_times([millions], aspirate, (before, after))
        times.append((before, after, pair.first, pair.second, pair.agreement))
    tables = {
        "sampling": pd.DataFrame(sampling),
        "sides": pd.DataFrame([_list_sides(share, aspirate, millions) for share in spec.shares]),
        "counts": pd.concat(
            [_list_counts(share, aspirate, millions, spec.most_cells) for share in spec.shares], ignore_index=True
        ),
    }
    return tables | ({"times": pd.DataFrame(times, columns=list(COLUMNS["times"]))} if times else {})


def describe(tables: Tables) -> list[str]:
    """Return the sampling curve and the sides beside what was published, in lines."""
    lines = ["density  aliquots  positive  drawn   published (97 patients)"]
    for row in tables["sampling"].itertuples():
        told = "" if np.isnan(row.published) else f"{row.published:.3f}"
        lines.append(f"{row.share:<8.3g} {row.aliquots:<9} {row.positive:<9.3f} {row.drawn:<7.3f} {told}")
    for row in tables["sides"].itertuples():
        told = "" if np.isnan(row.published) else f" (published {row.published:.3f})"
        lines.append(f"density {row.share:.3g}: both places of those positive {row.both_of_either:.3f}{told}")
    return lines
