"""Scenes: the targets are met, tissue is disjoint, images are read or refused in words."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import label

from niche_sim.cli import main
from niche_sim.config import load_experiment
from niche_sim.errors import InputError
from niche_sim.scenes import build_scene, count_faces, load_mask, measure_scene
from niche_sim.store import hash_result


def spec(name, **changes):
    return load_experiment("e00_zoledronate_niche", sets=[f"scene={name}"]).scene.plain() | changes


SHIPPED = [
    "trabecula_postmenopausal", "trabecula_premenopausal", "trabecula_fine", "trabecula_small", "trabecula_3d",
    "example_mask",
]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenes_hold_their_volume_and_keep_tissues_apart(name):
    wanted = spec(name)
    scene = build_scene(wanted, 11)
    found = measure_scene(scene)
    if wanted["kind"] == "generated":
        assert found["bone_volume_fraction"] == pytest.approx(wanted["bone_volume_fraction"], abs=1e-3)
        assert found["trabecular_thickness_um"] == pytest.approx(wanted["trabecular_thickness"], rel=0.2)
        assert found["trabecular_separation_um"] == pytest.approx(wanted["trabecular_separation"], rel=0.2)
    assert not (scene.bone & scene.sinusoid).any()
    assert scene.sinusoid.any()


def test_same_seed_same_scene_and_other_seed_another():
    a, b, c = (build_scene(spec("trabecula_small", seed=None), seed) for seed in (1, 1, 2))
    assert (a.bone == b.bone).all()
    assert (a.sinusoid == b.sinusoid).all()
    assert (a.bone != c.bone).any()


def test_faces_of_a_plate():
    bone = np.zeros((1, 10, 10), bool)
    bone[0, 4:6] = True
    assert count_faces(bone, True) == 20
    bone[:] = False
    bone[0, :2] = True
    assert (count_faces(bone, True), count_faces(bone, False)) == (20, 10)


def image(file, **changes):
    base = {
        "kind": "image", "file": str(file), "image_voxel": 10.0, "voxel": 20.0, "boundary": "closed",
        "sinusoid_spacing": 200.0, "sinusoid_diameter": 40.0,
    }  # fmt: skip
    return base | changes


def test_an_image_is_read_and_resampled(tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:36] = 255
    np.save(tmp_path / "mask.npy", mask)
    scene = build_scene(image(tmp_path / "mask.npy"), 0)
    assert scene.bone.shape == (1, 30, 40)
    assert scene.bone.mean() == pytest.approx(16 / 60, abs=0.04)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x93NUMPY\x01\x00"])
def test_a_damaged_image_is_bad_input(tmp_path, content):
    for name in ("a.npy", "a.png", "a.tif"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            build_scene(image(tmp_path / name), 0)


def test_an_image_without_bone_or_with_a_periodic_boundary_is_refused(tmp_path):
    np.save(tmp_path / "empty.npy", np.zeros((20, 20)))
    with pytest.raises(InputError, match="all bone or all marrow"):
        build_scene(image(tmp_path / "empty.npy"), 0)
    with pytest.raises(InputError, match="closed"):
        build_scene(image(tmp_path / "empty.npy", boundary="periodic"), 0)


def test_sinusoids_of_a_stack_are_joined():
    scene = build_scene(spec("trabecula_3d"), 3)
    _, parts = label(scene.sinusoid)
    nodes = scene.bone.size * 20.0**3 / 280.0**3
    assert parts < 0.5 * nodes


def test_bone_at_one_face_of_a_closed_patch_keeps_no_vessel_from_the_other(tmp_path):
    mask = np.zeros((60, 60), np.uint8)
    mask[:6] = 255
    np.save(tmp_path / "mask.npy", mask)
    vessels = build_scene(image(tmp_path / "mask.npy", sinusoid_spacing=60.0), 4).sinusoid[0]
    assert vessels[-1].any()
    assert not vessels[:4].any()


@pytest.mark.parametrize("how", ["imagej", "tags"])
def test_a_tiff_that_states_another_voxel_is_refused(tmp_path, how):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:36] = 255
    place = tmp_path / "mask.tif"
    if how == "imagej":
        tifffile.imwrite(place, mask, imagej=True, resolution=(0.1, 0.1), metadata={"unit": "um"})
    else:
        tifffile.imwrite(place, mask, resolution=(1000, 1000), resolutionunit="CENTIMETER")
    assert build_scene(image(place, image_voxel=10.0), 0).bone.any()
    with pytest.raises(InputError, match="file says 10 um"):
        build_scene(image(place, image_voxel=12.0), 0)


def test_a_result_carries_its_image_and_runs_again_elsewhere(tmp_path):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(["run", *words, "--no-figures", "--quiet"])
        assert end.value.code == 0

    short = ["--length", "1 d", "--set", "time.spin_up=0 d", "--set", "population.dormant_dtc=2"]
    first, moved, again = tmp_path / "first", tmp_path / "elsewhere", tmp_path / "again"
    run("e00_zoledronate_niche", "--set", "scene=example_mask", "--out", str(first), *short)
    first.rename(moved)
    run(str(moved / "resolved.yaml"), "--out", str(again))
    assert (moved / "resolved.yaml").read_bytes() == (again / "resolved.yaml").read_bytes()
    assert hash_result(moved) == hash_result(again)


def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_enlarged(tmp_path):
    np.save(tmp_path / "coarse.npy", np.arange(2000)[:, None] < np.full(1500, 900))
    spec = {"kind": "image", "file": str(tmp_path / "coarse.npy"), "image_voxel": 200.0, "voxel": 2.0, "boundary": "closed"}
    with pytest.raises(InputError, match=r"gives 3e\+10 voxels of 2 um; at most 6.4e\+07 fit"):
        load_mask(spec)
