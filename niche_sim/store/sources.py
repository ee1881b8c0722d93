"""Where each number of an experiment comes from: rows, counts by status, papers, BibTeX."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from niche_sim.resources import configs_dir

STATUSES = ("measured", "derived", "model", "calibrated", "assumed")


@dataclass(frozen=True)
class SourceRow:
    """One number as its file states it."""

    name: str
    value: str
    range: tuple[str, ...]
    status: str
    source: str
    note: str


def _row(name: str, leaf: Mapping[str, Any]) -> SourceRow:
    bounds = tuple(str(bound) for bound in leaf.get("range") or ())
    return SourceRow(
        name, str(leaf["value"]), bounds, str(leaf.get("status", "")), str(leaf.get("source") or "none"),
        str(leaf.get("note") or ""),
    )  # fmt: skip


def walk_leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[SourceRow]:
    """Yield a row for each leaf of a nested mapping: value, range, status, source, note."""
    for key, inner in mapping.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(inner, Mapping) and "value" in inner and "status" in inner:
            yield _row(name, inner)
        elif isinstance(inner, Mapping):
            yield from walk_leaves(inner, name)
        elif isinstance(inner, list):
            yield from walk_leaves({str(i): item for i, item in enumerate(inner) if isinstance(item, Mapping)}, name)


def count_statuses(rows: Iterable[SourceRow]) -> dict[str, int]:
    """Return how many numbers have each status, all statuses present."""
    counts = Counter(row.status for row in rows)
    return {status: counts[status] for status in (*STATUSES, *sorted(set(counts) - set(STATUSES)))}


def list_papers(rows: Iterable[SourceRow]) -> list[str]:
    """Return the keys of the papers used, each once, in alphabetical order."""
    keys = {key.strip() for row in rows for key in row.source.split(",")}
    return sorted(keys - {"none", ""})


def read_references() -> dict[str, str]:
    """Return the shipped references, BibTeX by key."""
    text = (configs_dir() / "references.bib").read_text(encoding="utf-8")
    entries = {}
    for entry in re.split(r"(?m)^(?=@)", text):
        match = re.match(r"@\w+\{([^,\s]+),", entry)
        if match:
            entries[match.group(1)] = entry.strip() + "\n"
    return entries


def write_bibtex(papers: Iterable[str]) -> str:
    """Return the BibTeX entries of the given keys from the shipped references."""
    entries = read_references()
    return "\n".join(entries.get(key, f"% {key}: not in references.bib\n") for key in papers)


def collect_sources(experiment: Any) -> dict[str, Any]:
    """Return counts by status, papers used and every number, for the manifest."""
    rows = collect_rows(experiment)
    return {
        "counts": count_statuses(rows),
        "papers": list_papers(rows),
        "numbers": {row.name: {k: v for k, v in asdict(row).items() if k != "name"} for row in rows},
    }


def _plain(thing: Any) -> Mapping[str, Any]:
    """Return the numbers of a parameter set (`plain()`), or of a drug or patient file (`mapping`)."""
    found = thing.plain() if hasattr(thing, "plain") else getattr(thing, "mapping", thing)
    return found if isinstance(found, Mapping) else {}


def collect_rows(experiment: Any) -> list[SourceRow]:
    """Return a row for each number that an experiment uses: parameters, overrides of arms, patient, drugs."""
    common = _plain(experiment.parameters)
    rows = list(walk_leaves(common))
    known = set(rows)
    for arm in experiment.arms:
        own = walk_leaves(_plain(experiment.arm_parameters(arm)))
        rows += [replace(row, name=f"arms.{arm}.{row.name}") for row in own if row not in known]
    rows += walk_leaves(_plain(experiment.patient), "patient")
    for name, drug in experiment.drugs.items():
        rows += walk_leaves(_plain(drug), f"drugs.{name}")
    for entry in getattr(experiment, "spread", ()):
        leaf = {"value": entry.cv, "range": None} | {key: entry.written.get(key) for key in ("status", "source", "note")}
        rows.append(_row(f"spread.{entry.name}.cv", leaf))
    return rows
