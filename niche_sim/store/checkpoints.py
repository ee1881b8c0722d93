"""Checkpoints of an unfinished run: kept beside its results folder, read back only if they are what was written.

A run that writes to `DIR` keeps in `DIR.unfinished` its resolved configuration, `run.json`, and for each arm two
generations of the whole state (`state-N`) and the segments of its record (`segment-N`). Every file carries the SHA-256
of its content and is written under another name, synced, and renamed. A damaged generation is said so and the one
before it is used: the run is deterministic, so it only costs time.
"""

import hashlib
import io
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from niche_sim.errors import InputError
from niche_sim.kernel import hash_sources
from niche_sim.recorder import Before, Segment
from niche_sim.simulation import SPIN_UP, Saved
from niche_sim.store.folder import replace_file, sync_folder, write_file
from niche_sim.store.manifest import read_plain_file, seal, sha256
from niche_sim.store.tables import TABLES, decode_table, encode_table

MAGIC = b"niche_sim checkpoint 1\n"
GENERATIONS = 2
SUFFIX = ".unfinished"
_DAMAGED = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, InputError, IndexError)


def encode(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> bytes:
    """Return arrays and a header as one sealed file; no pickle, every bit kept."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as container:
        container.writestr("header.json", json.dumps(header, sort_keys=True))
        for name, array in arrays.items():
            with container.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    body = buffer.getvalue()
    return MAGIC + sha256(body).encode() + b"\n" + body


def decode(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what `encode` was given.

    Raises
    ------
    InputError
        Another format, or a byte differs from what was written.
    """
    start = len(MAGIC) + 65
    if not content.startswith(MAGIC) or len(content) < start:
        raise InputError("not a checkpoint of this version")
    if sha256(content[start:]).encode() != content[len(MAGIC) : start - 1]:
        raise InputError("was changed after it was written (its checksum does not match)")
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content[start:])) as container:
        header = json.loads(container.read("header.json"))
        for name in container.namelist():
            if name.endswith(".npy"):
                with container.open(name) as entry:
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(entry, allow_pickle=False)
    return arrays, header


def encode_segment(segment: Segment) -> bytes:
    """Return a segment of the record as one sealed file."""
    frames = {name: getattr(segment, name) for name in TABLES}
    arrays = {f"table.{n}": np.frombuffer(encode_table(f), np.uint8) for n, f in frames.items() if len(f)}
    arrays["fields"] = segment.fields
    return encode(arrays | {f"map.{name}": array for name, array in segment.maps.items()}, {})


def decode_segment(content: bytes) -> Segment:
    """Return what `encode_segment` was given."""
    arrays, _ = decode(content)
    frames = {n.removeprefix("table."): decode_table(a.tobytes()) for n, a in arrays.items() if n.startswith("table.")}
    for frame in frames.values():
        frame.attrs = {}
    maps = {n.removeprefix("map."): a for n, a in arrays.items() if n.startswith("map.")}
    return Segment(**frames, fields=arrays["fields"], maps=maps)


def place_of(target: Path) -> Path:
    """Return the folder that keeps the checkpoints of a run into `target`."""
    return target.with_name(target.name + SUFFIX)


class Checkpoints:
    """Keeps the checkpoints of one run; the `Keeper` that the simulation asks for.

    Parameters
    ----------
    target : Path
        Results folder of the run.
    files : dict of str to bytes
        `resolved.yaml` and the image of the scene, if any.
    every : int or None
        Ticks between checkpoints; None keeps one only when the run is interrupted.
    say : callable
        Told when a damaged checkpoint was passed over.
    figures : bool
        Whether the run is to be drawn in the end, for who resumes it.
    """

    def __init__(
        self, target: Path, files: dict[str, bytes], every: int | None, say: Callable[[str], None], figures: bool = True
    ) -> None:
        self.folder = place_of(target)
        self.files, self.every, self.say, self.figures = files, every, say, figures
        self.configuration = sha256(files["resolved.yaml"])
        self._kept: dict[str, list[str]] = {}  # checksums of the segments on disk, by arm
        self._number: dict[str, int] = {}
        self._guard = threading.Lock()
        self._begun = False

    @property
    def exists(self) -> bool:
        """Whether anything was kept."""
        return (self.folder / "run.json").is_file()

    def list_steps(self, last: int) -> set[int]:
        """Return the steps up to `last` at which a checkpoint is due."""
        return set(range(self.every, last, self.every)) | {last} if self.every else set()

    def begin(self) -> None:
        """Write what a resumption needs to know besides the states."""
        with self._guard:
            if self._begun:
                return
            if not self.exists:
                about = {"format": "niche_sim unfinished run", "every": self.every, "figures": self.figures}
                sealed = seal(about | {"configuration_sha256": self.configuration, "sources": hash_sources()})
                fresh = self._hide("new")
                for name, content in (self.files | {"run.json": sealed}).items():
                    write_file(fresh / name, content)
                os.replace(fresh, self.folder)
                sync_folder(self.folder.parent)
            self._begun = True

    def _hide(self, word: str) -> Path:
        """Return a free hidden name beside the folder: it appears and goes as a whole, whenever the process dies."""
        hidden = self.folder.with_name(f".{self.folder.name}.{word}")
        shutil.rmtree(hidden, ignore_errors=True)
        return hidden

    def _arm_folder(self, arm: str) -> Path:
        return self.folder / SPIN_UP if arm == SPIN_UP else self.folder / "arms" / arm

    def save(self, arm: str, saved: Saved) -> None:
        """Keep a checkpoint: new segments first, then the state that counts them, then the oldest state goes."""
        self.begin()
        folder = self._arm_folder(arm)
        kept = self._kept.setdefault(arm, [])
        for number, segment in enumerate(saved.segments[len(kept) :], start=len(kept)):
            content = encode_segment(segment)
            replace_file(folder / f"segment-{number:06d}", content)
            kept.append(sha256(content))
        before = saved.before or Before(np.zeros(0, np.int64), np.zeros(0), -1)
        header = {"arm": arm, "step": saved.step, "since": before.step, "segments": kept}
        header["configuration"] = self.configuration
        number = self._number[arm] = self._number.get(arm, 0) + 1
        arrays = saved.arrays | {"_before": before.tally, "_before_risk": before.risk}
        replace_file(folder / f"state-{number:06d}", encode(arrays, header))
        for path in _generations(folder)[GENERATIONS:]:
            path.unlink(missing_ok=True)

    def load(self, arm: str) -> Saved | None:
        """Return the newest sound checkpoint of an arm, or None where there is none."""
        folder = self._arm_folder(arm)
        paths = _generations(folder)
        for path in paths:
            try:
                saved, kept = self._read(folder, path)
            except _DAMAGED as error:
                self.say(f"{path}: {error}; going back to the checkpoint before it")
                continue
            self._kept[arm] = kept
            self._number[arm] = int(paths[0].name.rpartition("-")[2])
            return saved
        if paths:
            self.say(f"{folder}: no sound checkpoint is left; this part starts again")
            self._number[arm] = int(paths[0].name.rpartition("-")[2])
        return None

    def _read(self, folder: Path, path: Path) -> tuple[Saved, list[str]]:
        arrays, header = decode(read_plain_file(path))
        if header["configuration"] != self.configuration:
            raise InputError("belongs to another configuration")
        segments = []
        for number, checksum in enumerate(header["segments"]):
            content = read_plain_file(folder / f"segment-{number:06d}")
            if hashlib.sha256(content).hexdigest() != checksum:
                raise InputError(f"needs segment-{number:06d}, which was changed")
            segments.append(decode_segment(content))
        tally, risk = arrays.pop("_before"), arrays.pop("_before_risk")
        before = Before(tally, risk, int(header["since"])) if len(tally) else None
        return Saved(int(header["step"]), arrays, before, segments), list(header["segments"])

    def remove(self) -> None:
        """Forget everything: the run is complete."""
        if self.folder.exists():
            hidden = self._hide("old")
            os.replace(self.folder, hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _generations(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-" + "[0-9]" * 6), reverse=True)


def read_unfinished(target: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the description of the unfinished run into `target`.

    Raises
    ------
    InputError
        There is none, it was damaged, or it was written by other sources: the rest would not be the same run.
    """
    folder = place_of(target)
    path = folder / "run.json"
    if not path.exists():
        raise InputError(f"{target}: no unfinished run of that name ({folder.name} does not exist)")
    content = read_plain_file(path)
    try:
        about = json.loads(content)
        sound = isinstance(about, dict) and seal(about) == content
    except ValueError:
        sound = False
    if not sound:
        raise InputError(f"{path}: was changed after it was written; run the experiment again into another folder")
    if about["sources"] != hash_sources():
        raise InputError(f"{path}: was written by another version of niche_sim; resume with that one, or run again")
    if sha256(read_plain_file(folder / "resolved.yaml")) != about["configuration_sha256"]:
        raise InputError(f"{folder / 'resolved.yaml'}: was changed after it was written (its checksum does not match)")
    return folder, about


def find_damage(target: Path) -> list[str]:
    """Return what is wrong with the checkpoints of an unfinished run, a line a file; empty if all is sound."""
    folder, _ = read_unfinished(target)
    problems = []
    for path in sorted(folder.rglob("s*-*[0-9]")):
        try:
            decode(read_plain_file(path))
        except _DAMAGED as error:
            problems.append(f"{path}: {error}")
    return problems
