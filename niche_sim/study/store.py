"""The folder of a study: what was asked, sealed; and every batch of results in one file that appears whole or not at all.

    DIR/study.yaml        the study, every number resolved: a study file of its own
    DIR/study.json        the manifest: hashes of study, sources and the files here, versions, number of runs; sealed
    DIR/design.parquet    the points
    DIR/index.parquet     every run that is planned, once: its key, what it is, the batch it is in
    DIR/runs/*.parquet    the results, one file a batch, one row a run; any program may read them while the study runs

The bytes of a batch follow from its runs alone: not from who ran it, when, or in which order. The name of its file ends in
the checksum of its content, so a damaged file is known before it is decoded, and is run again. Beside these there may be
tables, figures and reports, which are made of them and have no checksums.
"""

import errno
import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from niche_sim.errors import InputError
from niche_sim.store.folder import explain, fcntl, sync_folder, write_file
from niche_sim.store.manifest import read_plain_file, seal, sha256
from niche_sim.store.reading import Problem
from niche_sim.store.tables import digest_table, encode_table, unit_of
from niche_sim.study.spec import Batch, RunSpec, Study, load_study
from niche_sim.study.work import FAILED, Task, compare_versions, make_work

STUDY_FORMAT, SCHEMA_VERSION, NAME = "niche_sim study", 1, "study.json"
LOCK = ".lock"
_CHECKSUM = 16  # digits of the SHA-256 in the name of a batch's file
_OWN = {NAME, f".{NAME}.new", "study.yaml", "design.parquet", "index.parquet", "runs", LOCK}


@dataclass(frozen=True)
class Status:
    """How far a study is: runs `planned`, `done` and `failed`, all by their number; `driver` is the process that drives it.

    `rate` is runs an hour since that driver, or the last one, began; `hours_left` at that rate. Both are None if not known.
    """

    name: str
    planned: int
    done: int
    failed: int
    batches: int
    batches_written: int
    bytes_written: int
    driver: int | None
    rate: float | None
    hours_left: float | None

    @property
    def missing(self) -> int:
        """Runs that have neither a result nor an error yet."""
        return self.planned - self.done - self.failed


def is_study(directory: Path) -> bool:
    """Tell whether a folder is that of a study."""
    return (Path(directory) / NAME).is_file()


def encode_batch(study: Study, frame: pd.DataFrame) -> bytes:
    """Return the rows of a batch as Parquet; equal rows are equal bytes."""
    columns = {endpoint.name: endpoint for endpoint in study.endpoints}
    fields = []
    for name in frame.columns:
        kind = {"point": pa.int64(), "replicate": pa.int64()}.get(name, pa.float64() if name in columns else pa.string())
        fields.append(pa.field(name, kind, metadata={"unit": _unit(columns[name]) if name in columns else "name"}))
    table = pa.Table.from_pandas(frame, pa.schema(fields), preserve_index=False).replace_schema_metadata(
        {"study": study.name, "failed": str(int((frame["status"] == FAILED).sum()))}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _unit(endpoint: Any) -> str:
    return "h" if endpoint.take.startswith("first_") else unit_of(endpoint.column)


class StudyFolder:
    """The folder of one study.

    Attributes
    ----------
    directory : Path
    manifest : dict
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory, self.manifest = directory, manifest
        self.runs = directory / "runs"

    # ---------------------------------------------------------------- what was asked

    def load_study(self) -> Study:
        """Return the study.

        Raises
        ------
        InputError
            Its file is not as it was written.
        """
        self._read("study.yaml")
        return load_study(self.directory / "study.yaml")

    def load_design(self) -> pd.DataFrame:
        """Return the points."""
        return pd.read_parquet(io.BytesIO(self._read("design.parquet")))

    def load_index(self) -> pd.DataFrame:
        """Return every planned run once: batch, name, number, point, replicate, arm, key, spin_up."""
        return pd.read_parquet(io.BytesIO(self._read("index.parquet")))

    def list_batches(self) -> Iterator[Batch]:
        """Yield the batches, in order."""
        for (number, name), rows in self.load_index().groupby(["batch", "name"], sort=True):
            specs = rows[list(RunSpec._fields)].itertuples(index=False, name=None)
            yield Batch(int(number), tuple(RunSpec(*spec) for spec in specs), str(name))

    def _read(self, name: str) -> bytes:
        content = read_plain_file(self.directory / name)
        if sha256(content) != self.manifest["checksums"][name]:
            raise InputError(f"{self.directory / name}: was changed after it was written (its checksum does not match)")
        return content

    def check_versions(self) -> None:
        """Refuse to go on with other sources or libraries: rows of one table would come from two models.

        Raises
        ------
        InputError
            They differ; the message names what.
        """
        differing = compare_versions(self.manifest["sources"], self.manifest["versions"])
        if differing:
            raise InputError(
                f"{self.directory}: was begun with other versions: {', '.join(differing)}; go on with those, or name "
                "another --out"
            )

    # ---------------------------------------------------------------- results

    def list_files(self) -> dict[str, list[Path]]:
        """Return the files of results by the name of their batch: one each, unless something is wrong."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.runs.glob("*.parquet")):
            if not path.name.startswith("."):
                found.setdefault(path.stem.rpartition("-")[0], []).append(path)
        return found

    def missing(self, batches: Iterable[Batch], retry_failed: bool = False) -> Iterator[Batch]:
        """Yield the batches without a sound file; with `retry_failed` also those in which runs failed."""
        files = self.list_files()
        for batch in batches:
            found = files.get(batch.name, [])
            sound = len(found) == 1 and _find_damage(found[0]) is None
            if not sound or (retry_failed and _count_failed(found[0])):
                yield batch

    def write_batch(self, batch: Batch | Task, content: bytes) -> None:
        """Write the file of a batch; it appears whole or not at all, in the place of any other.

        Raises
        ------
        ResourceError
            The disk is full or refuses; what is there already stays.
        """
        path = self.runs / f"{batch.name}-{sha256(content)[:_CHECKSUM]}.parquet"
        fresh = self.runs / f".{path.name}.new"
        try:
            write_file(fresh, content)
            for old in self.runs.glob(f"{batch.name}-*.parquet"):  # damaged, or with runs that failed
                old.unlink()
            os.replace(fresh, path)
            sync_folder(self.runs)
        except OSError as error:
            raise explain(error, path, len(content)) from error
        finally:
            fresh.unlink(missing_ok=True)

    def status(self) -> Status:
        """Return how far the study is, from its files alone."""
        files = [path for paths in self.list_files().values() for path in paths[:1]]
        counts, began, recent, last = [0, 0], self._find_begin(), 0, 0.0
        for path in files:
            try:
                footer = pq.read_metadata(path)
                failed = int(footer.metadata[b"failed"])
            except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
                continue  # damaged: its runs are missing
            counts[0] += footer.num_rows - failed
            counts[1] += failed
            written = path.stat().st_mtime
            if began is not None and written >= began:
                recent, last = recent + footer.num_rows, max(last, written)
        driver = self.find_driver()
        until = time.time() if driver is not None else last
        rate = recent / (until - began) * 3600.0 if recent and began is not None and until > began else None
        left = (self.manifest["planned"] - sum(counts)) / rate if rate else None
        size = sum(path.stat().st_size for path in files)
        return Status(
            self.manifest["name"], self.manifest["planned"], counts[0], counts[1], self.manifest["batches"], len(files),
            size, driver, rate, left,
        )  # fmt: skip

    def verify(self) -> list[Problem]:
        """Return what is wrong with the files; an empty list for a sound folder, finished or not."""
        problems = []
        for name in self.manifest["checksums"]:
            try:
                self._read(name)
            except InputError as error:
                problems.append(Problem(name, str(error).removeprefix(f"{self.directory / name}: ")))
        known = None if problems else {batch.name for batch in self.list_batches()}
        for name, paths in self.list_files().items():
            for path in paths:
                place, damage = f"runs/{path.name}", _find_damage(path)
                if damage:
                    problems.append(Problem(place, f"{damage}; `niche-sim resume {self.directory}` runs its batch again"))
                elif known is not None and name not in known:
                    problems.append(Problem(place, "does not belong to this study"))
                elif len(paths) > 1:
                    problems.append(Problem(place, "is one of several results of the same batch"))
        return problems

    def hash(self) -> str:
        """Return the SHA-256 over the study, its points and the values of all its rows.

        Raises
        ------
        InputError
            A file is not as it was written, or results are missing.
        """
        problems = self.verify()
        if problems:
            raise InputError(f"{self.directory / problems[0].path}: {problems[0].message}")
        files, digest = self.list_files(), hashlib.sha256(b"niche_sim study 1")
        digest.update(f"{self.manifest['config_hash']} {self.manifest['design_hash']}".encode())
        missing = self.manifest["batches"] - len(files)
        if missing:
            raise InputError(
                f"{self.directory}: {missing} of {self.manifest['batches']} batches are missing: there is nothing to hash "
                f"yet; `niche-sim resume {self.directory}` runs them"
            )
        for name in sorted(files):
            digest.update(digest_table(pq.read_table(files[name][0]).to_pandas()))
        return digest.hexdigest()

    # ---------------------------------------------------------------- the driver

    def _find_begin(self) -> float | None:
        began = _read_lock(self.directory).get("began")
        return float(began) if isinstance(began, (int, float)) else None

    def find_driver(self) -> int | None:
        """Return the number of the living process that drives this study, if any."""
        if fcntl is None:
            return None
        try:
            handle = os.open(self.directory / LOCK, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError as error:
            return int(_read_lock(self.directory).get("pid", 0)) if error.errno in (errno.EAGAIN, errno.EACCES) else None
        finally:
            os.close(handle)


def _find_damage(path: Path) -> str | None:
    """Return what is wrong with the file of a batch, if anything."""
    try:
        content = read_plain_file(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    if sha256(content)[:_CHECKSUM] != path.stem.rpartition("-")[2]:
        return "was changed after it was written (its checksum does not match its name)"
    return None


def _count_failed(path: Path) -> int:
    return int(pq.read_metadata(path).metadata[b"failed"])


def _read_lock(directory: Path) -> dict[str, Any]:
    try:
        found = json.loads((directory / LOCK).read_bytes())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


@contextmanager
def lock_folder(directory: Path) -> Iterator[None]:
    """Be the only driver of a folder, which is made if it is not there; the lock of a driver that is dead is free.

    Raises
    ------
    InputError
        Another living process drives the study, or the folder is no place for one.
    ResourceError
        The disk refuses.
    """
    directory = Path(directory)
    _check_place(directory)
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise explain(error, path) from error
    try:
        _take(handle, directory)
        os.truncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "began": time.time()}).encode())
        for left in directory.glob("runs/.*.new"):  # of a driver that was killed
            left.unlink()
        yield
    finally:
        os.close(handle)  # and with it the lock; the file stays, for the rate of a study that is over


def _take(handle: int, directory: Path) -> None:
    for last in (False, False, False, True):  # `study status` holds the lock for an instant
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if last:
                pid = _read_lock(directory).get("pid")
                raise InputError(f"{directory}: process {pid} is running this study already") from error
            time.sleep(0.1)


def _check_place(directory: Path) -> None:
    """Refuse a folder that holds something else than a study."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file, not a folder; name another --out")
    if directory.is_dir() and not is_study(directory):
        strange = sorted({path.name for path in directory.iterdir()} - _OWN)
        if strange:
            raise InputError(f"{directory}: holds something else ({strange[0]}) and no study; name another --out")


def open_folder(directory: Path) -> StudyFolder:
    """Return the folder of a study.

    Raises
    ------
    InputError
        It is none, or its manifest was changed.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder")
    path = directory / NAME
    if not path.exists():
        raise InputError(f"{directory}: not the folder of a study: it has no {NAME}")
    content = read_plain_file(path)
    try:
        manifest = json.loads(content)
        sealed = isinstance(manifest, dict) and manifest.get("format") == STUDY_FORMAT and seal(manifest) == content
    except (ValueError, RecursionError):
        sealed = False
    if not sealed:
        raise InputError(f"{path}: is not a manifest of a study as it was written (its checksum does not match)")
    if manifest["schema_version"] != SCHEMA_VERSION:
        found = manifest["schema_version"]
        raise InputError(f"{path}: schema version {found}; this niche_sim reads version {SCHEMA_VERSION}")
    return StudyFolder(directory, manifest)


def begin_folder(directory: Path, study: Study, design: pd.DataFrame, batches: Iterable[Batch]) -> StudyFolder:
    """Make the folder of a study, or return that which is there if it is of the same study and versions.

    Parameters
    ----------
    directory : Path
    study : Study
    design : DataFrame
        Its points.
    batches : iterable of Batch
        All of them; taken only if the folder is made.

    Raises
    ------
    InputError
        The folder holds something else, another study, or was begun with other versions.
    ResourceError
        The disk is full or refuses.
    """
    directory = Path(directory)
    if is_study(directory):
        folder = open_folder(directory)
        if folder.manifest["config_hash"] != study.config_hash:
            raise InputError(_tell_difference(folder, study))
        folder.check_versions()
        return folder
    _check_place(directory)
    return _make_folder(directory, study, design, batches)


def _make_folder(directory: Path, study: Study, design: pd.DataFrame, batches: Iterable[Batch]) -> StudyFolder:
    from niche_sim.store.writing import dump_yaml

    rows = [(batch.number, batch.name, *run) for batch in batches for run in batch.runs]
    index = pd.DataFrame(rows, columns=["batch", "name", *RunSpec._fields])
    files = {
        "study.yaml": dump_yaml(_localise(study)), "design.parquet": encode_table(design),
        "index.parquet": encode_table(index),
    }  # fmt: skip
    work = make_work(study)
    manifest = {
        "format": STUDY_FORMAT, "schema_version": SCHEMA_VERSION, "name": study.name, "title": study.title,
        "config_hash": study.config_hash, "design_hash": digest_table(design).hex(), "points": len(design),
        "planned": len(index), "batches": int(index["batch"].nunique()), "sources": work.sources, "versions": work.versions,
        "begun_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "checksums": {name: sha256(content) for name, content in files.items()},
    }  # fmt: skip
    (directory / "runs").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_file(directory / name, content)
    write_file(directory / f".{NAME}.new", seal(manifest))
    os.replace(directory / f".{NAME}.new", directory / NAME)  # the last: what has no manifest is not begun yet
    sync_folder(directory)
    return open_folder(directory)


def _localise(study: Study) -> dict[str, Any]:
    """Return the resolved study; a table that it names is the design beside it."""
    resolved = study.resolved()
    if study.design.kind == "table":
        resolved["design"] = {"kind": "table", "table": "design.parquet"}
    return resolved


def _tell_difference(folder: StudyFolder, study: Study) -> str:
    """Say in which places the study of a folder is another."""
    theirs, ours = _flatten(folder.load_study().resolved()), _flatten(study.resolved())
    places = [name for name in dict.fromkeys([*ours, *theirs]) if theirs.get(name) != ours.get(name)]
    told = [f"{name} {theirs.get(name, 'absent')} -> {ours.get(name, 'absent')}" for name in places[:5]]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return f"{folder.directory}: holds another study: {', '.join(told) or 'its table'}{more}; name another --out"


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {prefix: value}
    found = {prefix: f"{len(value)} entries"} if not len(value) else {}
    for key, inner in items:
        found |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
