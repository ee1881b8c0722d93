"""Writing a result: every file under a hidden name first, the manifest last, then one rename."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from niche_sim.errors import InputError
from niche_sim.store import arrays, manifest, tables
from niche_sim.store.folder import Reservation, reserve, write_file
from niche_sim.store.reading import digest_result
from niche_sim.store.sources import collect_sources


def dump_yaml(mapping: dict[str, Any]) -> bytes:
    """Return a mapping as YAML text, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.representer.ignore_aliases = lambda *_: True  # the gate refuses anchors
    yaml.width = 110
    buffer = io.BytesIO()
    yaml.dump(mapping, buffer)
    return buffer.getvalue()


def write_yaml(mapping: dict[str, Any]) -> str:
    """Return a resolved experiment as a file of its own, as `resolved.yaml` of a result, under a line that says what it is.

    The image of an image scene is not in it: the file names it by its path.
    """
    from niche_sim import __version__

    head = f"# An experiment of niche_sim {__version__}, every number resolved; `niche-sim run` on this file runs it.\n"
    return head + dump_yaml(mapping).decode()


def _table(run: Any, name: str) -> Any:
    import pandas as pd

    frames = [getattr(arm, name) for arm in run.arms.values()]
    kept = [frame for frame in frames if len(frame)] or frames[:1]
    return pd.concat(kept, ignore_index=True)


def _voxel_um(experiment: Any) -> float | None:
    size = getattr(getattr(experiment, "scene", None), "voxel_um", None)
    return None if size is None else float(size)


def bundle_image(configuration: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the configuration with the image of its scene beside it, and that image; unchanged without one.

    A result then runs again wherever it is moved, and its configuration has one hash in every folder.
    """
    scene = configuration.get("scene")
    if not isinstance(scene, dict) or scene.get("kind") != "image":
        return configuration, {}
    source = Path(scene["file"])
    name = f"scene{source.suffix.lower()}"
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InputError(f"{source}: the image of the scene can no longer be read: {error.strerror}") from error
    return configuration | {"scene": scene | {"file": name}}, {name: content}


def encode_configuration(experiment: Any) -> dict[str, bytes]:
    """Return `resolved.yaml` and the image of the scene, if any: the files from which a run can be made again."""
    configuration, image = bundle_image(experiment.resolved())
    return image | {"resolved.yaml": dump_yaml(configuration)}


def hash_run(run: Any) -> str:
    """Return the hash that the result of a run has once it is written, see `hash_result`."""
    frames = {name: tables.encode_table(_table(run, name)) for name in tables.TABLES}
    states = {name: arm.final_hash_arrays for name, arm in run.arms.items()}
    return digest_result({name: tables.decode_table(content) for name, content in frames.items()}, states)


def encode_run(run: Any, experiment: Any) -> tuple[dict[str, bytes], str, dict[str, Any]]:
    """Return the files of a result, path -> bytes, the result's hash, and the resolved configuration."""
    for arm in run.arms:
        if not arm or arm.startswith((".", "__")) or set(arm) & set('/\\:*?"<>|\0'):
            raise InputError(f"arms.{arm}: cannot be the name of a folder; use letters, digits, _ and -")
    frames = {name: _table(run, name) for name in tables.TABLES}
    states = {name: arm.final_hash_arrays for name, arm in run.arms.items()}
    files = {f"{name}.parquet": tables.encode_table(frame) for name, frame in frames.items()}
    configuration, image = bundle_image(experiment.resolved())
    files |= image | {"resolved.yaml": dump_yaml(configuration)}
    voxel_um = _voxel_um(experiment)
    fields = {name: (arm.field_times_h, arm.fields) for name, arm in run.arms.items()}
    maps = {name: (arm.map_times_h, arm.maps) for name, arm in run.arms.items()}
    groups = {
        "fields.zarr": arrays.encode_snapshots(fields, voxel_um=voxel_um, exact=False),
        "maps.zarr": arrays.encode_snapshots(maps, voxel_um=voxel_um, exact=True),
        "final_state.zarr": arrays.encode_state(states),
    }
    files |= {f"{group}/{key}": content for group, parts in groups.items() for key, content in parts.items()}
    # The hash is of what a reader will see, so the tables take the way through the file.
    seen = {name: tables.decode_table(files[f"{name}.parquet"]) for name in tables.TABLES}
    return files, digest_result(seen, states), configuration


def _stamp(moment: datetime | None) -> str:
    return (moment or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def build_manifest(
    run: Any, experiment: Any, files: dict[str, bytes], result_hash: str, configuration: dict[str, Any], *, threads: int,
    started: datetime | None, ended: datetime | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the manifest of a run whose files are `files`."""
    return {
        "format": manifest.RUN_FORMAT,
        "schema_version": manifest.SCHEMA_VERSION,
        "name": str(experiment.name),
        "title": str(getattr(experiment, "title", "") or ""),
        "seed": int(experiment.seed),
        "arms": list(run.arms),
        "configuration": configuration,
        "configuration_sha256": manifest.sha256(files["resolved.yaml"]),
        "result_hash": result_hash,
        "sources": collect_sources(experiment),
        "versions": manifest.list_versions(),
        "host": manifest.describe_host(),
        "threads": int(threads),
        "timings_s": {name: float(seconds) for name, seconds in run.timings.items()},
        "started_utc": _stamp(started),
        "ended_utc": _stamp(ended),
        "checksums": {name: manifest.sha256(content) for name, content in files.items()},
        "sizes": {name: len(content) for name, content in files.items()},
    }


def _fill(partial: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for name, content in files:
        write_file(partial / name, content)


def write_result(
    directory: Path, run: Any, experiment: Any, *, threads: int = 1, started: datetime | None = None,
    ended: datetime | None = None, place: Reservation | None = None,
) -> None:  # fmt: skip
    """Write a finished run into a results folder that appears whole or not at all.

    Parameters
    ----------
    directory : Path
        The folder to create; its parents are created too.
    run, experiment
        The run and the resolved experiment.
    threads : int
        Threads that were used, for the manifest.
    started, ended : datetime, optional
        Exact begin and end, for the manifest.
    place : Reservation, optional
        The folder reserved before the run; reserved now if not given.

    Raises
    ------
    InputError
        The folder exists and is not empty.
    ResourceError
        The disk is full or refuses; the hidden folder is removed and nothing else is touched.
    """
    ended = ended or datetime.now(UTC)
    with place or reserve(directory) as place:
        files, result_hash, configuration = encode_run(run, experiment)
        content = build_manifest(
            run, experiment, files, result_hash, configuration, threads=threads, started=started, ended=ended
        )
        _fill(place.partial, files.items())
        write_file(place.partial / manifest.NAME, manifest.seal(content))
        place.publish()
