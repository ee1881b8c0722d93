"""What three drugs do to niche suitability: `python benchmarks/suitability.py [SEEDS]` prints it.

The shipped experiment `suitability_three_drugs`: mean suitability of the endosteal and the perivascular niche, what is lost
(mean of -ln S), and the share of each term in it (%); mean (standard error) over seeds. `before` is time 0, which all arms
share; the arms are means over the second half year, one dose interval of zoledronate and of denosumab. The last lines are
1000 times the loss by a term, less that of the control of the same seed.
"""

import sys

import pandas as pd

import niche_sim as ns
from niche_sim.kinds import NICHE_NAMES, TERM_NAMES

HALF_YEAR_H = 182 * 24
NICHES = NICHE_NAMES[1:]


def average_losses(table, niche):
    """Return the mean loss by each term over rows of a series."""
    loss = table[f"suitability_loss_{niche}"]
    return {term: (loss * table[f"suitability_share_{term}_{niche}"]).mean() for term in TERM_NAMES}


def read_rows(when, table, control):
    """Return the rows of one arm: niche, when, what, value; `control` is None before."""
    found = []
    for niche in NICHES:
        losses = average_losses(table, niche)
        total = sum(losses.values())
        found += [(niche, when, "suitability", table[f"suitability_{niche}"].mean()), (niche, when, "loss", total)]
        found += [(niche, when, f"{term}, %", 100 * losses[term] / total) for term in TERM_NAMES]
        if control is not None and when != "control":
            before = average_losses(control, niche)
            lower = table[f"suitability_{niche}"].mean() - control[f"suitability_{niche}"].mean()
            found.append((niche, when, "S less control", lower))
            found += [(niche, when, f"{term}, more", 1000 * (losses[term] - before[term])) for term in TERM_NAMES]
    return found


def measure(seed):
    """Return the rows of one seed: niche, when, what, value."""
    run = ns.run_experiment(ns.load_experiment("suitability_three_drugs", seed=seed))
    series = {arm: result.series for arm, result in run.arms.items()}
    late = {arm: table[table["time_h"] > HALF_YEAR_H] for arm, table in series.items()}
    rows = read_rows("before", series["control"].iloc[:1], None)
    for arm, table in late.items():
        rows += read_rows(arm, table, late["control"])
    return rows


def print_means(rows):
    """Print mean (standard error) of rows of niche, when, what, value: a table a niche, a column a time or arm."""
    frame = pd.DataFrame(rows, columns=["niche", "when", "what", "value"])
    for niche, part in frame.groupby("niche", sort=False):
        grouped = part.groupby(["when", "what"], sort=False)["value"]
        means = grouped.mean()
        digits = [3 if what in ("suitability", "loss", "S less control") else 1 for _, what in means.index]
        cells = [f"{m:.{d}f} ({e:.{d}f})" for m, e, d in zip(means, grouped.sem(), digits)]
        lines, columns = part["what"].drop_duplicates(), part["when"].drop_duplicates()
        table = pd.Series(cells, index=means.index).unstack("when").loc[lines, columns].fillna("")
        print(f"\n{niche} niche\n{table.to_string()}")


def main(seeds):
    """Print the table."""
    print_means([row for seed in range(1, seeds + 1) for row in measure(seed)])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
