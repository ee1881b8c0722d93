"""What the drugs do to resorption, beside what was published: `python benchmarks/calibration.py [PATCHES]` prints it.

Postmenopausal patches of 2 mm, every regimen in the same patches: resorption over that of the untreated arm, which stands
for the baseline too, with the jackknife standard error over patches. A value is a mean over the days named, since one patch
scatters by 30 % from month to month. Only rows called `calibrated` were used to choose parameters.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

import niche_sim as ns
from niche_sim.config import build_experiment

AT_ONCE = 4
MONTH_D = 30.44
HALF_WINDOW_D = 30
FIRST_SEED = 101


def course(drug, dose, interval=None, until=None, **more):
    """Return one course that starts at time 0."""
    return {"drug": drug, "dose": dose} | {k: v for k, v in (("interval", interval), ("until", until)) if v} | more


ARMS = {
    "control": [],
    "zoledronate 4 mg once": [course("zoledronate", "4 mg")],
    "zoledronate 5 mg once": [course("zoledronate", "5 mg")],
    "zoledronate 4 mg q4w": [course("zoledronate", "4 mg", "28 d")],
    "pamidronate 90 mg q4w": [course("pamidronate", "90 mg", "28 d")],
    "ibandronate 150 mg monthly": [course("ibandronate", "150 mg", "30 d", route="oral")],
    "alendronate 70 mg weekly": [course("alendronate", "70 mg", "7 d")],
    "alendronate 30 mg iv once": [course("alendronate", "30 mg", route="iv")],
    "risedronate 35 mg weekly, 1 yr": [course("risedronate", "35 mg", "7 d", "365 d")],
    "clodronate 1600 mg/d, 1 yr": [course("clodronate", "1600 mg", "1 d", "365 d", route="oral")],
    "clodronate 400 mg/d, 1 yr": [course("clodronate", "400 mg", "1 d", "365 d", route="oral")],
    "clodronate 300 mg iv x 3": [course("clodronate", "300 mg", "1 d", route="iv", doses=3)],
    "denosumab 60 mg q6m": [course("denosumab", "60 mg", "182 d")],
}
# Arm, first and last day of the window, published value or range over baseline or control, band, where from, used?
ROWS = (
    ("zoledronate 4 mg once", 350, 380, "0.21", (0.13, 0.35), "zoledronate_single_4mg", "calibrated"),
    ("zoledronate 4 mg once", 533, 563, "0.59", (0.40, 0.80), "zoledronate_single_4mg", "calibrated"),
    ("zoledronate 5 mg once", 1050, 1095, "0.56", (0.40, 0.73), "grey2010", "calibrated"),
    ("zoledronate 4 mg once", 7, 30, "0.10-0.20", (0.10, 0.20), "nadir, recalled", ""),
    ("zoledronate 4 mg q4w", 60, 120, "0.25-0.40", (0.20, 0.40), "NTX in bone metastases, recalled", ""),
    ("pamidronate 90 mg q4w", 60, 365, "0.40-0.50", (0.40, 0.50), "recalled", ""),
    ("ibandronate 150 mg monthly", 60, 120, "0.30-0.37", (0.20, 0.55), "trio2016, at 12 weeks", ""),
    ("alendronate 70 mg weekly", 60, 120, "0.33-0.37", (0.20, 0.55), "trio2016, at 12 weeks", ""),
    ("risedronate 35 mg weekly, 1 yr", 60, 120, "0.50", (0.35, 0.55), "trio2016: less than the other two", ""),
    ("risedronate 35 mg weekly, 1 yr", 550, 730, "back in 6-12 months", (0.75, 1.25), "recalled", ""),
    ("alendronate 30 mg iv once", 7, 30, "0.60", (0.4, 0.75), "khan1997, hydroxyproline", ""),
    ("alendronate 30 mg iv once", 640, 730, "still below 1", (0.3, 0.95), "khan1997", ""),
    ("clodronate 1600 mg/d, 1 yr", 60, 365, "0.50-0.75", (0.50, 0.75), "oral clodronate, 25-50 %", "calibrated"),
    ("clodronate 400 mg/d, 1 yr", 60, 365, "0.50-0.75", (0.50, 0.75), "tsai1999", "calibrated"),
    ("clodronate 1600 mg/d, 1 yr", 550, 730, "gone in months", (0.8, 1.2), "tsai1999", "calibrated"),
    ("clodronate 300 mg iv x 3", 7, 30, "falls in month 1", (0.3, 0.9), "short course", ""),
    ("clodronate 300 mg iv x 3", 180, 365, "drifts back", (0.8, 1.2), "short course", ""),
    ("denosumab 60 mg q6m", 14, 170, "0.10-0.20", (0.05, 0.25), "recalled", ""),
)  # fmt: skip
MONTHS = (2, 3, 6, 12, 18, 24, 36)
CURVES = {
    "zoledronate 4 mg once": ("zoledronate_single_4mg, over baseline", {12: "0.21", 18: "0.59"}),
    "zoledronate 5 mg once": ("grey2010, over placebo", {12: "0.55-0.62", 24: "0.55-0.62", 36: "0.56 (0.40-0.73)"}),
}


def measure(seed):
    """Return resorption of one patch by arm: rows of 5 days."""
    run = ns.run_experiment(build_experiment({
        "name": "calibration", "seed": seed, "scene": "trabecula_postmenopausal", "patient": "postmenopausal",
        "time": {"length": "3 yr", "spin_up": "1 yr"}, "population": {"dormant_dtc": 0}, "switches": {"arrival": False},
        "arms": {name.replace(" ", "_").replace(",", "").replace("/", "_"): {"regimen": list(courses)} if courses else {}
                 for name, courses in ARMS.items()},
        "record": {"series": "5 d", "events": False, "ledgers": False},
    }))  # fmt: skip
    return pd.DataFrame({
        name: arm.series.set_index("time_h")["resorption_um3_per_d"] for name, arm in zip(ARMS, run.arms.values())
    }).iloc[1:]  # fmt: skip


def compare(patches, arm, first_d, last_d):
    """Return the ratio of an arm to the control in a window, and its jackknife standard error over patches."""
    inside = [frame[(frame.index > 24 * first_d) & (frame.index <= 24 * last_d)] for frame in patches]
    treated, control = (np.array([frame[name].mean() for frame in inside]) for name in (arm, "control"))
    n = len(patches)
    without = (treated.sum() - treated) / (control.sum() - control)
    return treated.sum() / control.sum(), np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())


def judge(ratio, error, low, high):
    """Return whether a ratio lies in a band."""
    if low <= ratio <= high:
        return "yes"
    return "within 2 SE" if low <= ratio + 2 * error and ratio - 2 * error <= high else "**no**"


def write_row(*cells):
    """Print a row of a Markdown table."""
    print("| " + " | ".join(cells) + " |")


def main(count):
    """Print the two tables."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        patches = list(pool.map(measure, range(FIRST_SEED, FIRST_SEED + count)))
    write_row("regimen", "days", "published", "band", f"{count} patches (SE)", "inside", "source", "used")
    print("|---" * 8 + "|")
    for arm, first, last, published, (low, high), source, used in ROWS:
        ratio, error = compare(patches, arm, first, last)
        inside = judge(ratio, error, low, high)
        write_row(
            arm, f"{first}-{last}", published, f"{low:.2f}-{high:.2f}", f"{ratio:.2f} ({error:.2f})", inside, source, used
        )
    print()
    write_row("month", *(str(month) for month in MONTHS))
    print("|---" * (1 + len(MONTHS)) + "|")
    spans = [(month * MONTH_D - HALF_WINDOW_D, month * MONTH_D + HALF_WINDOW_D) for month in MONTHS]
    for arm in list(ARMS)[1:]:
        if arm in CURVES:
            source, known = CURVES[arm]
            write_row(f"{arm}, published ({source})", *(known.get(month, "") for month in MONTHS))
        write_row(arm, *("{:.2f} ({:.2f})".format(*compare(patches, arm, *span)) for span in spans))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
