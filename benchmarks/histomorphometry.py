"""Ten years of untreated bone against histomorphometry: `python benchmarks/histomorphometry.py [SEEDS]` prints the tables.

Every quantity of `niche-sim histomorphometry` for a premenopausal and a postmenopausal patient, 2-D at 20 and 10 um, at half
the tick, and in 3-D: mean (standard error) over seeds of the mean over years 1 to 10. Below them the change of structure
from year 1 to year 10. The 3-D patch of 1 mm has trabeculae as thick as the 2-D one; a run of it takes some ten minutes.
Words after SEEDS choose cases: `python benchmarks/histomorphometry.py 3 "2-D 20 um"`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy import ndimage

import niche_sim as ns
from niche_sim.config import build_experiment
from niche_sim.histomorphometry import estimate_all, estimate_pictures, list_quantities, read_references

YEAR_H = 8766.0
AT_ONCE = 3
CHANGES = (
    "volume, year 10 / year 1", "surface, year 10 / year 1", "thickness, year 10 / year 1", "pieces of bone, year 1",
    "pieces of bone, year 10", "BMUs that ended", "share of them completed",
)  # fmt: skip
STATES = {"premenopausal": ("pre", 0.23, "150 um", "550 um"), "postmenopausal": ("post", 0.17, "140 um", "650 um")}
SOLID = {"size": ["1 mm"] * 3}
CASES = {
    "2-D 20 um": ({}, "6 h"), "2-D 10 um": ({"voxel": "10 um"}, "6 h"), "2-D 20 um, 3 h": ({}, "3 h"),
    "3-D 20 um": (SOLID, "6 h"),
}  # fmt: skip


def describe_scene(patient, changes):
    """Return the scene of a patient with changes; thickness and separation as the shipped scenes have them."""
    _, volume, thickness, separation = STATES[patient]
    return {
        "kind": "generated", "size": ["2 mm", "2 mm"], "voxel": "20 um", "boundary": "periodic",
        "bone_volume_fraction": volume, "trabecular_thickness": thickness, "trabecular_separation": separation,
        "sinusoid_spacing": "280 um", "sinusoid_diameter": "40 um",
    } | changes  # fmt: skip


def count_pieces(bone):
    """Return the number of pieces of bone that touch by faces, through the periodic boundary too."""
    labels, count = ndimage.label(bone)
    parent = np.arange(count + 1)
    for axis in range(bone.ndim):
        first, last = np.take(labels, 0, axis).ravel(), np.take(labels, -1, axis).ravel()
        for a, b in set(zip(first[(first > 0) & (last > 0)].tolist(), last[(first > 0) & (last > 0)].tolist())):
            parent[parent == parent[a]] = parent[b]
    return len(set(parent[1:].tolist()))


def measure(patient, case, seed):
    """Return the estimates of one run by symbol, and what changed from year 1 to year 10."""
    changes, tick = CASES[case]
    run = ns.run_experiment(build_experiment({
        "name": "untreated_bone", "seed": seed, "scene": describe_scene(patient, changes), "patient": patient,
        "time": {"length": "10 yr", "tick": tick, "spin_up": "1 yr"}, "population": {"dormant_dtc": 0},
        "arms": {"control": {}}, "switches": {"arrival": False},
        "record": {"series": "5 d", "events": False, "pictures": ["1 yr", "10 yr"]},
    }))  # fmt: skip
    arm = run.arms["control"]
    series, bone = arm.series[arm.series["time_h"] > YEAR_H], arm.maps["mineral"] >= 0.5
    bmus = arm.bmus[arm.bmus["time_h"] > YEAR_H]
    voxel_um = 10.0 if "10 um" in case else 20.0
    found = estimate_all(series, bmus) | estimate_pictures(bone, voxel_um, True)
    first, last = series.iloc[0], series.iloc[-1]
    values = [
        *(last[name] / first[name] for name in ("bone_volume_fraction", "bone_surface_um2", "trabecular_thickness_um")),
        count_pieces(bone[0]), count_pieces(bone[-1]), len(bmus), (bmus["outcome"] == "completed").mean(),
    ]  # fmt: skip
    return {symbol: estimate.mean for symbol, estimate in found.items()} | dict(zip(CHANGES, values))


def write_rows(patient, frame, lines):
    """Return the lines of one Markdown table; `lines` are symbol, unit and literature."""
    grouped = frame.drop(columns="seed").groupby("case", sort=False)
    mean, error = grouped.mean(), grouped.sem()
    cases = list(mean.index)
    table = [f"| {patient} | unit | literature | " + " | ".join(cases) + " |", "|---" * (3 + len(cases)) + "|"]
    for symbol, unit, literature in lines:
        if symbol in mean:
            cells = [f"{mean.at[case, symbol]:.3g} ({error.at[case, symbol]:.2g})" for case in cases]
            table.append(f"| {symbol} | {unit} | {literature} | " + " | ".join(cells) + " |")
    return table


def main(seeds, chosen):
    """Print a table for each patient."""
    cases = [case for case in CASES if not chosen or case in chosen]
    for patient, (oestrogen, *_) in STATES.items():
        # The longest runs first, so that none is left over at the end.
        jobs = [(patient, case, seed) for case in reversed(cases) for seed in range(1, seeds + 1)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = list(pool.map(lambda job: measure(*job), jobs))
        frame = pd.DataFrame([{"case": case, "seed": seed} | row for (_, case, seed), row in zip(jobs, rows)])
        frame = frame.sort_values("case", key=lambda names: names.map(cases.index), kind="stable")
        references = read_references(oestrogen)
        lines = [(s, unit, references[s].words if s in references else "") for s, _, unit in list_quantities()]
        lines += [(name, "", "") for name in CHANGES]
        print("\n".join([*write_rows(patient, frame, lines), ""]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:])
