"""Where the first metastasis of a woman is found: `python benchmarks/first_site.py DIR [OUT.csv]`, DIR that of a cohort.

Of all women of each arm, the share whose first detected metastasis is in bone, outside it, or both in one scan, until the
end; and lesions that blood seeded, outside bone, per 1000 women. Each with the ratio to the first arm in the same patients
and the middle 95 % of samples of patients.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from niche_sim.bootstrap import resample
from niche_sim.draws import run_key

SITES = ("bone", "outside")


def count_firsts(lesions, women):
    """Return what is counted of each patient and arm: a row a patient, a column a quantity."""
    found = {site: lesions[lesions["site"] == site] for site in SITES}
    keys = ["patient", "tumour"]
    bone, outside = (part.groupby(keys)["detected_h"].min().rename(site) for site, part in found.items())
    both = pd.concat([bone, outside], axis=1).fillna(np.inf)
    seeded = found["outside"][found["outside"]["origin"] == "seeded"]
    kinds = {
        "bone first": both["bone"] < both["outside"], "outside first": both["outside"] < both["bone"],
        "both in one scan": (both["bone"] == both["outside"]) & np.isfinite(both["bone"]),
    }  # fmt: skip
    counts = {name: held.groupby("patient").sum() / women for name, held in kinds.items()}
    return pd.DataFrame(counts | {"seeded outside, of 1000": 1000 * seeded.groupby("patient").size() / women}).fillna(0.0)


def main(folder, out):
    """Print the table."""
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    women = int(pd.read_parquet(Path(folder) / "tumours.parquet", columns=["tumours"])["tumours"].iloc[0])
    lesions = pd.read_parquet(
        Path(folder) / "lesions.parquet", columns=["patient", "tumour", "arm", "site", "origin", "detected_h"]
    )
    arms = {arm: count_firsts(part, women) for arm, part in lesions.groupby("arm", sort=False)}
    reference = next(iter(arms.values()))
    counts = resample(run_key(int(manifest["seed"]), 0), len(reference))
    rows = []
    for arm, held in arms.items():
        for name in held:
            ratios = (counts @ held[name].to_numpy()) / (counts @ reference[name].to_numpy())
            low, high = np.percentile(ratios[1:], (2.5, 97.5))
            mean = held[name].mean()
            rows.append({"arm": arm, "quantity": name, "mean": mean, "ratio": ratios[0], "low": low, "high": high})
    table = pd.DataFrame(rows)
    names = list(reference)
    print("| | " + " | ".join(names) + " |")
    print("|---" * (1 + len(names)) + "|")
    for arm, part in table.groupby("arm", sort=False):
        cells = [f"{r.mean_:.3g}; {r.ratio:.2f} ({r.low:.2f}-{r.high:.2f})"
                 for r in part.rename(columns={"mean": "mean_"}).itertuples()]  # fmt: skip
        print(f"| {arm} | " + " | ".join(cells) + " |")
    if out:
        table.round(5).to_csv(out, index=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
