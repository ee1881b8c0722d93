"""The folder of a study: what was asked, sealed; and every batch of results in one file that appears whole or not at all.

    DIR/study.yaml        the study, every number resolved: a study file of its own
    DIR/study.json        the manifest: hashes of study, sources and the files here, versions, number of runs; sealed
    DIR/design.parquet    the points
    DIR/index.parquet     every combination of point, replicate and arm: the key of its run, and the batch that this is in
    DIR/scene.*           the image of the scene, if it is read from one
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
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from niche_sim.errors import InputError, ResourceError
from niche_sim.store.folder import explain, fcntl, sync_folder, write_file
from niche_sim.store.manifest import STUDY_NAME, read_plain_file, seal, sha256
from niche_sim.store.reading import Problem
from niche_sim.store.tables import digest_table, encode_table
from niche_sim.study.endpoints import find_unit
from niche_sim.study.gate import load_study
from niche_sim.study.spec import Batch, RunSpec, Study
from niche_sim.study.work import FAILED, Task, compare_versions, make_work

STUDY_FORMAT, SCHEMA_VERSION, NAME = "niche_sim study", 1, STUDY_NAME
LOCK = ".lock"
_CHECKSUM = 16  # digits of the SHA-256 in the name of a batch's file
_RESULTS = re.compile(rf"(?P<batch>[0-9]+-[0-9a-f]+)-[0-9a-f]{{{_CHECKSUM}}}\.parquet")
_IMAGES = {f"scene.{suffix}" for suffix in ("npy", "tif", "tiff", "png")}
_OWN = {NAME, f".{NAME}.new", "study.yaml", "design.parquet", "index.parquet", "runs", LOCK, *_IMAGES}


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
        fields.append(pa.field(name, kind, metadata={"unit": find_unit(columns[name]) if name in columns else "name"}))
    table = pa.Table.from_pandas(frame, pa.schema(fields), preserve_index=False).replace_schema_metadata(
        {"study": study.name, "failed": str(int((frame["status"] == FAILED).sum()))}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


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
            Its file, or the image of its scene, is not as it was written.
        """
        for name in {"study.yaml", *_IMAGES} & set(self.manifest["checksums"]):
            self._read(name)
        return load_study(self.directory / "study.yaml")

    def load_design(self) -> pd.DataFrame:
        """Return the points."""
        return pd.read_parquet(io.BytesIO(self._read("design.parquet")))

    def load_index(self) -> pd.DataFrame:
        """Return a row for every point, replicate and arm: batch, name, first, number, point, replicate, arm, key, spin_up.

        Rows of one key are one run; the results have it under the place of that which is `first`.
        """
        return pd.read_parquet(io.BytesIO(self._read("index.parquet")))

    def list_batches(self) -> Iterator[Batch]:
        """Yield the batches, in order."""
        index = self.load_index()
        for (number, name), rows in index[index["first"]].groupby(["batch", "name"], sort=True):
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
                f"{self.directory}: was begun with other versions: {', '.join(differing)}; go on with those, or begin anew: "
                f"`niche-sim study {self.directory / 'study.yaml'} --out ANOTHER`"
            )

    # ---------------------------------------------------------------- results

    @cached_property
    def _names(self) -> frozenset[str]:
        names = pq.read_table(io.BytesIO(self._read("index.parquet")), columns=["name"])["name"]
        return frozenset(names.unique().to_pylist())

    def _scan(self) -> tuple[dict[str, list[Path]], list[str]]:
        """Return the files of results by the name of their batch, and names of all else; opens nothing.

        Hidden files, such as those that a driver is writing, are neither.
        """
        known, found, strange = self._names, dict[str, list[Path]](), list[str]()
        entries = sorted(os.scandir(self.runs), key=lambda entry: entry.name) if self.runs.is_dir() else []
        for entry in entries:
            match = _RESULTS.fullmatch(entry.name)
            if match and match["batch"] in known and entry.is_file(follow_symlinks=False):
                found.setdefault(match["batch"], []).append(Path(entry.path))
            elif not entry.name.startswith("."):
                strange.append(entry.name)
        return found, strange

    def list_files(self) -> dict[str, list[Path]]:
        """Return the files of results by the name of their batch: one each, unless something is wrong.

        Regular files with the name of a batch alone: of pipes, links, copies and what else lies there nothing is read.

        Raises
        ------
        InputError
            The index, which knows the batches, is not as it was written.
        """
        return self._scan()[0]

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
        path = self.runs / f"{batch.name}-{_mark(batch.name, content)}.parquet"
        fresh = self.runs / f".{path.name}.new"
        try:
            write_file(fresh, content)
            for old in self.runs.glob(f"{batch.name}-*.parquet"):  # damaged, or with runs that failed
                if _RESULTS.fullmatch(old.name) and _is_plain(old):
                    old.unlink()
            os.replace(fresh, path)
            sync_folder(self.runs)
        except OSError as error:
            raise explain(error, path, len(content)) from error
        finally:
            fresh.unlink(missing_ok=True)

    def status(self) -> Status:
        """Return how far the study is, from its files alone; a batch with two files of results is run again."""
        files = [paths[0] for paths in self.list_files().values() if len(paths) == 1]
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
        try:
            files, strange = self._scan()
        except InputError:  # the index was changed, which is said; without it nobody knows what belongs
            return problems
        again = f"`niche-sim resume {self.directory}` runs its batch again"
        for paths in files.values():
            for path in paths:
                damage = _find_damage(path)
                if damage or len(paths) > 1:
                    message = damage or "is one of several results of the same batch"
                    problems.append(Problem(f"runs/{path.name}", f"{message}; {again}"))
        return problems + [Problem(f"runs/{name}", "does not belong to this study; remove it") for name in strange]

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
        if fcntl is None or not _is_plain(self.directory / LOCK):
            return None
        try:
            handle = os.open(self.directory / LOCK, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError as error:
            pid = _read_lock(self.directory).get("pid")
            held = error.errno in (errno.EAGAIN, errno.EACCES)
            return (pid if isinstance(pid, int) else 0) if held else None
        finally:
            os.close(handle)


def _mark(name: str, content: bytes) -> str:
    """Return the checksum of a batch's file: of its content under the name of its batch, so that no other can stand in."""
    return sha256(f"{name} ".encode() + content)[:_CHECKSUM]


def _find_damage(path: Path) -> str | None:
    """Return what is wrong with the file of a batch, if anything."""
    try:
        content = read_plain_file(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    name, _, mark = path.stem.rpartition("-")
    if mark != _mark(name, content):
        return "was changed after it was written (its checksum does not match its name)"
    return None


def _count_failed(path: Path) -> int:
    return int(pq.read_metadata(path).metadata[b"failed"])


def _is_plain(path: Path) -> bool:
    """Tell whether a path is a regular file; to open another, a pipe, might wait for ever."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _read_lock(directory: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain_file(directory / LOCK))
        return found if isinstance(found, dict) else {}
    except (InputError, ValueError):
        return {}


@contextmanager
def lock_folder(directory: Path) -> Iterator[Callable[[], None]]:
    """Be the only driver of a folder, which is made if it is not there; the lock of a driver that is dead is free.

    What it yields refuses to go on when the folder is no longer the one that was locked.

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
    if os.path.lexists(path) and not _is_plain(path):
        raise InputError(f"{path}: not a plain file; remove it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise explain(error, path) from error

    def check() -> None:
        try:
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return
        except OSError:
            pass
        raise ResourceError(f"{directory}: was moved or removed while the study ran; what was written is where it went")

    try:
        _take(handle, directory)
        try:
            os.truncate(handle, 0)
            os.write(handle, json.dumps({"pid": os.getpid(), "began": time.time()}).encode())
            for left in directory.glob("runs/.*.new"):  # of a driver that was killed
                if _is_plain(left):
                    left.unlink()
        except OSError as error:
            raise explain(error, path) from error
        yield check
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
        found = "is a file, not the folder of a study" if directory.exists() else "no such folder"
        raise InputError(f"{directory}: {found}")
    path = directory / NAME
    if not path.exists() and (directory / LOCK).is_file():
        again = f"`niche-sim study STUDY --out {directory}` makes it"
        raise InputError(f"{directory}: a study was about to begin here, but its manifest is not there yet; {again}")
    if not path.exists():
        raise InputError(f"{directory}: not the folder of a study: it has no {NAME}")
    content = read_plain_file(path)
    try:
        manifest = json.loads(content)
        sealed = isinstance(manifest, dict) and manifest.get("format") == STUDY_FORMAT and seal(manifest) == content
        sealed = sealed and _is_whole(manifest)
    except (ValueError, RecursionError):
        sealed = False
    if not sealed:
        raise InputError(f"{path}: is not a manifest of a study as it was written (its checksum does not match)")
    if manifest["schema_version"] != SCHEMA_VERSION:
        found = manifest["schema_version"]
        raise InputError(f"{path}: schema version {found}; this niche_sim reads version {SCHEMA_VERSION}")
    return StudyFolder(directory, manifest)


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Tell whether a manifest has what every manifest has; one that was made by hand may not."""
    counts, texts = ("planned", "batches", "points", "schema_version"), ("name", "config_hash", "design_hash", "sources")
    files = manifest.get("checksums")
    return (
        all(isinstance(manifest.get(name), int) for name in counts)
        and all(isinstance(manifest.get(name), str) for name in texts)
        and isinstance(manifest.get("versions"), dict) and isinstance(files, dict)
        and all(name in _OWN and isinstance(digest, str) for name, digest in files.items())
    )  # fmt: skip


def find_folder(directory: Path, study: Study) -> StudyFolder | None:
    """Return the folder of a study that has been begun, or None if it can be made there.

    Raises
    ------
    InputError
        The folder holds something else, another study, or was begun with other versions.
    """
    directory = Path(directory)
    if not is_study(directory):
        _check_place(directory)
        return None
    folder = open_folder(directory)
    if folder.manifest["config_hash"] != study.config_hash:
        raise InputError(_tell_difference(folder, study))
    folder.check_versions()
    folder.load_index()  # and the design beside it: what was changed is said before anything runs
    folder.load_design()
    return folder


def begin_folder(
    directory: Path, study: Study, design: pd.DataFrame, batches: Iterable[Batch], planned: Iterable[RunSpec]
) -> StudyFolder:
    """Make the folder of a study, or return that which is there if it is of the same study and versions.

    Parameters
    ----------
    directory : Path
    study : Study
    design : DataFrame
        Its points.
    batches : iterable of Batch
        All of them; taken only if the folder is made.
    planned : iterable of RunSpec
        Every run, those of equal keys too; taken likewise.

    Raises
    ------
    InputError
        The folder holds something else, another study, or was begun with other versions.
    ResourceError
        The disk is full or refuses.
    """
    return find_folder(directory, study) or _make_folder(Path(directory), study, design, batches, planned)


def _make_folder(
    directory: Path, study: Study, design: pd.DataFrame, batches: Iterable[Batch], planned: Iterable[RunSpec]
) -> StudyFolder:
    from niche_sim.store.writing import bundle_image, dump_yaml

    homes = {run.key: (batch.number, batch.name, run.number) for batch in batches for run in batch.runs}
    rows = [(*homes[run.key][:2], homes[run.key][2] == run.number, *run) for run in planned]
    index = pd.DataFrame(rows, columns=["batch", "name", "first", *RunSpec._fields])
    experiment, image = bundle_image(study.experiment)
    files = image | {
        "study.yaml": dump_yaml(_localise(replace(study, experiment=experiment))), "design.parquet": encode_table(design),
        "index.parquet": encode_table(index),
    }  # fmt: skip
    work = make_work(study)
    manifest = {
        "format": STUDY_FORMAT, "schema_version": SCHEMA_VERSION, "name": study.name, "title": study.title,
        "config_hash": study.config_hash, "design_hash": digest_table(design).hex(), "points": len(design),
        "planned": len(homes), "batches": int(index["batch"].nunique()), "sources": work.sources, "versions": work.versions,
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
    theirs, ours = _flatten(folder.load_study().identify()), _flatten(study.identify())
    places = [name for name in dict.fromkeys([*ours, *theirs]) if theirs.get(name) != ours.get(name)]
    words = {
        "experiment.scene.file": f"SHA-256 of the image {study.image}",
        "design.sha256": f"SHA-256 of the table {study.design.table}",
    }  # fmt: skip
    told = [f"{words.get(name, name)} {theirs.get(name, 'absent')} -> {ours.get(name, 'absent')}" for name in places[:5]]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return f"{folder.directory}: holds another study: {', '.join(told)}{more}; name another --out"


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {prefix: value}
    found = {prefix: f"{len(value)} entries"} if not len(value) else {}
    for key, inner in items:
        found |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
