"""The place of a result on disk: checked before the run, filled under a hidden name, renamed at the end."""

import errno
import os
import shutil
import stat
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from niche_sim.errors import InputError, NicheSimError, ResourceError

try:
    import fcntl
except ImportError:  # Windows: the hidden folder's name holds the process number; only the lock is missing
    fcntl = None  # type: ignore[assignment]

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DEVICE_NAMES = {"con", "prn", "aux", "nul"} | {f"{port}{k}" for port in ("com", "lpt") for k in range(1, 10)}


def explain(error: OSError, path: Path, size: int | None = None) -> NicheSimError:
    """Return the error a user should see for a failed file operation, naming the file and its bytes."""
    reason = error.strerror or str(error)
    amount = "" if size is None else f" ({size:,} bytes)"
    if error.errno in _FULL:
        return ResourceError(f"{path}: no room on the disk for this file{amount}: {reason}")
    return ResourceError(f"{path}: cannot write{amount}: {reason}")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise InputError(f"{path}: {reason}")


def check_target(directory: Path) -> Path:
    """Return the absolute path of a results folder that may be created, without touching the disk.

    Raises
    ------
    InputError
        The path is a file, a device, a dangling link, a reserved name, the current folder, or not empty.
    """
    directory = Path(directory)
    if "\0" in str(directory):
        raise InputError("the results folder's name holds a NUL byte; give a plain name")
    if any(part.split(".")[0].lower() in _DEVICE_NAMES for part in directory.parts):
        _refuse(directory, "holds a name reserved for a device; choose another results folder")
    try:
        target = directory.resolve()
        if directory.is_symlink() and not target.exists():
            _refuse(directory, "is a link to nothing; choose another results folder")
        _check_existing(directory, target)
    except (OSError, RuntimeError) as error:  # too long a name, a loop of links, a parent that cannot be read
        raise InputError(f"{directory}: cannot be a results folder: {error}") from error
    return target


def _check_existing(directory: Path, target: Path) -> None:
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                _refuse(directory, f"cannot be created: {parent} is not a folder")
            break
    if not target.exists():
        return
    mode = target.stat().st_mode
    if not stat.S_ISDIR(mode):
        kind = "a file" if stat.S_ISREG(mode) else "a device or pipe"
        _refuse(directory, f"is {kind}, not a folder; choose another results folder")
    if any(target.iterdir()):
        _refuse(directory, "already exists and is not empty; choose another folder or remove it")
    if target == Path.cwd():
        _refuse(directory, "is the current folder; name a new one")


class Reservation:
    """A results folder that this process alone may create.

    Attributes
    ----------
    target : Path
        The final name, free when reserved.
    partial : Path
        The hidden sibling in which everything is written.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.partial = target.parent / f".{target.name}.partial-{os.getpid()}"
        self._lock_path = target.parent / f".{target.name}.lock"
        self._lock: int | None = None
        self._held = False

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self) -> None:
        """Lock the name, sweep what dead runs left, make the hidden folder.

        Raises
        ------
        InputError
            Another living run is writing to the same name.
        ResourceError
            The parent folder cannot be written.
        """
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._lock_name()
            self._held = True
            for stale in self.target.parent.glob(f".{_escape(self.target.name)}.partial-*"):
                shutil.rmtree(stale, ignore_errors=True)
            self.partial.mkdir()
        except OSError as error:
            self.release()
            raise explain(error, self.target) from error

    def _lock_name(self) -> None:
        if fcntl is None:
            return
        while True:
            handle = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(handle)
                raise InputError(f"{self.target}: another run is writing this results folder") from error
            # A finishing run may have unlinked the file between our open and our lock: then try again.
            try:
                if os.stat(self._lock_path).st_ino == os.fstat(handle).st_ino:
                    self._lock = handle
                    return
            except FileNotFoundError:
                pass
            os.close(handle)

    def publish(self) -> None:
        """Give the finished hidden folder its final name, durably.

        Raises
        ------
        InputError
            Something has appeared under the final name since it was reserved.
        """
        check_target(self.target)
        try:
            sync_folders(self.partial)
            if self.target.exists():
                self.target.rmdir()  # empty, as just checked; os.replace needs this on Windows
            os.replace(self.partial, self.target)
            sync_folder(self.target.parent)
        except OSError as error:
            raise explain(error, self.target) from error

    def release(self) -> None:
        """Remove what is unfinished and give the name back; safe to call twice."""
        if not self._held:
            return
        self._held = False
        shutil.rmtree(self.partial, ignore_errors=True)
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def reserve(directory: Path) -> Reservation:
    """Reserve a results folder before a run; use it as a context manager.

    Raises
    ------
    InputError
        The folder exists and is not empty, cannot be a folder, or another run is writing it.
    ResourceError
        The disk refuses.
    """
    reservation = Reservation(check_target(directory))
    reservation.take()
    return reservation


def write_file(path: Path, content: bytes) -> None:
    """Write one file durably.

    Raises
    ------
    ResourceError
        The disk is full or refuses; the message names the file and its bytes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise explain(error, path, len(content)) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write one file durably in the place of an older one, which stays whole if anything fails.

    Raises
    ------
    ResourceError
        The disk is full or refuses.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        write_file(fresh, content)
        os.replace(fresh, path)
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, path, len(content)) from error
    finally:
        fresh.unlink(missing_ok=True)  # there only if it did not come to the replacement


def sync_folder(folder: Path) -> None:
    """Make the entries of one folder durable."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folders(top: Path) -> None:
    """Make the entries of a folder and of all folders inside it durable."""
    for folder, _, _ in os.walk(top, topdown=False):
        sync_folder(Path(folder))
