"""The life of a cell in plain sentences: when, where and why."""

from collections.abc import Iterable

import pandas as pd

from niche_sim.lineage.following import Lineage
from niche_sim.lineage.tree import is_alive

ROUTES = {
    "spontaneous": "by itself", "factors": "by growth factors that resorption released",
    "lining": "because a BMU lifted the lining under it", "sprouting": "because the vessel beside it sprouted",
}  # fmt: skip
CAUSES = {
    "baseline": "died at the baseline rate", "deprivation": "died because its niche did not sustain it",
    "chemotherapy": "died of chemotherapy", "drug": "died of drug on the bone it touched",
    "immune": "was killed by immune cells", "phagocytosis": "was engulfed by a macrophage",
    "hypoxia": "died for lack of oxygen in a crowd",
}  # fmt: skip
TRAITS = {
    "resistant": "turned resistant to chemotherapy", "adapted": "turned bone-adapted",
    "resistant+adapted": "turned resistant to chemotherapy and bone-adapted",
}  # fmt: skip
PLACES = {
    "marrow": "in marrow, touching neither bone nor vessel", "endosteal": "on resting bone lining",
    "remodelling": "at an open BMU", "forming": "on bone that a BMU refills", "perivascular": "beside a vessel",
}  # fmt: skip
CHANGES = {
    "marrow": "the bone it lay on had been eroded", "perivascular": "the bone it lay on had been eroded",
    "remodelling": "a BMU had opened the lining it lay on", "forming": "a BMU was refilling the bone it lay on",
}  # fmt: skip
MOST_BRANCHES, MOST_LESIONS = 8, 10


def say_time(hours: float) -> str:
    """Return a time as "day 547 (1.50 yr)", years only from one on."""
    years = f" ({hours / 8766.0:.2f} yr)" if hours >= 8766.0 else ""
    return f"day {round(hours / 24.0, 2):g}{years}"


def say_place(place: str) -> str:
    """Return a place of the event log in words."""
    return " and ".join(PLACES.get(part, part) for part in place.split("+"))


def count(number: int, word: str) -> str:
    """Return "1 cell", "2 cells"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def say_conditions(event: pd.Series) -> str:
    """Return TGF-beta and suitability where an event happened."""
    return f"TGF-beta {1e6 * event['tgf_beta_nmol_per_L']:.3g} fmol/L, suitability {event['suitability']:.2f}"


def _say_waking(event: pd.Series, bed: pd.Series | None) -> str:
    text = f"woke {ROUTES.get(event['cause'], event['cause'])}, {say_place(event['place'])} ({say_conditions(event)})"
    if bed is None or not bed["place"].startswith("endosteal") or any(bed[axis] != event[axis] for axis in "zyx"):
        return text
    change = CHANGES.get(event["place"].split("+")[0])
    return f"{text}; {change}" if change else text


def _say_event(event: pd.Series, bed: pd.Series | None) -> str:
    """Return what happened to a cell; `bed` is the event with which it last fell asleep or was seeded asleep."""
    kind, where = event["event"], say_place(event["place"])
    if kind == "wake":
        return _say_waking(event, bed)
    if kind == "death":
        return f"{CAUSES.get(event['cause'], 'died of ' + event['cause'])}, {where}"
    asleep = "asleep" if event["cause"] == "dormant" else "awake"
    return {
        "seed": f"was there from the start, {asleep}, {where}", "arrival": f"arrived from blood, {where}",
        "birth": f"was born of cell {event['parent']}, {where}", "sleep": f"fell asleep {where}",
        "egress": f"left to blood, {where}", "mutation": TRAITS.get(event["cause"], f"became {event['cause']}"),
        "sprout": "vessels came to its lesion",
    }[kind]  # fmt: skip


def _say_divisions(times: list[float]) -> list[str]:
    if not times:
        return []
    if len(times) == 1:
        return [f"{say_time(times[0])}: divided"]
    return [f"{say_time(times[0])} to {say_time(times[-1])}: divided {len(times)} times"]


def tell_life(lineage: Lineage, ident: int) -> list[str]:
    """Return the life of one cell, a line an event; divisions in a row are one line."""
    events = lineage.events
    own = events["ident"] == ident
    division = (events["parent"] == ident) & (events["event"] == "birth")
    lines: list[str] = []
    divided: list[float] = []
    bed = None
    for number, event in events[own | division].iterrows():
        if division[number]:
            divided.append(event["time_h"])
            continue
        lines += _say_divisions(divided) + [f"{say_time(event['time_h'])}: {_say_event(event, bed)}"]
        divided = []
        if event["event"] == "sleep" or event["cause"] == "dormant":
            bed = event
    lines += _say_divisions(divided)
    cell = lineage.cells.loc[ident]
    if cell["fate"] in ("dormant", "cycling"):
        lines.append(f"{say_time(lineage.end_h)}, the end: alive and {cell['fate']}")
    return lines


def _count_by(cells: pd.DataFrame, fate: str) -> str:
    causes = cells.loc[cells["fate"] == fate, "cause"].value_counts()
    return ", ".join(f"{number:,} {cause}" for cause, number in causes.items())


def say_outcome(cells: pd.DataFrame) -> str:
    """Return what a group of cells came to: alive at the end, died by cause, left."""
    numbers = cells["fate"].value_counts()
    alive = int(is_alive(cells).sum())
    modes = [f"{numbers[mode]:,} {mode}" for mode in ("cycling", "dormant") if mode in numbers]
    parts = [f"{alive:,} alive at the end ({', '.join(modes)})" if alive else "none alive at the end"]
    if "died" in numbers:
        parts.append(f"{numbers['died']:,} died ({_count_by(cells, 'died')})")
    if "left" in numbers:
        parts.append(f"{numbers['left']:,} left to blood")
    return "; ".join(parts)


def _tell_branches(lineage: Lineage, ident: int) -> list[str]:
    cells = lineage.cells
    daughters = cells[cells["parent"] == ident].sort_values(["branch_alive", "branch"], ascending=False, kind="stable")
    lines = []
    for daughter, row in daughters.head(MOST_BRANCHES).iterrows():
        alive = f"{row['branch_alive']:,} alive at the end" if row["branch_alive"] else "none alive at the end"
        lines.append(
            f"daughter {daughter}, born {say_time(row['born_h'])} {say_place(row['born_place'])}: "
            f"a branch of {count(row['branch'], 'cell')}, {alive}"
        )
    rest = daughters.iloc[MOST_BRANCHES:]
    if len(rest):
        total, living = count(int(rest["branch"].sum()), "cell"), int(rest["branch_alive"].sum())
        lines.append(f"{count(len(rest), 'more daughter')}: {total}, {living:,} alive at the end")
    return lines


def _say_wakings(events: pd.DataFrame) -> Iterable[str]:
    wakes = events.loc[events["event"] == "wake", "cause"].value_counts()
    slept = int((events["event"] == "sleep").sum())
    if slept or len(wakes):
        routes = ", ".join(f"{number:,} {route}" for route, number in wakes.items())
        woke = f"woke {count(int(wakes.sum()), 'time')}" + (f" ({routes})" if routes else "")
        yield f"fell asleep {count(slept, 'time')}, {woke}"


def tell(lineage: Lineage) -> list[str]:
    """Return the life of the first cell of a lineage, its branches, and what all of them came to."""
    cells, first = lineage.cells, lineage.first
    if first is None:
        return [f"arm {lineage.arm}: {count(len(cells), 'tumour cell')} ever", *(f"  {line}" for line in _sum_up(lineage))]
    cell = cells.loc[first]
    role = "founder" if cell["generation"] == 0 else f"generation {cell['generation']}"
    lines = [f"arm {lineage.arm}: cell {first}, {role} of clone {cell['clone']}"]
    if lineage.line:
        lines.append(f"  descends from {' < '.join(str(ident) for ident in lineage.line)}")
    lines += [f"  {line}" for line in tell_life(lineage, first)]
    if len(cells) > 1:
        lines += ["", f"  {count(len(cells), 'cell')} in all, from it on:"]
        lines += [f"    {line}" for line in [*_sum_up(lineage), *_tell_branches(lineage, first)]]
    return lines


def _sum_up(lineage: Lineage) -> list[str]:
    return [say_outcome(lineage.cells), *_say_wakings(lineage.events)]


def tell_lesions(arm: str, table: pd.DataFrame) -> list[str]:
    """Return the largest lesions of an arm, as `list_lesions` gives them, as lines of text."""
    if not len(table):
        return [f"arm {arm}: no tumour cell lives at the end"]
    shown = table[table["cells"] > 1].head(MOST_LESIONS)
    lines = [f"arm {arm}: {count(len(table), 'clone')} alive at the end"]
    if len(shown):
        lines.append(f"  lesion   cells  cycling  dormant  {'clone':>20}  {'founder':>20}  history")
    for number, row in shown.iterrows():
        lines.append(
            f"  {number:>6}  {row['cells']:>6}  {row['cycling']:>7}  {row['dormant']:>7}  {row['clone']:>20}  "
            f"{row['founder']:>20}  {_say_history(row)}"
        )
    rest = table.drop(shown.index)
    if len(rest):
        single = "of one cell" if (rest["cells"] == 1).all() else f"of at most {rest['cells'].max():,} cells"
        lines.append(f"  and {count(len(rest), 'clone')} {single}")
    return lines


def _say_history(row: pd.Series) -> str:
    text = f"{row['origin']} {say_time(row['born_h'])}"
    if pd.isna(row["woke_h"]):
        return text
    return f"{text}, woke {say_time(row['woke_h'])} {ROUTES.get(row['route'], row['route'])}, {say_place(row['place'])}"
