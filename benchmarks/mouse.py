"""What the mouse set gives beside what was measured in mice: `python benchmarks/mouse.py [SEEDS]` prints both tables.

Ovariectomy (Ottewell et al. 2014, Canuas-Landero et al. 2021): 40 dormant competent cells in 1 mm of metaphysis, ovaries
kept or removed at time 0, with and without weekly zoledronate; means over weeks 3 to 9, division off so that waking alone is
seen. Growing lesions (Phadke et al. 2006): 6 cycling cells in a mouse with ovaries against none; in weeks 5 and 6, beside:
bone within 50 um of a tumour cell, away: farther than that. Mean (standard error) over seeds.
"""

import sys

import numpy as np
from scipy.ndimage import distance_transform_edt

import niche_sim as ns
from niche_sim.kinds import OUTCOME_NAMES

WEEK_H = 168
WAKES = [f"hazard_wake_{name}_per_d" for name in OUTCOME_NAMES[11:15]]
ZOLEDRONATE = [{"drug": "zoledronate", "dose": "7 mg", "interval": "7 d", "route": "iv", "infusion": "15 min"}]


def build(patient, seed, length, **others):
    """Return a mouse experiment."""
    return ns.build_experiment({
        "name": "mouse", "seed": seed, "parameters": "mouse", "scene": "mouse_metaphysis", "patient": patient,
        "time": {"length": length, "tick": "6 h", "spin_up": "90 d"}, "record": {"series": "7 d", "ledgers": False},
    } | others)  # fmt: skip


def average(frame):
    """Return what is compared, over rows of a series."""
    found = {"waking, /d": frame[WAKES].sum(axis=1).mean()}
    found |= {f"waking by {name.split('_')[2]}, /d": frame[name].mean() for name in WAKES}
    found |= {name: frame[name].mean() for name in ("resorption_um3_per_d", "osteoclasts", "osteoblasts")}
    return found | {"bone at the end over time 0": np.nan}


def remove_ovaries(seed):
    """Return the means of each mouse of one seed."""
    found = {}
    for patient in ("mouse_sham", "mouse_ovariectomised"):
        run = ns.run_experiment(build(
            patient, seed, "63 d", arms={"untreated": {}, "zoledronate": {"regimen": ZOLEDRONATE}},
            population={"dormant_dtc": 40}, switches={"arrival": False, "division": False},
        ))  # fmt: skip
        for arm, result in run.arms.items():
            held = result.series
            found[f"{patient} {arm}"] = average(held[held["time_h"] > 2 * WEEK_H])
            volume = held["bone_volume_fraction"]
            found[f"{patient} {arm}"]["bone at the end over time 0"] = volume.iloc[-1] / volume.iloc[0]
    return found


def count_beside(arm, with_tumour):
    """Return osteoblasts and osteoclasts per mm of bone surface beside tumour cells and away, over the last pictures."""
    counts = {place: np.zeros(3) for place in ("beside", "away")}  # osteoblasts, osteoclasts, mm of surface
    for time_h, mineral in zip(arm.map_times_h, arm.maps["mineral"]):
        cells = arm.cells[arm.cells["time_h"] == time_h]
        bone = mineral[0] >= 0.5
        surface = ~bone & np.logical_or.reduce([np.roll(bone, shift, axis) for shift in (1, -1) for axis in (0, 1)])
        tumour = np.zeros_like(bone)
        held = cells[cells["kind"] == "dtc"]
        tumour[held["y"], held["x"]] = True
        # The patch is periodic: distances are taken on three by three of it.
        rows, columns = bone.shape
        far = distance_transform_edt(~np.tile(tumour, (3, 3)))[rows : 2 * rows, columns : 2 * columns]
        near = far <= 5 if with_tumour else np.ones_like(bone)
        for place, inside in (("beside", near), ("away", ~near)):
            counts[place][2] += (surface & inside).sum() * 0.01
            for k, kind in enumerate(("osteoblast", "osteoclast")):
                of_kind = cells[cells["kind"] == kind]
                counts[place][k] += inside[of_kind["y"], of_kind["x"]].sum()
    with np.errstate(invalid="ignore"):
        return {f"{kind} per mm {place}": held[k] / held[2] for place, held in counts.items()
                for k, kind in enumerate(("osteoblasts", "osteoclasts"))}  # fmt: skip


def grow_lesions(seed):
    """Return tumour, osteoblasts, osteoclasts and bone of a mouse with growing lesions, and of the same mouse without."""
    arms = {"tumour": {}, "without PTHrP": {"switches": {"vicious_cycle": False}}, "zoledronate": {"regimen": ZOLEDRONATE}}
    named = {name.replace(" ", "_"): arm for name, arm in arms.items()}
    found = {}
    for cells, held_arms in ((0, {"no_tumour": {}}), (6, named)):
        run = ns.run_experiment(build(
            "mouse_sham", seed, "42 d", arms=held_arms, population={"cycling_dtc": cells}, switches={"arrival": False},
            record={"series": "7 d", "ledgers": False, "pictures": ["28 d", "31 d", "35 d", "38 d", "42 d"]},
        ))  # fmt: skip
        for name, result in run.arms.items():
            held = result.series
            number = (held["dormant"] + held["cycling"]).set_axis(held["time_h"])
            row = {f"cells of tumour, week {week}": number[week * WEEK_H] for week in (1, 2, 4, 6)}
            row["resorption in weeks 5 and 6"] = held.loc[held["time_h"] > 4 * WEEK_H, "resorption_um3_per_d"].mean()
            volume = held["bone_volume_fraction"]
            row["bone at the end over time 0"] = volume.iloc[-1] / volume.iloc[0]
            found[name.replace("_", " ")] = row | count_beside(result, cells > 0)
    return found


def print_table(title, rows):
    """Print mean (standard error) over seeds of rows of {column: {what: value}}."""
    print(f"\n{title}")
    columns = list(rows[0])
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for what in rows[0][columns[0]]:
        cells = []
        for column in columns:
            values = np.array([row[column][what] for row in rows], dtype=float)
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            cells.append(f"{values.mean():.3g} ({error:.2g})")
        print(f"| {what} | " + " | ".join(cells) + " |")


def print_ratio(rows, what, arm, reference):
    """Print the ratio of means of two columns."""
    top, below = (np.mean([row[column][what] for row in rows]) for column in (arm, reference))
    print(f"{what}: {arm} over {reference}: {top / below:.2f}")


if __name__ == "__main__":
    seeds = range(1, 1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 4))
    mice = [remove_ovaries(seed) for seed in seeds]
    print_table("ovariectomy and zoledronate", mice)
    for column in ("mouse_ovariectomised untreated", "mouse_ovariectomised zoledronate", "mouse_sham zoledronate"):
        for measured in ("waking, /d", "osteoclasts", "resorption_um3_per_d"):
            print_ratio(mice, measured, column, "mouse_sham untreated")
    lesions = [grow_lesions(seed) for seed in seeds]
    print_table("growing lesions", lesions)
    for measured in ("osteoblasts per mm beside", "osteoclasts per mm beside"):
        print_ratio(lesions, measured, "tumour", "no tumour")
