"""The one decorator of all compiled code, and the folder of numba's disk cache.

Numba's cache checks the source file of the function that is called, not of the functions it calls, so an
edited callee can be served stale through an unedited caller. The cache folder is therefore named by the
hash of all sources of the package: any edit starts a new cache. It is set before any decorator runs.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit


def hash_sources() -> str:
    """Return a short hash over the name and content of every Python file of the package."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def choose_cache_folder() -> Path:
    """Return a writable folder for compiled code, unique to these sources."""
    base = os.environ.get("NICHE_SIM_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "niche_sim" / hash_sources()
    if _usable(folder):
        return folder
    # A read-only home still deserves a cache for this process and its children.
    return Path(tempfile.mkdtemp(prefix="niche_sim-cache-"))


CACHE_FOLDER = choose_cache_folder()
numba.config.CACHE_DIR = str(CACHE_FOLDER)  # type: ignore[attr-defined]


def kernel(function: Callable) -> Any:
    """Compile `function` without the GIL, cached on disk, with strict IEEE arithmetic."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


def inlined(function: Callable) -> Any:
    """Compile as `kernel` does, and dissolve into every caller: for what runs once a voxel and takes the whole state.

    Passing the state costs some hundred arguments a call, which is nothing once a tick and everything once a voxel.
    """
    return njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function)


def is_compiled() -> bool:
    """Tell whether the whole-run kernel is already in the disk cache."""
    return any(CACHE_FOLDER.rglob("*schedule.advance*.nbi"))
