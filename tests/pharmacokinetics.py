"""Published pharmacokinetics against the shipped drugs: `python tests/pharmacokinetics.py` writes docs/pharmacokinetics.md.

Every simulated number is measured on simulated courses (amounts and concentrations over time, doses and infusions as
published) as it would be on a patient's; nothing is read off the parameters. What was published is data
(tests/published_pharmacokinetics.yaml).
"""

import argparse
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ruamel.yaml import YAML
from scipy.optimize import least_squares

from niche_sim.config import load_drug
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course
from niche_sim.units import convert

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "tests" / "published_pharmacokinetics.yaml"
SIMULATED_H = 50_000.0  # by when the compartments are empty
PEAK_STEPS = 1000  # times at which an oral peak is sought
SPREADS = {
    "sd": "one standard deviation", "cv": "coefficient of variation", "sources": "between publications",
    "patients": "between patients", "label": "as the label gives it", "error": "error of the model", "fifth": "a fifth",
}  # fmt: skip


class Body:
    """One drug in one patient: a course and what it does to her over time."""

    def __init__(self, name: str, courses: dict[str, dict[str, str]]):
        self.drug, self.written = load_drug(name).drug, courses

    def course(self, name: str) -> Course:
        """Return a course as the data file writes it."""
        keys = {"dose": "dose_mg", "interval": "interval_h", "until": "until_h", "infusion": "infusion_h"}
        units = {"dose": "mg", "interval": "h", "until": "h", "infusion": "h"}
        written = self.written[name]
        numbers = {keys[key]: convert(text, units[key]) for key, text in written.items() if key in keys}
        return Course(self.drug.name, route=written.get("route"), **numbers)

    def at(self, name: str, *times_h: float) -> dict[str, np.ndarray]:
        """Return amounts and concentrations of a course at times in any order."""
        times = np.array(times_h)
        order = np.argsort(times)
        found = pharmacokinetics(self.drug, [self.course(name)], times[order])
        return {key: values[np.argsort(order)] for key, values in found.items()}

    def systemic(self, found: dict[str, np.ndarray]) -> np.ndarray:
        """Return what reaches plasma sooner or later (nmol) of what was given so far."""
        return found["dosed"] - found["unabsorbed"]

    @cached_property
    def half_lives(self) -> dict[tuple[str, int], np.ndarray]:
        """Return the half-lives that were fitted, by course and number of phases."""
        return {}

    def find_peak(self, name: str) -> tuple[float, float]:
        """Return the highest concentration (nmol/L) of the first dose and its time (h)."""
        course = self.course(name)
        infusion = self.drug.infusion_h if course.infusion_h is None else course.infusion_h
        if (course.route or self.drug.route) == "iv":
            return float(self.at(name, infusion)["concentration"][0]), infusion
        horizon = 10.0 / self.drug.absorption_rate
        times = np.linspace(0.0, horizon, PEAK_STEPS)
        levels = self.at(name, *times)["concentration"]
        return float(levels.max()), float(times[levels.argmax()])


def fit_half_lives(body: Body, name: str, phases: int) -> np.ndarray:
    """Return the half-lives (h) of a sum of so many exponentials through the simulated concentrations of a bolus."""
    if (name, phases) not in body.half_lives:
        times = np.geomspace(0.02, 600.0, 80)
        levels = body.at(name, *times)["concentration"]
        times, levels = times[levels > 1e-9 * levels[0]], levels[levels > 1e-9 * levels[0]]

        def misses(logs):
            heights, rates = np.exp(logs[:phases]), np.exp(logs[phases:])
            return np.log(np.exp(-np.outer(times, rates)) @ heights) - np.log(levels)

        start = np.concatenate([np.log(levels[0]) - 4.0 * np.arange(phases), np.log(1.5) - 2.5 * np.arange(phases)])
        found = least_squares(misses, start, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=5000)
        assert np.abs(found.fun).max() < 1e-5, (body.drug.name, name, np.abs(found.fun).max())
        body.half_lives[name, phases] = np.sort(np.log(2.0) / np.exp(found.x[phases:]))
    return body.half_lives[name, phases]


# ---------------------------------------------------------------- measures: (body, row) -> number in inside units


def half_life(body: Body, row: dict) -> float:
    """Return the half-life of one phase."""
    return fit_half_lives(body, row["course"], row["phases"])[row["phase"] - 1]


def slope(body: Body, row: dict) -> float:
    """Return the half-life between two times."""
    first, last = convert(row["from"], "h"), convert(row["until"], "h")
    level = body.at(row["course"], first, last)["concentration"]
    return (last - first) * np.log(2.0) / np.log(level[0] / level[1])


def peak(body: Body, row: dict) -> float:
    """Return the highest concentration."""
    return body.find_peak(row["course"])[0]


def peak_time(body: Body, row: dict) -> float:
    """Return the time of the highest concentration."""
    return body.find_peak(row["course"])[1]


def peak_change(body: Body, row: dict) -> float:
    """Return by how much a peak differs from that of another course."""
    return body.find_peak(row["course"])[0] / body.find_peak(row["than"])[0] - 1.0


def level(body: Body, row: dict) -> float:
    """Return the concentration at a time."""
    return body.at(row["course"], convert(row["at"], "h"))["concentration"][0]


def level_ratio(body: Body, row: dict) -> float:
    """Return the concentration at a time over that at another."""
    found = body.at(row["course"], convert(row["at"], "h"), convert(row["than_at"], "h"))["concentration"]
    return found[0] / found[1]


def left(body: Body, row: dict) -> float:
    """Return the concentration at a time over the peak."""
    return level(body, row) / peak(body, row)


def area(body: Body, row: dict) -> float:
    """Return the area under the concentration until a time."""
    return body.at(row["course"], convert(row["until"], "h"))["exposure"][0]


def accumulation(body: Body, row: dict) -> float:
    """Return the area after a later dose over that after the first."""
    start = (row["number"] - 1) * convert(body.written[row["course"]]["interval"], "h")
    span = convert(row["span"], "h")
    found = body.at(row["course"], 0.0, span, start, start + span)["exposure"]
    return (found[3] - found[2]) / (found[1] - found[0])


def clearance(body: Body, row: dict) -> float:
    """Return what reached plasma over the whole area, the drug gone."""
    found = body.at(row["course"], SIMULATED_H)
    return body.systemic(found)[0] / found["exposure"][0]


def renal_clearance(body: Body, row: dict) -> float:
    """Return what was excreted until a time over the area until then."""
    found = body.at(row["course"], convert(row["until"], "h"))
    return found["excreted"][0] / found["exposure"][0]


def bone_clearance(body: Body, row: dict) -> float:
    """Return what went into bone until a time over the area until then."""
    found = body.at(row["course"], convert(row["until"], "h"))
    return found["skeleton"][0] / found["exposure"][0]


def excreted(body: Body, row: dict) -> float:
    """Return what was excreted until a time, of what reaches plasma."""
    found = body.at(row["course"], convert(row["at"], "h"))
    return found["excreted"][0] / body.systemic(found)[0]


def retained(body: Body, row: dict) -> float:
    """Return what was not excreted until a time, of what reaches plasma."""
    return 1.0 - excreted(body, row)


def in_bone(body: Body, row: dict) -> float:
    """Return what went into bone until a time, of what reaches plasma."""
    found = body.at(row["course"], convert(row["at"], "h"))
    return found["skeleton"][0] / body.systemic(found)[0]


def absorbed(body: Body, row: dict) -> float:
    """Return what was absorbed until a time, of what reaches plasma."""
    found = body.at(row["course"], convert(row["at"], "h"))
    return 1.0 - found["absorbing"][0] / body.systemic(found)[0]


def bioavailability(body: Body, row: dict) -> float:
    """Return area over dose against that of an intravenous course."""
    mine, other = (body.at(row[key], SIMULATED_H) for key in ("course", "than"))
    return mine["exposure"][0] / mine["dosed"][0] / (other["exposure"][0] / other["dosed"][0])


def free(body: Body, row: dict) -> float:
    """Return the free concentration over the total one."""
    found = body.at(row["course"], convert(row["at"], "h"))
    return found["free"][0] / found["concentration"][0]


def centre(body: Body, row: dict) -> float:
    """Return a bolus over the concentration that it makes at once."""
    found = body.at(row["course"], 0.0)
    return found["dosed"][0] / found["concentration"][0]


def steady_volume(body: Body, row: dict) -> float:
    """Return amount in plasma and tissues over the concentration, at the end of an infusion without end."""
    long = Course(body.drug.name, body.course(row["course"]).dose_mg, route="iv", infusion_h=SIMULATED_H)
    found = pharmacokinetics(body.drug, [long], [0.999 * SIMULATED_H])
    return (found["plasma"][0] + found["peripheral"][0].sum()) / found["concentration"][0]


MEASURES = (
    half_life, slope, peak, peak_time, peak_change, level, level_ratio, left, area, accumulation, clearance, renal_clearance,
    bone_clearance, excreted, retained, in_bone, absorbed, bioavailability, free, centre, steady_volume,
)  # fmt: skip


# ---------------------------------------------------------------- the table


class Row(NamedTuple):
    """One published number beside the simulated one (None: it is left to bone)."""

    drug: str
    quantity: str
    published: float
    low: float
    high: float
    spread: str
    unit: str
    source: str
    simulated: float | None
    miss: str

    @property
    def inside(self) -> bool:
        """Whether the simulated number lies in the published range."""
        return self.simulated is not None and self.low <= self.simulated <= self.high

    @property
    def as_meant(self) -> bool:
        """Whether the row is inside exactly if no reason is given for a miss."""
        return self.simulated is None or self.inside == (not self.miss)


def express(value: float, unit: str, molar_mass: float) -> float:
    """Return a number in nmol, L and h in a published unit."""
    mg = molar_mass * 1e-6
    factors = {
        "h": 1.0, "d": 1 / 24.0, "L": 1.0, "mL/min": 1000 / 60.0, "%": 100.0, "1": 1.0, "umol/L": 1e-3, "umol h/L": 1e-3,
        "mg/L": mg, "mg h/L": mg, "mg d/L": mg / 24.0,
    }  # fmt: skip
    return float(value * factors[unit])


def read_published() -> dict[str, Any]:
    """Return the data file."""
    return YAML(typ="safe").load(PUBLISHED.read_text(encoding="utf-8"))


def compare() -> list[Row]:
    """Return every published number beside the simulated one."""
    measures, rows = {measure.__name__: measure for measure in MEASURES}, []
    for name, entry in read_published().items():
        body = Body(name, entry["courses"])
        for row in entry["rows"]:
            common = name, row["quantity"], float(row["value"])
            if row.get("bone"):
                rows.append(Row(*common, np.nan, np.nan, "", row["unit"], row["source"], None, ""))
                continue
            simulated = express(measures[row["measure"]](body, row), row["unit"], body.drug.molar_mass)
            low, high = row["range"]
            rows.append(Row(*common, low, high, row["spread"], row["unit"], row["source"], simulated, row.get("miss", "")))
    return rows


HEAD = """# Pharmacokinetics, simulated beside published

Written by `python tests/pharmacokinetics.py`. Each simulated number is measured on a simulated course of the shipped drug
(doses, routes and lengths of infusion as published) as it would be on a patient: peaks, areas, what was excreted, slopes,
sums of exponentials through concentrations. What was published is in
[tests/published_pharmacokinetics.yaml](../tests/published_pharmacokinetics.yaml), its sources in
[configs/references.bib](../configs/references.bib); how compartments were solved is in
[tests/compartments.py](../tests/compartments.py). Where publications contradict each other both are listed, one is a miss.

*From bone*: the number is drug that returns from bone. Compartments hold no phase of weeks to years; bone does.
Numbers of animals and of impaired kidneys are not compared.

{inside} of {compared} compared numbers lie in the published range.
"""
TABLE = """
## {name}

| quantity | published | range | of what | source | simulated | unit | |
|---|---|---|---|---|---|---|---|
"""


def write_number(value: float) -> str:
    """Return a number to three digits."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write_row(row: Row) -> str:
    """Return a line of the table."""
    start = f"| {row.quantity} | {write_number(row.published)} "
    if row.simulated is None:
        return f"{start}| | | {row.source} | from bone | {row.unit} | from bone |\n"
    span = f"{write_number(row.low)} to {write_number(row.high)}"
    verdict = "inside" if row.inside else f"**outside**: {row.miss}"
    found = f"{write_number(row.simulated)} | {row.unit} | {verdict}"
    return f"{start}| {span} | {SPREADS[row.spread]} | {row.source} | {found} |\n"


def write_page(rows: list[Row]) -> str:
    """Return the page."""
    compared = [row for row in rows if row.simulated is not None]
    parts = [HEAD.format(inside=sum(row.inside for row in compared), compared=len(compared))]
    for name in dict.fromkeys(row.drug for row in rows):
        parts.append(TABLE.format(name=name.capitalize()))
        parts += [write_row(row) for row in rows if row.drug == name]
    return "".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pharmacokinetics.md")
    options = parser.parse_args()
    found = compare()
    options.out.write_text(write_page(found), encoding="utf-8")
    wrong = [row for row in found if not row.as_meant]
    print("\n".join(map(str, wrong)) or "every row is as meant")
    raise SystemExit(bool(wrong))
