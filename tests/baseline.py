"""The numbers that the engine gave when they were last accepted: `python tests/baseline.py` writes `baseline.json` again.

Do that only in a commit that means to change simulated numbers, with RESULTS and what changed in its message.
"""

import json
from pathlib import Path

import numpy as np

import niche_sim as ns

HERE = Path(__file__).resolve().parent
SOLID = {
    "scene.size": '["0.4 mm", "0.4 mm", "0.4 mm"]', "scene.boundary": "closed", "scene.sinusoid_spacing": "150 um",
    "fields.bone_permeability": "0.1", "time.spin_up": "40 d", "time.length": "15 d", "population.cycling_dtc": "10",
}  # fmt: skip
DRUG = "drugs.zoledronate"
BENT = {"drug_on_cells.osteoclast_hill": "1.5"}
CASES = {"flat and periodic": BENT, "solid, closed, leaking bone": SOLID}


def add_up(array):
    """Return a weighted sum in which two values that change places are seen."""
    flat = np.nan_to_num(array.ravel().astype(np.float64))
    return float(np.abs(flat) @ (1.0 + np.arange(flat.size) % 97))


def measure():
    """Return of each case and arm every column of the series at its times, and what every array of the end adds up to."""
    found = {}
    for case, changes in CASES.items():
        run = ns.run_experiment(ns.load_experiment(HERE / "lively.yaml", sets=changes))
        for arm, result in run.arms.items():
            table = result.series.drop(columns="arm").to_dict("list")
            found[f"{case}: {arm}"] = {name: [float(value) for value in column] for name, column in table.items()}
            found[f"{case}: {arm}"] |= {
                f"state.{name}": [float(value) for value in (array if name == "tally" else [add_up(array)])]
                for name, array in result.final_hash_arrays.items()
            }
    return found


if __name__ == "__main__":
    (HERE / "baseline.json").write_text(json.dumps(measure(), indent=0) + "\n")
