"""Bone through a menopause and through ovarian failure by chemotherapy: `python benchmarks/menopause.py [SEEDS]` prints it.

Change of mineral content (what densitometry sees) and of bone volume in % a year over the spans of Sowers et al. 2010, and
over 12 and 24 months of chemotherapy (Hershman et al. 2010); resorption and volume after the menopause against before,
whose ratios in mice with oestradiol held at levels before and after were 1.5 to 1.8 and 1.34 to 1.69 (Canuas-Landero et al.
2021). Mean (standard error) over seeds; a patch of 2 mm each.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

import niche_sim as ns

YEAR_H = 8766.0
SPANS = {"2 years before the last period": (1, 3), "2 years after it": (3, 5), "years 2 to 7": (5, 10)}
COURSES = [{"drug": "anthracycline_taxane", "dose": "100 mg", "interval": "21 d", "start": "60 d", "doses": 6}]


def run(seed, patient, length, regimen=()):
    """Return the series of one untreated or treated patient."""
    arms = {"control": {"regimen": list(regimen)} if regimen else {}}
    return ns.run_experiment(ns.build_experiment({
        "name": "menopause", "seed": seed, "scene": "trabecula_premenopausal", "patient": patient, "arms": arms,
        "time": {"length": length, "spin_up": "2 yr"}, "population": {"dormant_dtc": 0}, "switches": {"arrival": False},
        "record": {"series": "10 d", "events": False},
    })).arms["control"].series  # fmt: skip


def change(series, column, first, last):
    """Return the change in % of the value at `first` (yr), by means over half a year around both ends."""
    years = series["time_h"] / YEAR_H
    begin, end = (series.loc[np.abs(years - at) <= 0.25, column].mean() for at in (first, last))
    return 100 * (end / begin - 1)


def measure(seed):
    """Return the numbers of one seed."""
    series = run(seed, "menopause", "10 yr")
    found = {}
    for name, (first, last) in SPANS.items():
        for label, column in (("mineral", "bone_mineral_content_um3"), ("volume", "bone_volume_fraction")):
            found[f"{label}, %/yr, {name}"] = change(series, column, first, last) / (last - first)
    years = series["time_h"] / YEAR_H
    before, after = (series[(years > first) & (years <= last)] for first, last in ((0, 1), (4, 10)))
    found["resorption, after / before"] = after["resorption_um3_per_d"].mean() / before["resorption_um3_per_d"].mean()
    volume = series["bone_volume_fraction"]
    found["volume, before / year 10"] = volume[before.index].mean() / volume.iloc[-18:].mean()
    chemo = run(seed, "premenopausal", "840 d", COURSES)
    for months in (12, 24):
        at = 60 / 365.25 + months / 12
        found[f"mineral, %, {months} months of chemotherapy"] = change(chemo, "bone_mineral_content_um3", 0, at)
    return found


def main(seeds):
    """Print the table."""
    with ThreadPoolExecutor(2) as pool:
        table = pd.DataFrame(list(pool.map(measure, range(1, seeds + 1))))
    text = table.mean().map(lambda v: f"{v:.2f}") + " (" + table.sem().map(lambda v: f"{v:.2f}") + ")"
    print(text.to_string())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
