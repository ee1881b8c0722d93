"""Sub-models from file to results folder: recognise, check, run, write."""

import io
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from niche_sim.config.problems import ConfigError, Problem, suggest
from niche_sim.config.reader import Document, read_document
from niche_sim.config.report import Report
from niche_sim.errors import InputError
from niche_sim.store.folder import reserve, write_file
from niche_sim.store.manifest import NAME, SCHEMA_VERSION, SUBMODEL_FORMAT, describe_host, list_versions, seal, sha256
from niche_sim.store.writing import dump_yaml
from niche_sim.submodels.base import SubModel, Tables
from niche_sim.submodels.finding import MODELS
from niche_sim.units import quote


def _apply(document: Document, settings: Sequence[str], seed: int | None, length: str | None) -> None:
    """Put `name=value` settings, and the seed, into the data of a file; names are keys joined by dots."""
    if length is not None:
        raise InputError("--length: a sub-model's file has its own times; use --set KEY=VALUE")
    if seed is not None:
        document.data["seed"] = seed
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise InputError(f"--set: expected name=value, not {quote(setting)}")
        *path, last = name.split(".")
        owner = document.data
        for key in path:
            owner = owner.get(key) if isinstance(owner, dict) else None
        if not isinstance(owner, dict):
            raise InputError(f"--set {name}: there is no such key in this file")
        try:
            owner[last] = json.loads(value)
        except (ValueError, RecursionError):
            owner[last] = value


def read_spec(
    path: str | os.PathLike[str], settings: Sequence[str] = (), seed: int | None = None, length: str | None = None
) -> tuple[ModuleType, SubModel, dict[str, Any]]:
    """Return the module of a sub-model, its checked specification and the mapping as written.

    Raises
    ------
    ConfigError
        An InputError with every mistake of the file.
    """
    document = read_document(os.fspath(path), lenient=True)
    report = Report(document)
    if not isinstance(document.data, dict):
        report.fail((), "type", "expected the file of a sub-model: model: ..., name: ...")
        report.raise_problems()
    _apply(document, settings, seed, length)
    model = document.data.get("model")
    if model not in MODELS:
        report.fail(("model",), "value", f"unknown sub-model {quote(model)}{suggest(str(model), MODELS)}")
        report.raise_problems()
    module = import_module(f"niche_sim.submodels.{model}")
    spec = report.check_model(module.Spec)
    if spec is not None:
        spec.put_beside(Path(path).resolve().parent)
        for where, message in module.check(spec):
            report.add(tuple(where), "value", message)
    report.raise_problems()
    assert spec is not None
    return module, spec, document.data


def check_submodel(path: str) -> list[Problem]:
    """Return every mistake of the file of a sub-model."""
    try:
        read_spec(path)
    except ConfigError as error:
        return error.problems
    except InputError as error:
        return [Problem(path, None, None, "", "file", str(error))]
    return []


def encode_tables(tables: Tables) -> dict[str, bytes]:
    """Return each table as CSV; floats have every digit, so that a file read back is the same number."""
    files = {}
    for name, frame in tables.items():
        text = io.StringIO()
        frame.to_csv(text, index=False, lineterminator="\n")
        files[f"{name}.csv"] = text.getvalue().encode()
    return files


def run_submodel(
    path: Path, target: Path, settings: Sequence[str], seed: int | None, length: str | None,
    progress: Callable[[float], None],
) -> list[str]:  # fmt: skip
    """Run the sub-model of a file into a new results folder; return what to tell the user.

    Raises
    ------
    InputError
        A mistake in the file, or a folder that cannot be used.
    ResourceError
        The disk is full, or the sub-model met its own ceiling.
    """
    module, spec, mapping = read_spec(path, settings, seed, length)
    started = datetime.now(UTC)
    with reserve(target) as place:
        try:
            tables = module.run(spec, progress)
        except InputError as error:  # what only shows when it is run, such as a formula that divides by nothing
            raise InputError(f"{path}: {error}") from None
        files = encode_tables(tables) | {"resolved.yaml": dump_yaml(mapping)}
        for name in _list_inputs(spec):
            files[name] = (spec.beside / name).read_bytes()
        digest = sha256("".join(sorted(sha256(files[f"{name}.csv"]) + name for name in tables)).encode())
        columns = module.describe_columns(spec) if hasattr(module, "describe_columns") else module.COLUMNS
        manifest: dict[str, Any] = {
            "format": SUBMODEL_FORMAT, "schema_version": SCHEMA_VERSION, "name": spec.name, "title": spec.title,
            "model": spec.model, "seed": spec.seed, "arms": [], "configuration": mapping,
            "configuration_sha256": sha256(files["resolved.yaml"]), "result_hash": digest,
            "scheme": getattr(module, "SCHEME", ""), "versions": list_versions(), "host": describe_host(),
            "columns": {t: {c: {"unit": u, "meaning": m} for c, (u, m) in cs.items()} for t, cs in columns.items()},
            "started_utc": started.isoformat(timespec="milliseconds"),
            "ended_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "checksums": {name: sha256(content) for name, content in files.items()},
            "sizes": {name: len(content) for name, content in files.items()},
        }  # fmt: skip
        for name, content in files.items():
            write_file(place.partial / name, content)
        write_file(place.partial / NAME, seal(manifest))
        place.publish()
    lines = [f"{name}.csv: {len(frame):,} rows: {', '.join(map(str, frame.columns))}" for name, frame in tables.items()]
    told = module.describe(tables) if hasattr(module, "describe") else []
    return [*told, *lines, f"results: {target}"]


def _list_inputs(spec: SubModel) -> list[str]:
    """Return the files beside the specification that it reads; they travel with the result."""
    found = getattr(spec, "list_inputs", None)
    return [name for name in found() if name == Path(name).name] if found else []
