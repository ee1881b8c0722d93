"""The folder of a cohort: `markers.parquet`, `patients.csv`, `summary.csv`, `resolved.yaml`, `manifest.json`.

Where patients have tumours also `lesions.parquet`, `tumours.parquet`, `tumour_summary.csv`.
"""

import hashlib
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from niche_sim.errors import InputError
from niche_sim.store import manifest, tables
from niche_sim.store.folder import Reservation, write_file
from niche_sim.store.sources import collect_sources
from niche_sim.store.writing import encode_configuration

TUMOUR_FILES = ("lesions.parquet", "tumours.parquet", "tumour_summary.csv")


def _encode_csv(frame: pd.DataFrame) -> bytes:
    text = io.StringIO()
    frame.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue().encode()


def digest_cohort(held: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the tables from which all else in the folder of a cohort follows: markers, tumours if any."""
    parts = [tables.digest_table(held[name]) for name in ("markers", "lesions", "tumours") if name in held]
    return hashlib.sha256(b"".join([b"niche_sim cohort 1", *parts])).hexdigest()


def write_cohort(
    place: Reservation, cohort: Any, experiment: Any, *, niches: int, jobs: int, started: datetime, ended: datetime
) -> None:
    """Write a finished cohort into the folder reserved for it, which appears whole or not at all.

    Raises
    ------
    InputError
        Something has appeared under its name.
    ResourceError
        The disk is full or refuses.
    """
    files = {
        "markers.parquet": tables.encode_table(cohort.markers), "patients.csv": _encode_csv(cohort.patients),
        "summary.csv": _encode_csv(cohort.summary), **encode_configuration(experiment),
    }  # fmt: skip
    if cohort.tumours is not None:
        files["lesions.parquet"] = tables.encode_table(cohort.tumours.lesions)
        files["tumours.parquet"] = tables.encode_table(cohort.tumours.visits)
        files["tumour_summary.csv"] = _encode_csv(cohort.tumours.summary)
    seconds = (ended - started).total_seconds()
    about: dict[str, Any] = {
        "format": manifest.COHORT_FORMAT, "schema_version": manifest.SCHEMA_VERSION, "name": experiment.name,
        "title": experiment.title, "seed": experiment.seed, "arms": list(experiment.arms), "reference": cohort.reference,
        "patients": len(cohort.patients), "niches": niches, "baseline_h": cohort.baseline_h,
        "configuration": experiment.resolved(), "configuration_sha256": manifest.sha256(files["resolved.yaml"]),
        "tumours": cohort.tumours.number if cohort.tumours is not None else 0,
        "result_hash": digest_cohort(_decode(files)),
        "sources": collect_sources(experiment), "versions": manifest.list_versions(), "host": manifest.describe_host(),
        "threads": jobs, "timings_s": {"total_s": seconds},
        "started_utc": started.isoformat(timespec="milliseconds"), "ended_utc": ended.isoformat(timespec="milliseconds"),
        "checksums": {name: manifest.sha256(content) for name, content in files.items()},
        "sizes": {name: len(content) for name, content in files.items()},
    }  # fmt: skip
    for name, content in files.items():
        write_file(place.partial / name, content)
    write_file(place.partial / manifest.NAME, manifest.seal(about))
    place.publish()


def _decode(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the tables of the files of a cohort, by the names of the files without their endings."""
    found: dict[str, Any] = {}
    for name, content in files.items():
        stem, _, kind = name.partition(".")
        if kind == "parquet":
            found[stem] = tables.decode_table(content)
        elif stem.endswith("summary"):
            found[stem] = pd.read_csv(io.BytesIO(content))
    return found


def load_cohort(directory: Path) -> dict[str, Any]:
    """Return `manifest`, and the tables `markers` and `summary`, of a cohort's folder.

    Where patients have tumours also `lesions`, `tumours` and `tumour_summary`.

    Raises
    ------
    InputError
        It is no cohort's folder, or a table is not as it was written.
    """
    about = manifest.read_manifest(directory)
    if about["format"] != manifest.COHORT_FORMAT:
        raise InputError(f"{directory}: holds no cohort; `niche-sim cohort` makes one")
    contents = {}
    for name in ("markers.parquet", "summary.csv", *(TUMOUR_FILES if about.get("tumours") else ())):
        contents[name] = manifest.read_plain_file(directory / name)
        if manifest.sha256(contents[name]) != about["checksums"].get(name):
            raise InputError(f"{directory / name}: was changed after it was written (its checksum does not match)")
    return {"manifest": about, **_decode(contents)}
