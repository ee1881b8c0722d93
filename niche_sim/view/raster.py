"""The patch as a raster: tissue, an overlay, and cells, in 8-bit palette colours.

Tissue and overlay are numbers on the lattice, enlarged with linear interpolation and then turned into colours, so that the
surface of bone is a smooth line that moves as mineral does; cells are stamps (`stamps`). Nothing is drawn mark by mark:
the time is that of the pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from niche_sim.errors import InputError
from niche_sim.kinds import NO_TERM, TERM_NAMES
from niche_sim.view import palette, stamps
from niche_sim.view.frame import CellTable, Frame, find_overlay
from niche_sim.view.palette import BONE, INK, MARROW, NEW_BONE, OUTLINE, SINUSOID
from niche_sim.view.scales import STEPS, Bar, build_bar, check_limits, find_limits, list_colours, scale_values

LONG_SIDE = 900  # pixels that the longer side of a picture is near
MOST_PIXELS = 4096  # of one side
REACH = 1  # planes on either side of a slice of a stack whose cells are drawn too
UNIT = "#E377C2"  # BMUs

# Tissue on a scale of bytes: lumen 0, marrow 85, full bone 255. Linear interpolation between lumen and bone passes marrow.
_MARROW, _SURFACE, _WALL = 85, 170, 42
_LEVELS, _AGES = 20, 4  # colours of bone by mineral, and from old to new

# Places in the palette.
_LUMEN = _LEVELS * _AGES
_OVERLAY = _LUMEN + 8
_CELLS = _OVERLAY + STEPS
_RING = _CELLS + 3 * len(stamps.STAMPS)


@dataclass(frozen=True)
class Picture:
    """A painted frame.

    Attributes
    ----------
    png : bytes
    width, height : int
        In pixels.
    scale : int
        Pixels of a voxel.
    legend : list of (str, str)
        Label and CSS colour of what is there: cells, tissue, and the classes of a categorical overlay.
    bar : Bar or None
        Colour bar of the overlay.
    """

    png: bytes
    width: int
    height: int
    scale: int
    legend: list[tuple[str, str]]
    bar: Bar | None


def choose_scale(shape: tuple[int, ...]) -> int:
    """Return how many pixels wide a voxel is drawn, so that the longer side is about LONG_SIDE."""
    return max(1, round(LONG_SIDE / max(shape)))


def paint(
    frame: Frame, *, plane: int | None = None, overlay: str | None = None, limits: tuple[float, float] | None = None,
    scale: int | None = None, follow: int | None = None,
) -> Picture:  # fmt: skip
    """Paint one plane of a frame.

    Parameters
    ----------
    frame : Frame
    plane : int, optional
        z of the plane; the middle one by default. Cells of the planes beside it are drawn too.
    overlay : str, optional
        A name of OVERLAYS, which the frame must hold.
    limits : (float, float), optional
        Ends of the scale of the overlay; by default those of `find_limits`.
    scale : int, optional
        Pixels of a voxel; by default the longer side is about 900 pixels.
    follow : int, optional
        Identity of a cell to ring, if it lives and is near the plane.

    Raises
    ------
    InputError
        There is no such plane or overlay, the frame does not hold it, or limits or scale are not possible.
    """
    canvas = _compose(frame, plane, overlay, limits, scale, follow)
    image = Image.fromarray(canvas.numbers, "L")
    image = Image.frombytes("P", image.size, canvas.numbers.tobytes())
    image.putpalette(canvas.colours.tobytes())
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    height, width = canvas.numbers.shape
    return Picture(encoded.getvalue(), width, height, canvas.scale, canvas.legend, canvas.bar)


def paint_rgb(
    frame: Frame, *, plane: int | None = None, overlay: str | None = None, limits: tuple[float, float] | None = None,
    scale: int | None = None, follow: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the pixels of `paint` as red, green and blue: uint8, shape (height, width, 3)."""
    canvas = _compose(frame, plane, overlay, limits, scale, follow)
    return canvas.colours[canvas.numbers]


# ---------------------------------------------------------------- numbers


@dataclass
class _Canvas:
    numbers: np.ndarray  # uint8 (h, w), place in the palette
    colours: np.ndarray  # uint8 (places, 3)
    scale: int
    legend: list[tuple[str, str]]
    bar: Bar | None


def _compose(
    frame: Frame, plane: int | None, overlay: str | None, limits: tuple[float, float] | None, scale: int | None,
    follow: int | None,
) -> _Canvas:  # fmt: skip
    shape = frame.maps["mineral"].shape
    plane = _check_plane(plane, shape[0])
    scale = _check_scale(scale, shape[1:])
    if overlay is not None and overlay not in frame.maps:
        find_overlay(overlay)
        raise InputError(f"overlay: this frame was taken without {overlay!r}; name it when taking or reading the frame")
    maps = {name: array[plane] for name, array in frame.maps.items()}
    tissue = _enlarge(_code_tissue(maps["mineral"], maps["sinusoid"]), scale)
    over = overlay is not None and find_overlay(overlay).place == "marrow"
    numbers = _number_tissue(tissue, maps["laid_step"], scale)
    colours = _list_tissue_colours(over).copy()
    legend, bar = _list_tissues(maps), None
    if overlay is not None:
        bar, classes = _lay_over(frame, overlay, limits, maps, tissue, numbers, colours, scale)
        legend = classes + legend
    present = _draw_cells(numbers, frame.cells, plane, shape[0], scale, follow)
    return _Canvas(numbers, colours, scale, [*present, *legend], bar)


def _check_plane(plane: int | None, planes: int) -> int:
    if plane is None:
        return planes // 2
    if not 0 <= plane < planes:
        raise InputError(f"plane: there is no plane {plane}; this patch has {planes}, from 0 to {planes - 1}")
    return int(plane)


def _check_scale(scale: int | None, shape: tuple[int, ...]) -> int:
    if scale is None:
        return choose_scale(shape)
    if scale < 1 or scale != int(scale) or max(shape) * scale > MOST_PIXELS:
        most = max(1, MOST_PIXELS // max(shape))
        raise InputError(f"scale: expected a whole number of pixels a voxel from 1 to {most}, not {scale}")
    return int(scale)


def _enlarge(values: np.ndarray, scale: int, smooth: bool = True) -> np.ndarray:
    """Return bytes enlarged, with linear interpolation between the centres of voxels or as squares."""
    height, width = values.shape
    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(values).resize((width * scale, height * scale), way))


def _code_tissue(mineral: np.ndarray, sinusoid: np.ndarray) -> np.ndarray:
    """Return tissue as bytes, steps of the surface smoothed; three quarters of a voxel stay what they are."""
    code = _MARROW + (255 - _MARROW) * np.clip(mineral, 0.0, 1.0)
    lumen = sinusoid & (mineral <= 0.0)
    code[lumen] = 0
    smooth = _blur(code.astype(np.float32))
    bone = mineral >= 0.5
    smooth[bone] = np.maximum(smooth[bone], _MARROW + 0.75 * (255 - _MARROW))
    smooth[lumen] = np.minimum(smooth[lumen], 0.25 * _MARROW)
    home = ~bone & ~lumen
    smooth[home] = np.clip(smooth[home], 0.75 * _MARROW, _MARROW + 0.25 * (255 - _MARROW))
    return smooth.round().astype(np.uint8)


def _blur(values: np.ndarray) -> np.ndarray:
    """Return the mean over each value and its eight neighbours, weighted 4, 2 and 1."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


@lru_cache(maxsize=64)
def _list_numbers(scale: int) -> np.ndarray:
    """Return the place in the palette of every code of tissue, for each age of bone: uint8, shape (_AGES * 256,).

    An edge is soft over about two pixels.
    """
    code = np.arange(256)
    sharp = max(scale / 1.3, 1.5)
    cover = (code - _MARROW) / (255 - _MARROW)  # of mineral
    soft = np.clip((cover - 0.5) * sharp + 0.5, 0.0, 1.0)
    level = np.where(soft < 1.0, soft * 11, 11 + np.clip((cover - 0.5) * 16, 0, 8)).round()
    lumen = np.clip((_WALL - code) / _MARROW * sharp + 0.5, 0.0, 1.0)
    table = np.empty((_AGES, 256), np.uint8)
    for age in range(_AGES):
        table[age] = np.where(code < _MARROW, _LUMEN + (7 * lumen).round(), age * _LEVELS + np.clip(level, 0, _LEVELS - 1))
    return table.ravel()


def _number_tissue(tissue: np.ndarray, laid: np.ndarray, scale: int) -> np.ndarray:
    table = _list_numbers(scale)
    fresh = laid > 0
    if not fresh.any():
        return table.take(tissue)
    age = _enlarge(fresh * np.uint8(255), scale) >> 6
    return table.take(age.astype(np.intp) * 256 + tissue)


def _rgb(colour: str) -> np.ndarray:
    return 255 * palette.read_rgb(colour)


def _ramp(stops: list[tuple[float, np.ndarray]], count: int) -> np.ndarray:
    places = np.linspace(0, 1, count)
    return np.stack([np.interp(places, [p for p, _ in stops], [c[i] for _, c in stops]) for i in range(3)], axis=1)


@lru_cache(maxsize=2)
def _list_tissue_colours(over: bool) -> np.ndarray:
    """Return the palette: bone from old to new, each from marrow to full mineral, then lumen, overlay, cells and ring."""
    colours = np.zeros((_RING + 2, 3))
    outline = _rgb(OUTLINE)
    for age in range(_AGES):
        bone = _rgb(BONE) + (_rgb(NEW_BONE) - _rgb(BONE)) * age / (_AGES - 1)
        line = outline + (bone - outline) * 0.25
        pale = bone + (255 - bone) * 0.35
        start = line if over else _rgb(MARROW)
        colours[age * _LEVELS : (age + 1) * _LEVELS] = _ramp([(0, start), (0.4, line), (0.58, pale), (1, bone)], _LEVELS)
    colours[_LUMEN:_OVERLAY] = _ramp([(0, _rgb(MARROW)), (1, _rgb(SINUSOID))], 8)
    for i, look in enumerate(stamps.STAMPS):
        body = _rgb(palette.CELLS[look].colour)
        colours[_CELLS + 3 * i : _CELLS + 3 * i + 3] = 255 - (255 - body) * 0.12, body, body * 0.62
    colours[_RING], colours[_RING + 1] = 255.0, _rgb(INK)
    return colours.round().astype(np.uint8)


def _list_tissues(maps: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    legend = [("bone", BONE)]
    if (maps["laid_step"] > 0).any():
        legend.append(("bone laid since time 0", NEW_BONE))
    return [*legend, ("sinusoid", SINUSOID)] if maps["sinusoid"].any() else legend


# ---------------------------------------------------------------- overlay


def _lay_over(
    frame: Frame, overlay: str, limits: tuple[float, float] | None, maps: dict[str, np.ndarray], tissue: np.ndarray,
    numbers: np.ndarray, colours: np.ndarray, scale: int,
) -> tuple[Bar | None, list[tuple[str, str]]]:  # fmt: skip
    """Write an overlay into numbers and palette; return its colour bar and the legend of its classes."""
    look = find_overlay(overlay)
    bone = maps["mineral"] >= 0.5
    if overlay == "limiting_term":
        return None, _lay_terms(maps[overlay], bone | maps["sinusoid"], tissue, numbers, colours, scale)
    if overlay == "bmu":
        numbers[_enlarge(maps[overlay] * np.uint8(255), scale) > 127] = _OVERLAY
        colours[_OVERLAY] = _rgb(UNIT)
        return None, [("remodelling unit", UNIT)] if maps[overlay].any() else []
    limits = find_limits(frame, overlay) if limits is None else check_limits(limits, look)
    colours[_OVERLAY : _OVERLAY + STEPS] = list_colours(look.colours)
    share = (1 + (STEPS - 1) * scale_values(maps[overlay], limits, look)).round().astype(np.uint8)  # 0: not defined
    if look.place == "marrow":
        share[bone | maps["sinusoid"]] = 0
        shown = (tissue < _SURFACE) & (tissue > _WALL)
    elif look.place == "surface":
        share[~bone | (maps[overlay] <= 0)] = 0
        half = (255 - _MARROW) * min(0.35, max(0.15, 0.7 / scale))  # a line of about two pixels or half a voxel
        shown = np.abs(tissue.astype(np.int16) - _SURFACE) < half
    else:
        share[~bone] = 0
        shown = tissue >= _SURFACE
    grown = _grow(share)
    enlarged = _enlarge(grown, scale)
    if look.place == "surface":
        shown &= _enlarge(grown, scale, smooth=False) > 0
    np.copyto(numbers, np.maximum(enlarged, 1) + np.uint8(_OVERLAY - 1), where=shown)
    return build_bar(look, limits), []


def _grow(share: np.ndarray) -> np.ndarray:
    """Return an array in which voxels at 0, not defined, hold the largest of the eight around them: edges do not fade."""
    padded = np.pad(share, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    most = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return np.where(share > 0, share, most)


def _lay_terms(
    terms: np.ndarray, nowhere: np.ndarray, tissue: np.ndarray, numbers: np.ndarray, colours: np.ndarray, scale: int
) -> list[tuple[str, str]]:
    looks = [palette.TERMS[name] for name in TERM_NAMES]
    for i, look in enumerate(looks):
        colours[_OVERLAY + 1 + i] = 255 - (255 - _rgb(look.colour)) * 0.6  # paler, so that cells stand out
    colours[_OVERLAY] = _rgb(MARROW)
    classes = (terms - NO_TERM + 1).astype(np.uint8)  # 1: no term
    classes[nowhere] = 0
    shown = (tissue < _SURFACE) & (tissue > _WALL)
    np.copyto(numbers, _enlarge(np.maximum(_grow(classes), 1), scale, smooth=False) + np.uint8(_OVERLAY - 1), where=shown)
    return [(look.label, palette.write_css(colours[_OVERLAY + 1 + i])) for i, look in enumerate(looks) if (terms == i).any()]


# ---------------------------------------------------------------- cells


def _draw_cells(
    numbers: np.ndarray, cells: CellTable, plane: int, planes: int, scale: int, follow: int | None
) -> list[tuple[str, str]]:
    """Press the cells near a plane on the image, tumour cells last, and ring one; return the legend of those present."""
    order = np.argsort(cells.ident)  # a living table and a recorded one look alike
    if planes > 1:
        order = order[np.abs(cells.z[order] - plane) <= REACH]
    looks = stamps.name_looks(cells)[order]
    y, x = cells.y[order] * scale + scale // 2, cells.x[order] * scale + scale // 2
    present = []
    for i, look in enumerate(stamps.STAMPS):
        chosen = looks == i
        if chosen.any():
            present.append((palette.CELLS[look].label, palette.CELLS[look].colour))
            stamps.press(numbers, y[chosen], x[chosen], stamps.cut_stamp(look, scale), _CELLS + 3 * i)
    ringed = np.flatnonzero(cells.ident[order] == np.uint64(follow)) if follow is not None else ()
    for row in ringed:
        ring = stamps.cut_ring(stamps.find_radius(list(stamps.STAMPS)[looks[row]], scale) + 5.0)
        stamps.press(numbers, y[row : row + 1], x[row : row + 1], ring, _RING)
    return present
