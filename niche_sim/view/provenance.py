"""The numbers of a result with their sources, and the papers as a list of references, ready to be shown."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from niche_sim.errors import InputError
from niche_sim.store.sources import read_references
from niche_sim.units import split

ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", "c": "\u0327", "v": "\u030c"}
_BRACED = r"((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)"


def _split_unit(text: str) -> tuple[str, str]:
    """Return a number as written and its unit, "1" for a plain number; words stay as they are."""
    try:
        _, unit = split(text)
    except InputError:
        return text, ""
    return text[: len(text) - len(unit)].strip() if unit else text, unit or "1"


def list_numbers(sources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one mapping a number of a manifest's `sources`: name, value, unit, range, status, papers, note."""
    rows = []
    for name, row in sources["numbers"].items():
        value, unit = _split_unit(row["value"])
        bounds = [_split_unit(bound) for bound in row["range"]]
        same = all(its == unit for _, its in bounds)  # else the bounds keep their units
        written = [number for number, _ in bounds] if same else row["range"]
        papers = [key.strip() for key in row["source"].split(",") if key.strip() not in ("", "none")]
        rows.append({
            "name": name, "value": value, "unit": unit, "range": " – ".join(written), "status": row["status"],
            "papers": papers, "note": row["note"],
        })  # fmt: skip
    return rows


def _plain(text: str) -> str:
    """Return a text of BibTeX without its commands: accents as letters, no braces."""
    text = re.sub(r"\\([\"'`^~cv])\s*\{?([A-Za-z])\}?", lambda found: found[2] + ACCENTS[found[1]], text)
    text = re.sub(r"\\([%&_#$])", r"\1", text).replace("---", "–").replace("--", "–").replace("~", " ")
    return unicodedata.normalize("NFC", re.sub(r"[{}]", "", re.sub(r"\s+", " ", text))).strip()


def _cite(entry: str) -> dict[str, str]:
    fields = {name.lower(): _plain(value) for name, value in re.findall(r"(\w+)\s*=\s*\{" + _BRACED + r"\}", entry)}
    authors = fields.get("author", "").replace(" and others", " et al.").replace(" and ", "; ")
    where = " ".join(part for part in (fields.get("journal") or fields.get("booktitle") or fields.get("publisher", ""),
                     fields.get("volume", "")) if part)  # fmt: skip
    where += f":{fields['pages']}" if fields.get("pages") else ""
    year = f"({fields['year']})" if fields.get("year") else ""
    parts = [f"{authors} {year}".strip(), fields.get("title", ""), where]
    text = ". ".join(part.rstrip(".") for part in parts if part)
    return {"text": text + "." if text else "", "doi": fields.get("doi", ""), "note": fields.get("note", "")}


def list_references(keys: Iterable[str]) -> list[dict[str, str]]:
    """Return one mapping a paper: key, text, doi, note; of a key that is not shipped the key alone."""
    entries = read_references()
    found = []
    for key in keys:
        cited = _cite(entries[key]) if key in entries else {"text": "not in the shipped references", "doi": "", "note": ""}
        found.append({"key": key, **cited})
    return found
