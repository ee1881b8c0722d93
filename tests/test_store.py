"""The results folder: written whole or not at all; read only if it is what was written."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from niche_sim import store
from niche_sim.errors import InputError, ResourceError
from niche_sim.store import arrays, folder, tables
from niche_sim.store.folder import replace_file
from niche_sim.store.manifest import seal


@dataclass
class FakeArm:
    """What an arm of a run looks like to the store."""

    series: pd.DataFrame
    events: pd.DataFrame
    bmus: pd.DataFrame
    cells: pd.DataFrame
    ledgers: pd.DataFrame
    fields: dict
    field_times_h: np.ndarray
    maps: dict
    map_times_h: np.ndarray
    final_hash_arrays: dict


@dataclass
class FakeRun:
    """What a run looks like to the store."""

    arms: dict
    timings: dict = field(default_factory=lambda: {"engine": 1.5})


def make_arm(name, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(4) * 24.0
    series = pd.DataFrame({
        "arm": name, "step": np.arange(4), "time_h": time, "dormant": [3, 3, 2, 2],
        "bone_volume_fraction": rng.random(4), "tgf_beta_nmol_per_L": [0.1, np.nan, 0.2, 0.3],
    })
    events = pd.DataFrame({
        "arm": [name] * 2, "step": [1, 2], "time_h": [6.0, 12.0], "event": ["wake", "death"],
        "cause": ["factors", "drug"], "kind": "dtc", "ident": np.array([2**63 + 5, 7], dtype=np.uint64),
        "parent": np.zeros(2, np.uint64), "clone": [1, 2], "z": np.zeros(2, np.int32),
    })
    bmus = events[["arm", "step", "time_h", "ident"]].assign(outcome="completed", depth_um=[60.0, np.nan])
    cells = events[["arm", "step", "time_h", "ident"]].assign(state=["dormant", ""])
    ledgers = events[["arm", "step", "time_h"]].assign(ledger="cells", entry=["born", "died"], amount=[1.0, -1.0])
    suitability = rng.random((2, 1, 5, 6))
    suitability[:, :, 0] = np.nan
    return FakeArm(
        series, events, bmus, cells, ledgers, {"tgf_beta": rng.random((2, 1, 5, 6))}, np.array([0.0, 48.0]),
        {"suitability": suitability, "sinusoid": rng.random((2, 1, 5, 6)) > 0.5}, np.array([0.0, 48.0]),
        {"cells.ident": np.arange(5, dtype=np.uint64), "voxels.drug": rng.random((0, 30)),
         "tally": np.arange(3)},
    )  # fmt: skip


def make_run(seed=1):
    return FakeRun({"control": make_arm("control", seed), "zoledronate": make_arm("zoledronate", seed + 1)})


def make_experiment(seed=7):
    leaf = {"value": "1e-4 /d", "range": ["0 /d", "1 /d"], "status": "assumed", "source": "none", "note": ""}
    drug = {"affinity": leaf | {"status": "measured", "source": "nancollas2006"}}
    slow, fast = ({"dormancy": {"exit_rate": leaf | {"value": value}}} for value in ("1e-4 /d", "1e-2 /d"))
    return SimpleNamespace(
        name="tiny", title="A tiny one", seed=seed, parameters=slow, drugs={"zoledronate": drug},
        patient=None, arms=["control", "zoledronate"], scene=SimpleNamespace(voxel_um=20.0),
        arm_parameters=lambda arm: fast if arm == "zoledronate" else slow,
        resolved=lambda: {"name": "tiny", "seed": seed, "time": {"length": "2 d"}},
    )  # fmt: skip


@pytest.fixture
def written(tmp_path):
    target = tmp_path / "out" / "tiny"
    store.write_result(target, make_run(), make_experiment(), threads=2)
    return target


def leftovers(parent):
    return [path.name for path in parent.iterdir() if path.name.startswith(".")]


def test_what_is_written_is_what_is_read(written):
    run, result = make_run(), store.load(written)
    for name in tables.TABLES:
        expected = pd.concat([getattr(arm, name) for arm in run.arms.values()], ignore_index=True)
        pd.testing.assert_frame_equal(getattr(result, name), expected)
    for arm in ("control", "zoledronate"):
        for name, array in run.arms[arm].maps.items():
            np.testing.assert_array_equal(result.maps(arm, name), array)
        wanted = run.arms[arm].fields["tgf_beta"]
        np.testing.assert_allclose(result.fields(arm, "tgf_beta"), wanted, rtol=2.0**-11)
        np.testing.assert_array_equal(result.field_times_h(arm), [0.0, 48.0])
        state = result.final_state(arm)
        for name, array in run.arms[arm].final_hash_arrays.items():
            assert state[name].dtype == array.dtype
            np.testing.assert_array_equal(state[name], array)
    assert result.experiment_mapping["time"] == {"length": "2 d"}
    assert result.map_names("control") == ["sinusoid", "suitability"]
    assert leftovers(written.parent) == []


def test_columns_carry_their_units(written):
    schema = pq.read_schema(written / "series.parquet")
    assert schema.field("time_h").metadata[b"unit"] == b"h"
    assert schema.field("tgf_beta_nmol_per_L").metadata[b"unit"] == b"nmol/L"
    assert store.load(written).series.attrs["units"]["bone_volume_fraction"] == "1"
    assert tables.unit_of("resorption_um3_per_d") == "um3/d"
    assert tables.unit_of("dtc_births") == "count"
    assert tables.unit_of("bone_surface_density_per_mm") == "1/mm"
    assert tables.unit_of("mineral_apposition_um_per_d") == "um/d"


def test_manifest_tells_what_was_run_and_not_who(written):
    text = (written / "manifest.json").read_text()
    manifest = json.loads(text)
    assert (manifest["seed"], manifest["threads"]) == (7, 2)
    assert manifest["arms"] == ["control", "zoledronate"]
    assert manifest["sources"]["counts"]["assumed"] == 2
    assert manifest["sources"]["numbers"]["arms.zoledronate.dormancy.exit_rate"]["value"] == "1e-2 /d"
    assert manifest["sources"]["papers"] == ["nancollas2006"]
    files = {p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest["checksums"]) == files
    assert any("/c/" in name for name in files)
    assert str(written.parent) not in text and os.uname().nodename not in manifest["host"].values()


def test_hash_depends_on_values_only(tmp_path, written, monkeypatch):
    first = store.hash_result(written)
    assert store.load(written).manifest["result_hash"] == first
    write = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda table, out, **_: write(table, out, compression="snappy"))
    store.write_result(tmp_path / "again", make_run(), make_experiment(), threads=1)
    assert (tmp_path / "again/series.parquet").read_bytes() != (written / "series.parquet").read_bytes()
    assert store.hash_result(tmp_path / "again") == first


@pytest.mark.parametrize("part", [*tables.TABLES, "state"])
def test_hash_sees_every_part(tmp_path, written, part):
    run = make_run()
    arm = run.arms["zoledronate"]
    if part == "state":
        arm.final_hash_arrays["tally"] = np.array([0, 1, 3])
    else:
        getattr(arm, part).loc[1, "step"] = 99
    store.write_result(tmp_path / "other", run, make_experiment())
    assert store.hash_result(tmp_path / "other") != store.hash_result(written)


def test_text_columns_do_not_run_into_each_other():
    one, two = pd.DataFrame({"a": ["ab", "c"]}), pd.DataFrame({"a": ["a", "bc"]})
    assert tables.digest_table(one) != tables.digest_table(two)


@pytest.mark.parametrize(
    "name", ["series.parquet", "resolved.yaml", "final_state.zarr/control/tally/c/0", "maps.zarr/zarr.json"]
)
@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_every_damaged_file_is_named(written, name, harm):
    path = written / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "delete":
        path.unlink()
    else:
        path.write_bytes(content if harm == "flip" else content[:-3])
    assert [problem.path for problem in store.verify(written)] == [name]
    with pytest.raises(InputError, match=name):
        store.hash_result(written)
    if harm != "flip":
        with pytest.raises(InputError, match=name):
            store.load(written)


def test_flipped_bits_are_refused_when_first_read(written):
    path = written / "events.parquet"
    content = bytearray(path.read_bytes())
    content[10] ^= 4
    path.write_bytes(content)
    result = store.load(written)
    assert len(result.series) == 8
    with pytest.raises(InputError, match="events.parquet.*changed"):
        _ = result.events


def test_a_stranger_in_the_folder_is_named_but_figures_are_not(written):
    (written / "figures").mkdir()
    (written / "figures/lattice.png").write_bytes(b"x")
    (written / "report.html").write_text("x")
    assert store.verify(written) == []
    (written / "maps.zarr/control/c").write_text("x")
    assert [problem.path for problem in store.verify(written)] == ["maps.zarr/control/c"]


@pytest.mark.parametrize("change", [
    lambda m: m | {"seed": 8},
    lambda m: m | {"schema_version": 99},
    lambda m: {k: v for k, v in m.items() if k != "checksums"},
    lambda m: [m],
    lambda m: m | {"checksums": {"../escape": "0"}},
])  # fmt: skip
def test_an_edited_manifest_is_refused(written, change):
    path = written / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    for read in (store.load, store.verify, store.hash_result):
        with pytest.raises(InputError, match="manifest.json"):
            read(written)


def test_a_resealed_manifest_cannot_reach_outside(written):
    path = written / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_bytes(seal(manifest | {"checksums": {"../../secret": "0"}}))
    with pytest.raises(InputError, match="outside"):
        store.verify(written)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="manifest"):
        store.load(tmp_path)


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "manifest.json")
    for path in (tmp_path / "missing", tmp_path / "file", tmp_path):
        with pytest.raises(InputError):
            store.load(path)


def test_unknown_names_list_the_known(written):
    result = store.load(written)
    with pytest.raises(InputError, match="no arm 'contrl'; there is control, zoledronate"):
        result.fields("contrl", "tgf_beta")
    with pytest.raises(InputError, match="no field 'tgf'"):
        result.fields("control", "tgf")


def test_a_folder_that_holds_anything_is_refused_and_kept(tmp_path):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        store.write_result(target, make_run(), make_experiment())
    assert (target / "precious").read_text() == "x" and leftovers(tmp_path) == []


def test_an_empty_folder_and_new_parents_are_used(tmp_path):
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "a/b/c"):
        store.write_result(target, make_run(), make_experiment())
        assert store.verify(target) == []


@pytest.mark.parametrize(
    "name", ["file", "file/below", "dangling", "nul", "com1.x/out", "pipe", "x" * 300, "a\0b"]
)
def test_impossible_targets_are_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError):
        store.reserve(tmp_path / name)
    assert leftovers(tmp_path) == []


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="current folder"):
        store.reserve(Path("."))


def test_two_runs_cannot_write_one_folder(tmp_path):
    with store.reserve(tmp_path / "x"):
        with pytest.raises(InputError, match="another run"):
            store.reserve(tmp_path / "x")
        with store.reserve(tmp_path / "y"):
            pass
    store.reserve(tmp_path / "x").release()
    assert leftovers(tmp_path) == []


def test_what_a_killed_run_left_is_swept(tmp_path):
    stale = tmp_path / ".x.partial-99999999"
    stale.mkdir()
    (stale / "series.parquet").write_text("half")
    (tmp_path / ".x.lock").touch()
    with store.reserve(tmp_path / "x"):
        assert not stale.exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("nth", [0, 3, 40])
def test_a_full_disk_is_named_and_harms_nothing(written, monkeypatch, code, nth):
    calls = iter(range(10_000))
    real = os.fsync

    def fail(handle):
        if next(calls) == nth:
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(folder.os, "fsync", fail)
    target = written.parent / "second"
    with pytest.raises(ResourceError, match="bytes") as caught:
        store.write_result(target, make_run(), make_experiment())
    assert "second" in str(caught.value) and caught.value.exit_code == 4
    assert not target.exists() and leftovers(written.parent) == []
    assert store.verify(written) == []


def test_a_parent_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(folder.os, "open", refuse)
    with pytest.raises(ResourceError, match="Permission denied"):
        store.reserve(tmp_path / "x")


def test_rounding_keeps_ten_bits_and_what_is_not_a_number():
    values = np.array([1.0, 1.0 + 2.0**-12, -3.3, 1e-30, 0.0, np.nan, np.inf, -np.inf])
    rounded = arrays.round_mantissa(values)
    np.testing.assert_allclose(rounded[:5], values[:5], rtol=2.0**-11)
    np.testing.assert_array_equal(rounded[5:], values[5:].astype(np.float32))
    assert not np.any(rounded[:5].view(np.uint32) & np.uint32(2**13 - 1))


def test_a_run_that_recorded_nothing_is_still_a_result(tmp_path):
    run = make_run()
    for arm in run.arms.values():
        for name in tables.TABLES:
            setattr(arm, name, getattr(arm, name).iloc[:0])
        arm.fields, arm.maps, arm.field_times_h, arm.map_times_h = {}, {}, np.zeros(0), np.zeros(0)
    store.write_result(tmp_path / "bare", run, make_experiment())
    result = store.load(tmp_path / "bare")
    assert result.series.empty
    assert list(result.events.columns) == list(make_run().arms["control"].events.columns)
    assert result.field_names("control") == [] and len(store.hash_result(tmp_path / "bare")) == 64


def test_a_stream_that_was_off_is_an_empty_table(tmp_path):
    run = make_run()
    for arm in run.arms.values():
        arm.events = pd.DataFrame()
    store.write_result(tmp_path / "off", run, make_experiment())
    assert store.load(tmp_path / "off").events.empty
    assert store.hash_result(tmp_path / "off") == store.load(tmp_path / "off").manifest["result_hash"]


def test_a_limit_of_the_system_on_file_size_is_met_cleanly(tmp_path):
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_store import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n    store.write_result(Path(sys.argv[1]), make_run(), make_experiment())\n"
        "except ResourceError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"series.parquet: no room .* \(\d,\d+ bytes\)", done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_arm_whose_name_is_a_path_is_refused(tmp_path):
    run = make_run()
    run.arms["../up"] = run.arms.pop("control")
    with pytest.raises(InputError, match="cannot be the name"):
        store.write_result(tmp_path / "x", run, make_experiment())
    assert not (tmp_path / "x").exists() and leftovers(tmp_path) == []


def test_a_moved_result_is_still_whole(written, tmp_path):
    shutil.move(written, tmp_path / "elsewhere")
    assert store.verify(tmp_path / "elsewhere") == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    replace_file(path, b"old")

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match="figure.png.*no room on the disk"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
