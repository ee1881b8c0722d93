"""Files for ParaView and napari: values, spacing, orientation, units; bad input and full disks."""

import errno
import os
import xml.etree.ElementTree as ET
import zlib
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
import zarr
from test_cli import call
from test_view import save

from niche_sim.kinds import KIND_NAMES, MODE_NAMES
from niche_sim.store import folder
from niche_sim.view.export import LABELS, export_result
from niche_sim.view.ome_zarr import encode_image
from niche_sim.view.vtk import TYPES, write_image, write_points

SCENE = {  # unlike along every axis
    "kind": "generated", "size": ["120 um", "160 um", "240 um"], "voxel": "20 um", "bone_volume_fraction": 0.25,
    "trabecular_thickness": "60 um", "trabecular_separation": "80 um", "sinusoid_spacing": "100 um",
    "sinusoid_diameter": "20 um", "boundary": "periodic", "seed": 8,
}  # fmt: skip
DTYPES = {name: f"<{kind}" for kind, name in TYPES.items()}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    record = {"series": "1 d", "cells": "1 d", "fields": "2 d", "pictures": ["0 d", "2 d"]}
    result = save(place / "run", scene=SCENE, record=record, population={"dormant_dtc": 4, "cycling_dtc": 3})
    opened = export_result(result.directory, place / "out")
    return result, place / "out", opened


def read_arrays(path):
    """Every array of a VTK file by name, and its tree."""
    tree = ET.parse(path).getroot()
    assert tree.get("byte_order") == "LittleEndian" and tree.get("header_type") == "UInt64"
    found = {}
    for array in tree.iter("DataArray"):
        text = array.text.strip()
        head = np.frombuffer(b64decode(text[:44])[:32], "<u8")  # 4 words: blocks, size, last, packed size
        raw = zlib.decompress(b64decode(text[44:]))
        assert head[0] == 1 and head[1] == len(raw) and head[3] == len(b64decode(text[44:]))
        found[array.get("Name")] = np.frombuffer(raw, DTYPES[array.get("type")])
    return found, tree


def list_series(path):
    """Time and file of each entry of a .pvd."""
    entries = ET.parse(path).getroot().iter("DataSet")
    return {float(entry.get("timestep")): path.parent / entry.get("file") for entry in entries}


def test_what_is_to_be_opened_is_told(stack):
    _, out, opened = stack
    named = ("maps.pvd", "fields.pvd", "cells.pvd", "fields.ome.zarr", "maps.ome.zarr")
    assert opened == [out / arm / name for arm in ("control", "drug") for name in named]
    assert all(path.exists() for path in opened)
    assert "kind: 0 dtc" in (out / "README.txt").read_text()


def test_images_of_vtk_hold_every_map_and_field_in_place(stack):
    result, out, _ = stack
    for group, read, times in (("maps", result.maps, result.map_times_h), ("fields", result.fields, result.field_times_h)):
        files = list_series(out / "drug" / f"{group}.pvd")
        assert list(files) == list(times("drug"))
        for number, path in enumerate(files.values()):
            arrays, tree = read_arrays(path)
            image = tree.find("ImageData")
            assert image.get("Spacing") == "20 20 20" and image.get("WholeExtent") == "0 12 0 8 0 6"  # x, y, z
            for name, values in arrays.items():
                stored = name.removesuffix("_nmol_per_L").removesuffix("_fmol_per_um2").removesuffix("_tick")
                expected = read("drug", stored)[number]
                assert expected.shape == (6, 8, 12)
                np.testing.assert_array_equal(values.reshape(6, 8, 12), expected.astype(values.dtype), err_msg=name)
            assert len(arrays) == len(result.map_names("drug") if group == "maps" else result.field_names("drug"))
    arrays, _ = read_arrays(next(iter(files.values())))
    assert "tgf_beta_nmol_per_L" in arrays


def test_points_are_at_the_middle_of_the_voxels_of_their_cells(stack):
    result, out, _ = stack
    files = list_series(out / "drug" / "cells.pvd")
    assert list(files) == [0.0, 24.0, 48.0]
    arrays, tree = read_arrays(files[48.0])
    cells = result.cells.query("arm == 'drug' and time_h == 48")
    piece = tree.find("PolyData/Piece")
    assert piece.get("NumberOfPoints") == piece.get("NumberOfVerts") == str(len(cells))
    np.testing.assert_allclose(arrays["Points"].reshape(-1, 3), cells[["x", "y", "z"]].to_numpy() * 20.0 + 10.0)
    assert [KIND_NAMES[kind] for kind in arrays["kind"]] == cells["kind"].tolist()
    assert [MODE_NAMES[state] if state >= 0 else "" for state in arrays["state"]] == cells["state"].tolist()
    for name in ("ident", "parent", "clone", "age_h"):
        np.testing.assert_array_equal(arrays[name], cells[name])
    np.testing.assert_array_equal(arrays["offsets"], np.arange(1, len(cells) + 1))
    # A cell is in a voxel of the image that is no bone.
    maps, _ = read_arrays(list_series(out / "drug" / "maps.pvd")[48.0])
    x, y, z = (arrays["Points"].reshape(-1, 3) // 20).astype(int).T
    assert (maps["mineral"].reshape(6, 8, 12)[z, y, x][arrays["state"] >= 0] < 1).all()


def test_ome_zarr_has_axes_units_scale_channels_and_labels(stack):
    result, out, _ = stack
    root = zarr.open_group(out / "drug" / "maps.ome.zarr", mode="r")
    about = root.attrs["ome"]
    (scales,) = about["multiscales"]
    assert about["version"] == "0.5" and [axis["name"] for axis in scales["axes"]] == list("tczyx")
    assert [axis.get("unit") for axis in scales["axes"]] == ["hour", None] + ["micrometer"] * 3
    moved = {part["type"]: part[part["type"]] for part in scales["datasets"][0]["coordinateTransformations"]}
    assert moved == {"scale": [48.0, 1.0, 20.0, 20.0, 20.0], "translation": [0.0, 0.0, 10.0, 10.0, 10.0]}
    names = [channel["label"] for channel in about["omero"]["channels"]]
    array = root["0"]
    assert array.shape == (2, len(names), 6, 8, 12) and array.metadata.dimension_names == tuple("tczyx")
    np.testing.assert_array_equal(array[1, names.index("mineral")], result.maps("drug", "mineral")[1].astype("f4"))
    labels = root["labels/cells/0"][1, 0]
    cells = result.cells.query("arm == 'drug' and time_h == 48")
    assert (labels > 0).sum() == len(cells)
    dormant = cells[cells["state"] == "dormant"]
    (value,) = {number for number, (name, _) in LABELS.items() if name == "dormant DTC"}
    assert len(dormant) and (labels[dormant["z"], dormant["y"], dormant["x"]] == value).all()
    assert (labels == value).sum() == len(dormant)
    assert root["labels"].attrs["ome"]["labels"] == ["cells"]


def test_points_for_napari_lie_on_the_image(stack):
    result, out, _ = stack
    points = pd.read_csv(out / "drug" / "cells.csv", index_col="index", keep_default_na=False)
    cells = result.cells[result.cells["arm"] == "drug"]
    assert points["axis-0"].tolist() == cells["time_h"].tolist()
    for axis, name in (("axis-1", "z"), ("axis-2", "y"), ("axis-3", "x")):
        np.testing.assert_allclose(points[axis], cells[name] * 20.0 + 10.0)
    assert points["state"].tolist() == cells["state"].tolist()


def test_times_that_are_not_even_are_indices():
    volume = np.zeros((3, 1, 2, 2))
    files = encode_image("x", {"a": volume}, np.array([0.0, 10.0, 100.0]), (20.0, 5.0, 5.0))
    text = files["zarr.json"].decode()
    assert '"hour"' not in text and '"time_h": [' in text
    import json

    root = json.loads(text)["attributes"]
    scale = root["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, 1.0, 20.0, 5.0, 5.0] and root["niche_sim"]["time_h"] == [0.0, 10.0, 100.0]


def test_a_patch_of_one_plane_is_a_section_of_its_depth(tmp_path):
    flat = save(tmp_path / "run", scene="mouse_metaphysis", time={"length": "6 h"}, record={"pictures": ["0 d"]})
    export_result(flat.directory, tmp_path / "out", arms=["drug"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.txt", "drug"]
    _, tree = read_arrays(tmp_path / "out" / "drug" / "vtk" / "maps_0000.vti")
    image = tree.find("ImageData")
    assert image.get("Spacing") == "10 10 20" and image.get("WholeExtent") == "0 100 0 100 0 1"


def test_the_same_run_gives_the_same_files(stack, tmp_path):
    result, out, _ = stack
    export_result(result.directory, tmp_path / "again")
    files, others = (
        sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file()) for top in (out, tmp_path / "again")
    )
    assert files == others and len(files) > 50
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_every_type_of_an_array_is_written_whole(tmp_path):
    volumes = {kind: (np.arange(24).reshape(2, 3, 4) - (12 if kind[0] != "u" else 0)).astype(kind) for kind in TYPES}
    volumes["flag"] = np.arange(24).reshape(2, 3, 4) % 2 == 0
    volumes["f4"][0, 0, 0] = np.nan
    (tmp_path / "a.vti").write_bytes(write_image(volumes, (1.0, 2.0, 0.5)))
    arrays, _ = read_arrays(tmp_path / "a.vti")
    for name, volume in volumes.items():
        np.testing.assert_array_equal(arrays[name].reshape(2, 3, 4), volume, err_msg=name)


def test_a_time_without_cells_is_an_empty_file(tmp_path):
    (tmp_path / "none.vtp").write_bytes(write_points(np.zeros((0, 3)), {"kind": np.zeros(0, "i1")}))
    tree = ET.parse(tmp_path / "none.vtp").getroot()
    assert tree.find("PolyData/Piece").get("NumberOfPoints") == "0"
    assert {b64decode(array.text.strip()) for array in tree.iter("DataArray")} == {bytes(24)}  # no block


@pytest.mark.parametrize("options, expected", [
    (["--arm", "placebo"], "no arm 'placebo'; there is control, drug"), (["--format", "stl"], "'stl' is not one of"),
])  # fmt: skip
def test_a_wrong_option_is_named(stack, tmp_path, options, expected, capsys):
    assert call("export", stack[0].directory, "--to", tmp_path / "x", *options) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and captured.out == "" and not (tmp_path / "x").exists()


def test_no_result_a_target_in_use_and_nothing_recorded_are_refused(stack, tmp_path, capsys):
    assert call("export", tmp_path / "nowhere", "--to", tmp_path / "x") == 2
    assert "nowhere: no such results folder" in capsys.readouterr().err
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("keep")
    assert call("export", stack[0].directory, "--to", tmp_path / "used") == 2
    assert "already exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["mine.txt"]
    assert call("export", stack[0].directory, "--to", stack[0].directory / "vtk") == 2
    assert "is inside the result" in capsys.readouterr().err
    save(tmp_path / "bare", arms={"only": {}}, time={"length": "6 h"}, record={"series": "6 h", "pictures": []})
    assert call("export", tmp_path / "bare", "--to", tmp_path / "x") == 2
    assert "recorded no maps, fields or cells; run with record.pictures" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("nth", [0, 20])
def test_a_full_disk_leaves_nothing_behind(stack, tmp_path, monkeypatch, capsys, nth):
    calls, real = iter(range(10_000)), os.fsync

    def fail(handle):
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(folder.os, "fsync", fail)
    assert call("export", stack[0].directory, "--to", tmp_path / "x") == 4
    assert "no room on the disk" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
