"""The small summary of the tumours of a cohort: `python benchmarks/tumour_table.py DIR [START_D] [OUT.csv]` prints it.

Of the reference arm each quantity, of the others the ratio to it in the same patients (95 % interval over patients), at
months since the start of treatment (84 d in the shipped experiments); with OUT.csv the rows are written there too.
"""

import sys
from pathlib import Path

import pandas as pd
from cohort_table import choose_visits

QUANTITIES = {
    "dtc_positive": "aspirates with tumour cells", "dtc_persistence_two_sides": "still positive, of both crests",
    "dtc_density": "density of tumour cells", "bone_dormant": "dormant lesions in bone",
    "bone_growing": "growing lesions in bone",
    "bone_metastasis": "women with bone metastasis", "bone_detected_per_metastatic": "detected lesions of such a woman",
    "outside_metastasis": "women with metastasis outside bone", "outside_growing": "growing lesions outside bone",
    "any_metastasis": "women with any metastasis", "skeletal_events": "skeletal events a woman",
}  # fmt: skip


def main(folder, start_d, out):
    """Print the table of each quantity."""
    table = pd.read_csv(Path(folder) / "tumour_summary.csv")
    rows = choose_visits(table, 24.0 * start_d)
    rows = rows[rows["quantity"].isin(QUANTITIES)]
    rows = rows[["quantity", "arm", "month", "mean", "low", "high", "ratio", "ratio_low", "ratio_high"]]
    reference = table["arm"].iloc[0]
    for quantity, title in QUANTITIES.items():
        part = rows[rows["quantity"] == quantity]
        if part.empty:
            continue
        print(f"\n| {title}, month | " + " | ".join(str(month) for month in part["month"].unique()) + " |")
        print("|---" * (1 + part["month"].nunique()) + "|")
        for arm, line in part.groupby("arm", sort=False):
            cells = [
                f"{r.mean_:.3g}" if arm == reference else f"{r.ratio:.2f} ({r.ratio_low:.2f}-{r.ratio_high:.2f})"
                for r in line.rename(columns={"mean": "mean_"}).itertuples()
            ]
            print(f"| {arm} | " + " | ".join(cells) + " |")
    if out:
        rows.round(5).to_csv(out, index=False)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 84.0, sys.argv[3] if len(sys.argv) > 3 else None)
