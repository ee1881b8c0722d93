"""Rasters: known voxels have known colours, cells are where they are, scales hold, 3-D shows what is in front."""

import io

import numpy as np
import pytest
from PIL import Image

from niche_sim.errors import InputError
from niche_sim.kinds import CYCLING, DORMANT, DTC, MACROPHAGE, NO_TERM, OSTEOBLAST, OSTEOCLAST, PRECURSOR
from niche_sim.view import palette
from niche_sim.view.frame import OVERLAYS, CellTable, Frame
from niche_sim.view.raster import MOST_PIXELS, paint, paint_rgb
from niche_sim.view.scales import find_limits
from niche_sim.view.volume import SOLID, aim, paint_volume, paint_volume_rgb

SIDE = 40


def make_cells(*rows):
    """Cells of (ident, kind, mode, z, y, x)."""
    ident, kind, mode, z, y, x = zip(*rows) if rows else [()] * 6
    place = {name: np.array(values, "i4") for name, values in zip("zyx", (z, y, x))}
    traits = np.zeros(len(rows), "i1")
    return CellTable(
        np.array(ident, "u8"), np.arange(len(rows)), np.array(kind, "i1"), np.array(mode, "i1"), **place, trait=traits
    )


def make_frame(cells=None, planes=1, **maps):
    """A patch whose left third is bone, old above and new below, with a sinusoid of 6 x 6 voxels in the marrow."""
    shape = (planes, SIDE, SIDE)
    mineral, sinusoid, laid = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, np.int32)
    mineral[:, :, :13] = 1.0
    laid[:, 20:, :13] = 5
    sinusoid[:, 4:10, 24:30] = True
    tissue = {"mineral": mineral, "sinusoid": sinusoid, "laid_step": laid}
    return Frame("control", 0.0, 20.0, tissue | maps, make_cells() if cells is None else cells)


def centre(image, y, x, scale):
    return tuple(int(part) for part in image[y * scale + scale // 2, x * scale + scale // 2])


def colour(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def test_tissue_has_the_colours_of_the_palette():
    image = paint_rgb(make_frame(), scale=10)
    assert image.shape == (400, 400, 3) and image.dtype == np.uint8
    assert centre(image, 30, 30, 10) == colour(palette.MARROW)
    assert centre(image, 5, 5, 10) == colour(palette.BONE)
    assert centre(image, 35, 5, 10) == colour(palette.NEW_BONE)
    assert centre(image, 7, 27, 10) == colour(palette.SINUSOID)


@pytest.mark.parametrize("scale", [1, 2, 4, 9])
def test_a_lone_voxel_stays_what_it_is(scale):
    """Smoothing rounds corners but hides no voxel: not a speck of bone, a hole in it, or a capillary."""
    frame = make_frame()
    frame.maps["mineral"][0, 30, 30] = 1.0
    frame.maps["mineral"][0, 10, 6] = 0.0
    frame.maps["sinusoid"][0, 20, 30] = True
    image = paint_rgb(frame, scale=scale).astype(int)
    for place, near, far in (((30, 30), palette.BONE, palette.MARROW), ((10, 6), palette.MARROW, palette.BONE),
                             ((20, 30), palette.SINUSOID, palette.MARROW)):  # fmt: skip
        found = np.array(centre(image, *place, scale))
        assert np.abs(found - colour(far)).sum() > 40
        if scale % 2:  # there is a pixel in the middle of a voxel
            assert np.abs(found - colour(near)).sum() < np.abs(found - colour(far)).sum()


def test_the_png_holds_the_same_pixels():
    frame = make_frame(make_cells((7, DTC, CYCLING, 0, 30, 30)))
    picture = paint(frame, scale=6)
    image = Image.open(io.BytesIO(picture.png))
    assert image.mode == "P" and (picture.width, picture.height, picture.scale) == (240, 240, 6) == (*image.size, 6)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), paint_rgb(frame, scale=6))
    assert picture.png == paint(frame, scale=6).png
    assert paint(frame).width == SIDE * 22  # about 900


KINDS = {
    "precursor": (PRECURSOR, 0), "macrophage": (MACROPHAGE, 0), "osteoblast": (OSTEOBLAST, 0), "osteoclast": (OSTEOCLAST, 0),
    "dormant": (DTC, DORMANT), "cycling": (DTC, CYCLING),
}  # fmt: skip


@pytest.mark.parametrize("look", KINDS)
@pytest.mark.parametrize("scale", [1, 2, 9])
def test_a_cell_is_drawn_in_its_place_and_colour(look, scale):
    frame = make_frame(make_cells((7, *KINDS[look], 0, 31, 22)))
    painted, bare = paint_rgb(frame, scale=scale), paint_rgb(make_frame(), scale=scale)
    changed = np.argwhere((painted != bare).any(axis=2))
    middle = (31 * scale + scale // 2, 22 * scale + scale // 2)
    assert np.abs(changed.mean(axis=0) - middle).max() < 0.2 and tuple(middle) in map(tuple, changed)
    body = (painted == colour(palette.CELLS[look].colour)).all(axis=2)
    assert body.any() and np.hypot(*(np.argwhere(body) - middle).T).max() <= max(1.2 * scale, 4.5)
    assert paint(frame, scale=scale).legend[0] == (palette.CELLS[look].label, palette.CELLS[look].colour)


def test_tumour_cells_lie_on_top_and_order_of_rows_is_nothing():
    rows = [(1, OSTEOCLAST, 0, 0, 30, 30), (2, DTC, DORMANT, 0, 30, 31), (3, DTC, DORMANT, 0, 31, 31)]
    there, back = (paint_rgb(make_frame(make_cells(*order)), scale=8) for order in (rows, rows[::-1]))
    np.testing.assert_array_equal(there, back)
    alone = paint_rgb(make_frame(make_cells(*rows[1:])), scale=8)
    tumour = (alone != paint_rgb(make_frame(), scale=8)).any(axis=2)
    np.testing.assert_array_equal(there[tumour], alone[tumour])


def test_cells_at_the_border_are_cut_not_wrapped():
    frame = make_frame(make_cells((1, DTC, CYCLING, 0, 0, 39), (2, DTC, CYCLING, 0, 39, 39)))
    changed = np.argwhere((paint_rgb(frame, scale=4) != paint_rgb(make_frame(), scale=4)).any(axis=2))
    assert changed[:, 1].min() > 140 and changed[:, 0].min() == 0 and changed[:, 0].max() == 159
    assert not ((changed[:, 0] > 20) & (changed[:, 0] < 140)).any()


def test_the_followed_cell_has_a_ring_and_a_dead_one_none():
    frame = make_frame(make_cells((2**63 + 9, DTC, DORMANT, 0, 25, 25), (5, DTC, DORMANT, 0, 35, 35)))
    plain, ringed = paint_rgb(frame, scale=8), paint_rgb(frame, scale=8, follow=2**63 + 9)
    changed = np.argwhere((plain != ringed).any(axis=2)) - (25 * 8 + 4)
    far = np.hypot(*changed.T)
    assert len(changed) > 100 and far.min() > 6.0 and far.max() < 20.0
    np.testing.assert_array_equal(plain, paint_rgb(frame, scale=8, follow=12345))


def with_field(low, high):
    """A field that rises from low to high by equal factors from x = 13 on."""
    field = np.zeros((1, SIDE, SIDE), np.float32)
    field[..., 13:] = np.geomspace(low, high, SIDE - 13)
    return make_frame(rankl=field)


def test_an_overlay_has_the_colours_of_its_bar_and_spares_bone():
    frame = with_field(1e-3, 1e-1)
    picture = paint(frame, overlay="rankl", limits=(1e-3, 1e-1), scale=6)
    image = paint_rgb(frame, overlay="rankl", limits=(1e-3, 1e-1), scale=6).astype(int)
    assert (picture.bar.label, picture.bar.unit, picture.bar.low, picture.bar.high) == ("RANKL", "nmol/L", 1e-3, 1e-1)
    assert [text for _, text in picture.bar.ticks] == ["0.001", "0.01", "0.1"]
    np.testing.assert_allclose([place for place, _ in picture.bar.ticks], [0.0, 0.5, 1.0], atol=1e-9)
    row = np.array([centre(image, 30, x, 6) for x in range(14, SIDE)])
    ends = np.array([colour(picture.bar.colours[i]) for i in (0, -1)])
    assert np.abs(row[0] - ends[0]).max() < 25 and np.abs(row[-1] - ends[1]).max() < 25
    assert (np.diff(row.sum(axis=1)) < 0).all()  # darker and darker
    assert centre(image, 5, 5, 6) == colour(palette.BONE) and centre(image, 7, 27, 6) == colour(palette.SINUSOID)


def test_limits_hold_a_scale_over_time():
    weak, strong = with_field(1e-3, 1e-2), with_field(1e-3, 1e-1)
    held = find_limits(strong, "rankl")
    assert held[1] == pytest.approx(0.1, rel=0.1)
    own, compared = (paint_rgb(weak, overlay="rankl", limits=limits, scale=2).astype(int).sum() for limits in (None, held))
    assert compared > own  # paler on the scale of the stronger
    assert paint(weak, overlay="rankl", limits=held).bar == paint(strong, overlay="rankl", limits=held).bar


def test_one_bright_voxel_does_not_set_the_scale():
    frame = with_field(1e-3, 1e-2)
    frame.maps["rankl"][0, 0, 39] = 1e6
    assert find_limits(frame, "rankl")[1] == pytest.approx(1e-2, rel=0.2)


def test_an_even_field_has_a_scale_too():
    low, high = find_limits(make_frame(opg=np.full((1, SIDE, SIDE), 0.5, np.float32)), "opg")
    assert 0 < low < high == 0.5


def test_an_empty_overlay_is_painted_pale():
    frame = make_frame(tgf_beta=np.zeros((1, SIDE, SIDE), np.float32))
    picture = paint(frame, overlay="tgf_beta", scale=2)
    assert (picture.bar.low, picture.bar.high) == (0.0, 0.0)
    image = paint_rgb(frame, overlay="tgf_beta", scale=2)
    assert centre(image, 30, 30, 2) == colour(picture.bar.colours[0])
    assert paint(frame, overlay="tgf_beta", scale=2, limits=(0.0, 0.0)).png == picture.png


def test_drug_is_a_line_on_the_surface_of_bone():
    drug = np.zeros((1, SIDE, SIDE), np.float32)
    drug[..., :20, 12] = 0.01  # exposed bone of the upper half
    frame = make_frame(drug_surface=drug)
    picture = paint(frame, overlay="drug_surface", scale=8)
    image = paint_rgb(frame, overlay="drug_surface", scale=8)
    changed = np.argwhere((image != paint_rgb(make_frame(), scale=8)).any(axis=2))
    assert (np.abs(changed[:, 1] - 13 * 8) <= 8).all() and changed[:, 0].max() < 22 * 8
    assert len(np.unique(changed[:, 0])) > 19 * 8  # along all of it
    assert picture.bar.high == pytest.approx(0.01) and picture.bar.unit == "fmol/µm²"


def test_buried_drug_is_inside_bone():
    buried = np.zeros((1, SIDE, SIDE), np.float32)
    buried[..., 10, 5] = 0.01
    image = paint_rgb(make_frame(drug_buried=buried), overlay="drug_buried", scale=8)
    assert centre(image, 10, 5, 8) != colour(palette.BONE)
    assert centre(image, 30, 30, 8) == colour(palette.MARROW)


def test_classes_are_named_in_the_legend():
    terms = np.full((1, SIDE, SIDE), NO_TERM, np.int8)
    terms[..., 20:, 13:] = 2
    frame = make_frame(limiting_term=terms, bmu=terms > 0)
    picture = paint(frame, overlay="limiting_term", scale=4)
    image = paint_rgb(frame, overlay="limiting_term", scale=4)
    assert picture.bar is None
    label, shade = picture.legend[0]
    assert label == palette.TERMS["nourishment"].label and centre(image, 30, 30, 4) == colour(shade)
    assert centre(image, 16, 20, 4) == colour(palette.MARROW)
    label, shade = paint(frame, overlay="bmu", scale=4).legend[0]
    assert label == "remodelling unit"
    assert centre(paint_rgb(frame, overlay="bmu", scale=4), 30, 30, 4) == colour(shade)


def test_a_plane_of_a_stack_shows_its_own_cells_and_those_beside_it():
    frame = make_frame(make_cells(*((i + 1, DTC, CYCLING, i, 30, 20 + 2 * i) for i in range(9))), planes=9)
    body = colour(palette.CELLS["cycling"].colour)

    def shown(plane):
        columns = np.flatnonzero((paint_rgb(frame, plane=plane, scale=5) == body).all(axis=2).any(axis=0))
        return {int(i) for i in range(9) if (np.abs(columns - (20 + 2 * i) * 5 - 2) <= 1).any()}

    assert shown(0) == {0, 1} and shown(4) == shown(None) == {3, 4, 5} and shown(8) == {7, 8}


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"plane": 1}, "plane: there is no plane 1; this patch has 1, from 0 to 0"),
        ({"scale": 0}, "scale: expected a whole number of pixels a voxel from 1 to 102, not 0"),
        ({"scale": 2.5}, "not 2.5"),
        ({"scale": MOST_PIXELS}, "not 4096"),
        ({"overlay": "rank"}, "overlay: there is no 'rank'; did you mean 'rankl'"),
        ({"overlay": "opg"}, "this frame was taken without 'opg'"),
        ({"overlay": "rankl", "limits": (1.0, 0.5)}, "the first the smaller, not 1 and 0.5"),
        ({"overlay": "rankl", "limits": (0.0, 0.5)}, "RANKL has a logarithmic scale, which begins above 0, not at 0"),
        ({"overlay": "rankl", "limits": (1.0, float("nan"))}, "expected two finite numbers"),
        ({"overlay": "rankl", "limits": 3}, "expected two numbers, low and high, not 3"),
    ],
)
def test_bad_input_is_one_message(wrong, message):
    with pytest.raises(InputError) as caught:
        paint(with_field(1e-3, 1e-1), **wrong)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_every_overlay_can_be_painted():
    shape = (1, SIDE, SIDE)
    for name, look in OVERLAYS.items():
        values = np.zeros(shape, bool if name == "bmu" else np.int8 if look.scale == "categorical" else np.float32)
        values[:] = np.arange(SIDE) % 2
        picture = paint(make_frame(**{name: values}), overlay=name, scale=1)
        assert (picture.bar is None) == (look.scale == "categorical"), name


# ---------------------------------------------------------------- a stack from a side


def make_stack(*cells, **maps):
    """Marrow of 24 voxels a side with a plate of bone at z = 8 to 11 and a vessel along x below it, at z = 4, y = 12."""
    shape = (24, 24, 24)
    mineral, sinusoid = np.zeros(shape, np.float32), np.zeros(shape, bool)
    mineral[8:12] = 1.0
    sinusoid[3:6, 11:14] = True
    tissue = {"mineral": mineral, "sinusoid": sinusoid, "laid_step": np.zeros(shape, np.int32)}
    return Frame("control", 0.0, 20.0, tissue | maps, make_cells(*cells))


def looks_like(image, text):
    """Where an image has a hue within a few degrees, whatever its light."""
    wanted = palette.read_rgb(text)
    share = image / np.maximum(image.max(axis=2, keepdims=True), 1)
    return (np.abs(share - wanted / wanted.max()).max(axis=2) < 0.08) & (image.min(axis=2) < 235)


def test_from_above_a_stack_lies_as_a_plane_does():
    frame = make_stack((1, DTC, CYCLING, 20, 3, 18), (2, DTC, DORMANT, 5, 18, 3))
    image = paint_volume_rgb(frame, azimuth=0, elevation=90, size=300)
    scale = 0.98 * 300 / (24 * np.sqrt(3))
    red = np.argwhere(looks_like(image, palette.CELLS["cycling"].colour)).mean(axis=0)
    np.testing.assert_allclose(red, 149.5 + scale * (np.array([3.5, 18.5]) - 12), atol=2.5)
    assert not looks_like(image, palette.CELLS["dormant"].colour).any()  # below the plate
    below = paint_volume_rgb(frame, azimuth=0, elevation=-90, size=300)
    assert looks_like(below, palette.CELLS["dormant"].colour).any()


def test_bone_hides_what_is_behind_it_until_it_is_cut_away():
    closed, opened = (
        paint_volume_rgb(make_stack(), azimuth=0, elevation=90, size=200, cut=cut).astype(int) for cut in (None, 5)
    )
    pink = [np.argwhere(image[..., 0] - image[..., 2] > 45) for image in (closed, opened)]
    assert len(pink[0]) == 0 and np.ptp(pink[1][:, 1]) > 5 * np.ptp(pink[1][:, 0]) > 0  # along x, the columns
    solid = [looks_like(image, SOLID).sum() for image in (closed, opened)]
    assert solid[1] < 0.06 * solid[0]  # the edges of the block


def test_axes_turn_with_the_viewer():
    right, down, ahead = aim(0, 0)
    np.testing.assert_allclose([right, down, ahead], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    for azimuth, elevation in ((30, 20), (200, -70), (-45, 90)):
        axes = aim(azimuth, elevation)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(np.linalg.det(aim(0, 0)))


def test_an_overlay_colours_the_surface_of_bone():
    drug = np.zeros((24, 24, 24), np.float32)
    drug[11, :, 12:] = 0.02
    frame = make_stack(drug_surface=drug)
    view = {"azimuth": 0, "elevation": 90, "size": 200, "overlay": "drug_surface", "limits": (0.0, 0.02)}
    picture, image = paint_volume(frame, **view), paint_volume_rgb(frame, **view).astype(int)
    assert picture.bar.high == 0.02 and picture.bar.unit == "fmol/µm²"
    left, right = image[100, 70], image[100, 130]
    assert right[2] > right[0] + 60 and left[0] > left[2]  # blue, and the colour of bone
    classes = make_stack(bmu=drug > 0)
    assert paint_volume(classes, overlay="bmu", size=100).legend[0][0] == "remodelling unit"


def test_the_volume_is_a_png_that_repeats():
    frame = make_stack((2**63 + 1, DTC, CYCLING, 20, 3, 18))
    picture = paint_volume(frame, size=150, follow=2**63 + 1)
    image = np.asarray(Image.open(io.BytesIO(picture.png)))
    assert image.shape == (150, 150, 3) and (picture.width, picture.height) == (150, 150)
    np.testing.assert_array_equal(image, paint_volume_rgb(frame, size=150, follow=2**63 + 1))
    assert (image != paint_volume_rgb(frame, size=150)).any()
    assert [label for label, _ in picture.legend] == ["cycling DTC", "bone", "sinusoid"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"elevation": 91}, "elevation: expected degrees from -90 to 90, not 91"),
        ({"azimuth": float("inf")}, "azimuth: expected degrees, not inf"),
        ({"size": 63}, "size: expected a whole number of pixels from 64 to 2000, not 63"),
        ({"cut": 24}, "cut: there is no plane 24; this patch has 24, from 0 to 23"),
        ({"overlay": "opg"}, "this frame was taken without 'opg'"),
    ],
)
def test_bad_views_are_one_message(wrong, message):
    with pytest.raises(InputError) as caught:
        paint_volume(make_stack(), **wrong)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="volume: this patch is flat"):
        paint_volume(make_frame())
