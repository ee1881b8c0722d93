"""The small summary of a cohort: `python benchmarks/cohort_table.py DIR [START_D] [OUT.csv]` prints it as Markdown.

True markers over those of the reference arm in the same patients (95 % interval over patients), at months since the start of
treatment (84 d in the shipped experiments); with OUT.csv the rows are written there too.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

MARKERS = ("ctx", "p1np", "bmd_spine", "bmd_trabecular")
MONTHS = (1, 3, 6, 12, 18, 24, 30, 36, 48, 60)
MONTH_H = 730.5


def choose_visits(summary, start_h):
    """Return the rows of the visits nearest to the asked months since the start, with the column `month`."""
    times = np.sort(summary["time_h"].unique())
    last = (times[-1] - start_h) / MONTH_H
    visits = {month: times[np.abs(times - start_h - month * MONTH_H).argmin()] for month in MONTHS if month <= last + 0.5}
    parts = [summary[summary["time_h"] == time].assign(month=month) for month, time in visits.items()]
    return pd.concat(parts)


def main(folder, start_d, out):
    """Print the table of each marker."""
    rows = choose_visits(pd.read_csv(Path(folder) / "summary.csv"), 24.0 * start_d)
    rows = rows[rows["marker"].isin(MARKERS) & (rows["value"] == "true")]
    rows = rows[["marker", "arm", "month", "patients", "ratio", "ratio_low", "ratio_high"]].round(4)
    for marker, part in rows.groupby("marker", sort=False):
        print(f"\n| {marker} / reference, month | " + " | ".join(str(m) for m in part["month"].unique()) + " |")
        print("|---" * (1 + part["month"].nunique()) + "|")
        for arm, line in part.groupby("arm", sort=False):
            cells = [f"{r.ratio:.2f} ({r.ratio_low:.2f}-{r.ratio_high:.2f})" for r in line.itertuples()]
            print(f"| {arm} | " + " | ".join(cells) + " |")
    if out:
        rows.to_csv(out, index=False)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 84.0, sys.argv[3] if len(sys.argv) > 3 else None)
