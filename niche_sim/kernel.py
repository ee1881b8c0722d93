"""The one decorator of all compiled code, and the folder of numba's disk cache.

Numba's cache checks the source file of the function that is called, not of the functions it calls, so an
edited callee can be served stale through an unedited caller. The cache folder is therefore named by the
hash of all sources of the package: any edit starts a new cache. It is set before any decorator runs.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.registry import CPUDispatcher

_TEMPORARY = "niche_sim-cache-"


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
    # A read-only home still deserves a cache for this process and those that it starts; it goes with it.
    base = tempfile.mkdtemp(prefix=_TEMPORARY)
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    os.environ["NICHE_SIM_CACHE"] = base
    folder = Path(base) / "niche_sim" / hash_sources()
    folder.mkdir(parents=True)
    return folder


CACHE_FOLDER = choose_cache_folder()
numba.config.CACHE_DIR = str(CACHE_FOLDER)  # type: ignore[attr-defined]


class _Inner(CPUDispatcher):
    """A compiled function without a door to Python: called from there, it runs as the plain Python it was written in."""

    def __call__(self, *arguments: Any, **names: Any) -> Any:
        return self.py_func(*arguments, **names)


# No reference counts: kernels allocate nothing, and counting the arrays of a state costs more than the work on a voxel.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}


def kernel(function: Callable) -> Any:
    """Compile `function` without the GIL, cached on disk, with strict IEEE arithmetic; it cannot allocate arrays."""
    return njit(**OPTIONS)(function)


def inner(function: Callable) -> Any:
    """Compile as `kernel` does, for other kernels only: to unpack a whole state from Python takes half of compile time."""
    compiled = njit(no_cpython_wrapper=True, **OPTIONS)(function)  # type: ignore[call-overload]
    if isinstance(compiled, CPUDispatcher):  # not where numba is told to leave Python alone
        compiled.__class__ = _Inner
    return compiled


def is_temporary() -> bool:
    """Tell whether compiled code is lost with this process, because no cache folder can be written."""
    return CACHE_FOLDER.parents[1].name.startswith(_TEMPORARY)


def is_compiled() -> bool:
    """Tell whether the whole-run kernel is already in the disk cache."""
    return any(CACHE_FOLDER.rglob("*schedule.advance*.nbi"))
