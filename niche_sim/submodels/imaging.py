"""Imaging and skeletal events alone: when scans show given lesions, and what then happens to bone.

By the laws of `niche_sim.imaging` and `niche_sim.skeletal_events`. Every patient has the same lesions, and her own doubling
times, scans, frailty and events. `ntx_relative` is her NTX over that of a usual patient (`skeletal_events.ntx_reference`),
`imaging` and `skeletal_events` replace numbers of these groups of the human set, e.g. `{capacity: "1e11 cells"}`.
"""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from niche_sim.config import load_parameters
from niche_sim.config.quantity import quantity, whole
from niche_sim.config.schema import Strict
from niche_sim.draws import run_key
from niche_sim.errors import InputError
from niche_sim.imaging import count_lesions, detect, find_detectable, find_rate, find_wait, read_imaging
from niche_sim.skeletal_events import draw_events, find_hazard, read_skeletal_events
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables

MODEL = "imaging"
SCHEME = "Gompertz growth in closed form; draws by address; events by inversion of the integrated hazard"
_GROUPS = ("imaging", "skeletal_events")

COLUMNS = {
    "lesions": {
        "patient": ("number", "patient"), "lesion": ("number", "lesion of the patient"),
        "time_h": ("h", "when it left the lattice"), "cells": ("cells", "at that time"),
        "doubling_h": ("h", "its doubling time at small size"), "detectable_h": ("h", "when it has the detectable size"),
        "detected_h": ("h", "first scan that shows it; empty if none does"),
    },
    "patients": {
        "patient": ("number", "patient"), "lesions": ("count", "detected by the end"),
        "first_detected_h": ("h", "first lesion detected"), "events": ("count", "skeletal events by the end"),
        "first_event_h": ("h", "first of them"),
    },
    "summary": {"quantity": ("name", "what"), "value": ("1", "its value, in the unit beside it"), "unit": ("name", "unit")},
}  # fmt: skip


class LesionModel(Strict):
    """A lesion as it leaves the lattice."""

    time_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="time")
    cells: Annotated[float, quantity(1.0, 1e12)]


class Spec(SubModel):
    """Lesions of a patient, and the scans that look for them."""

    lesions: list[LesionModel] = Field(min_length=1, max_length=1000)
    patients: Annotated[int, whole(1, 100_000)] = 1000
    ntx_relative: Annotated[float, quantity(0.0, 100.0)] = 1.0
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    imaging: dict[str, float | str] = Field(default={}, max_length=10)
    skeletal_events: dict[str, float | str] = Field(default={}, max_length=10)


def _list_changes(spec: Spec) -> dict[str, float | str]:
    return {f"{group}.{name}": value for group in _GROUPS for name, value in getattr(spec, group).items()}


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    found: Mistakes = []
    for name, value in _list_changes(spec).items():
        try:
            load_parameters("human")[name].replace(value)
        except InputError as error:
            found.append((tuple(name.split(".", 1)), str(error)))
    if spec.patients * len(spec.lesions) > 1_000_000:
        found.append((("patients",), "times the lesions are more than 1 million"))
    return found


def _list_lesions(spec: Spec) -> pd.DataFrame:
    one = pd.DataFrame({
        "lesion": np.arange(len(spec.lesions)), "time_h": [lesion.time_h for lesion in spec.lesions],
        "cells": [lesion.cells for lesion in spec.lesions],
    })  # fmt: skip
    return pd.DataFrame({"patient": np.arange(spec.patients)}).merge(one, how="cross")


def run(spec: Spec, progress: Progress) -> Tables:
    """Return the lesions, the patients, and a summary."""
    human = load_parameters("human").override(_list_changes(spec))
    imaging, events = read_imaging(human), read_skeletal_events(human)
    keys = {patient: run_key(spec.seed, patient) for patient in range(spec.patients)}
    found = detect(_list_lesions(spec), keys, imaging, spec.length_h)
    ntx = spec.ntx_relative * events.ntx_reference
    times = found["detected_h"].to_numpy().reshape(spec.patients, -1)
    rows = []
    for patient in range(spec.patients):
        seen = np.sort(times[patient][np.isfinite(times[patient])])
        edges = np.append(seen, spec.length_h)
        happened = draw_events(edges, find_hazard(np.arange(1, len(edges)), ntx, events), keys[patient], events)
        rows.append((seen[0] if len(seen) else np.nan, len(happened), happened[0] if len(happened) else np.nan))
    progress(1.0)
    patients = pd.DataFrame(rows, columns=["first_detected_h", "events", "first_event_h"])
    patients.insert(0, "patient", np.arange(spec.patients))
    patients.insert(1, "lesions", count_lesions(found, list(range(spec.patients)), spec.length_h).to_numpy())
    return {"lesions": found, "patients": patients, "summary": _summarise(spec, imaging, patients)}


def _summarise(spec: Spec, imaging: Any, patients: pd.DataFrame) -> pd.DataFrame:
    cells = find_detectable(imaging)
    wait = find_wait(1.0, cells, find_rate(imaging.doubling_time, imaging), imaging)
    at_risk = (spec.length_h - patients["first_detected_h"]).fillna(0.0).sum() / 8766.0
    rows = [
        ("detectable_cells", cells, "cells"), ("one_cell_to_detectable", float(wait) / 8766.0, "yr"),
        ("patients_with_metastasis", float((patients["lesions"] > 0).mean()), "1"),
        ("lesions_per_patient", float(patients["lesions"].mean()), "1"),
        ("median_first_detected", float(patients["first_detected_h"].median()), "h"),
        ("patients_with_event", float((patients["events"] > 0).mean()), "1"),
        ("events_per_year_with_metastasis", patients["events"].sum() / at_risk if at_risk > 0 else np.nan, "1/yr"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


def describe(tables: Tables) -> list[str]:
    """Return the summary in lines."""
    return [f"{row.quantity:<32} {row.value:.4g} {row.unit}" for row in tables["summary"].itertuples()]
