"""The manifest: what was run, with what, on what, and the checksum of every file beside it."""

import hashlib
import json
import os
import platform
import stat
from importlib import metadata
from pathlib import Path
from typing import Any

from niche_sim.errors import InputError

SCHEMA_VERSION = 1
RUN_FORMAT, SUBMODEL_FORMAT, COHORT_FORMAT = "niche_sim result", "niche_sim sub-model", "niche_sim cohort"
NAME, STUDY_NAME = "manifest.json", "study.json"
_LARGEST = 256 << 20
_PACKAGES = (
    "niche-sim", "numpy", "numba", "llvmlite", "pandas", "scipy", "pyarrow", "zarr", "numcodecs",
    "pydantic", "pint", "ruamel.yaml", "matplotlib",
)  # fmt: skip
_REQUIRED = {
    "checksums": dict, "configuration": dict, "name": str, "seed": int, "arms": list, "result_hash": str,
    "sizes": dict, "manifest_sha256": str,
}  # fmt: skip


def list_versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that can change a number."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_host() -> dict[str, Any]:
    """Return what kind of machine this is; no host name, user name or path."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python_implementation": platform.python_implementation(),
    }


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def seal(manifest: dict[str, Any]) -> bytes:
    """Return the manifest as JSON text that carries its own checksum."""
    body = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return _dump({**body, "manifest_sha256": sha256(_dump(body))})


def _dump(mapping: dict[str, Any]) -> bytes:
    text = json.dumps(mapping, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_plain_file(path: Path, largest: int | None = None) -> bytes:
    """Return the bytes of a regular file; links, pipes, devices and folders are refused.

    Raises
    ------
    InputError
        The file is missing, of another kind, too large or unreadable.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a plain file")
        if largest is not None and status.st_size > largest:
            raise InputError(f"{path}: {status.st_size:,} bytes are more than a manifest can have")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest of a results folder.

    Raises
    ------
    InputError
        The folder is no result, or its manifest was damaged, edited or written by another version.
    """
    directory = Path(directory)
    if "\0" in str(directory) or not directory.exists():
        raise InputError(f"{directory}: no such results folder")
    if not directory.is_dir():
        raise InputError(f"{directory}: not a results folder, but a file")
    path = directory / NAME
    if not os.path.lexists(path) and (directory / STUDY_NAME).is_file():
        raise InputError(f"{directory}: is the folder of a study; `niche-sim study summary {directory}` tells what it found")
    if not os.path.lexists(path):
        raise InputError(f"{directory}: not a results folder: it has no {NAME}")
    content = read_plain_file(path, _LARGEST)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a manifest: {error}") from error
    _check(path, manifest, content)
    return manifest


def _check(path: Path, manifest: Any, content: bytes) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") not in (RUN_FORMAT, SUBMODEL_FORMAT, COHORT_FORMAT):
        raise InputError(f"{path}: not the manifest of a niche_sim result")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version")
        raise InputError(f"{path}: schema version {found!r}; this niche_sim reads version {SCHEMA_VERSION}")
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise InputError(f"{path}: missing or wrong: {', '.join(wrong)}")
    try:
        sealed = seal(manifest)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a manifest: {error}") from error
    if sealed != content:
        raise InputError(f"{path}: was changed after it was written (its checksum does not match)")
    unsafe = [name for name in manifest["checksums"] if not _is_inside(name)]
    if unsafe:
        raise InputError(f"{path}: names a file outside the results folder: {unsafe[0]}")


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and "\\" not in name
