"""The 3-D view of a stack, painted on the server: bone and sinusoids as shaded surfaces, cells as small balls.

Parallel rays, the light from above left. The surface is where the smoothed tissue passes one half, so that it is not a
staircase; hollows are darker (`rays.cast`), and what lies far behind fades.
"""

from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, grey_dilation, uniform_filter

from niche_sim.errors import InputError
from niche_sim.kinds import NO_TERM, TERM_NAMES
from niche_sim.view import palette, stamps
from niche_sim.view.frame import Frame, find_overlay
from niche_sim.view.raster import UNIT, Picture
from niche_sim.view.rays import BONE, NOTHING, cast, drop
from niche_sim.view.scales import STEPS, build_bar, check_limits, find_limits, list_colours, scale_values

SIZES = (64, 2000)  # of a picture, pixels
PAPER = "#ffffff"
VESSEL = "#e4a097"
SOLID = "#e6dcc6"  # bone in full light
FAINT = "#b9b4ab"  # edges of the block
FADE = 0.35  # towards the paper, of what is farthest
COARSE = 1.5  # pixels of the picture to one ray, along each side

BALLS = {"osteoblast": 0.5, "osteoclast": 1.5, "dormant": 1.2, "cycling": 1.1}  # radii in voxels: larger than cells


def paint_volume(
    frame: Frame, *, azimuth: float = 30.0, elevation: float = 30.0, size: int = 600, overlay: str | None = None,
    cut: int | None = None, limits: tuple[float, float] | None = None, follow: int | None = None,
) -> Picture:  # fmt: skip
    """Paint a stack as it is seen from a side.

    Parameters
    ----------
    frame : Frame
        Of more than one plane.
    azimuth, elevation : float
        Where one looks from, in degrees: around the z axis, and above the horizon. From 90 degrees above at azimuth 0 the
        picture lies as that of a plane does.
    size : int
        Width and height in pixels.
    overlay : str, optional
        A name of OVERLAYS, which the frame must hold; colours the surface of bone by what lies at it.
    cut : int, optional
        Highest plane that is shown; those above it are taken away.
    limits : (float, float), optional
        Ends of the scale of the overlay; by default those of `find_limits`.
    follow : int, optional
        Identity of a cell to ring, if it lives and is shown.

    Raises
    ------
    InputError
        The frame is of one plane, or an argument is not possible.
    """
    image, scale, legend, bar = _draw(frame, azimuth, elevation, size, overlay, cut, limits, follow)
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=1)
    return Picture(encoded.getvalue(), size, size, max(1, round(scale)), legend, bar)


def paint_volume_rgb(
    frame: Frame, *, azimuth: float = 30.0, elevation: float = 30.0, size: int = 600, overlay: str | None = None,
    cut: int | None = None, limits: tuple[float, float] | None = None, follow: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the pixels of `paint_volume` as red, green and blue: uint8, shape (size, size, 3)."""
    return _draw(frame, azimuth, elevation, size, overlay, cut, limits, follow)[0]


def _check(frame: Frame, azimuth: float, elevation: float, size: int, overlay: str | None, cut: int | None) -> None:
    planes = frame.maps["mineral"].shape[0]
    if planes == 1:
        raise InputError("volume: this patch is flat, one plane of voxels; a scene with three edges in `size` is not")
    if not np.isfinite(azimuth):
        raise InputError(f"azimuth: expected degrees, not {azimuth}")
    if not -90.0 <= elevation <= 90.0:
        raise InputError(f"elevation: expected degrees from -90 to 90, not {elevation}")
    if not (SIZES[0] <= size <= SIZES[1] and size == int(size)):
        raise InputError(f"size: expected a whole number of pixels from {SIZES[0]} to {SIZES[1]}, not {size}")
    if cut is not None and not 0 <= cut < planes:
        raise InputError(f"cut: there is no plane {cut}; this patch has {planes}, from 0 to {planes - 1}")
    if overlay is not None and overlay not in frame.maps:
        find_overlay(overlay)
        raise InputError(f"overlay: this frame was taken without {overlay!r}; name it when taking or reading the frame")


def _draw(
    frame: Frame, azimuth: float, elevation: float, size: int, overlay: str | None, cut: int | None,
    limits: tuple[float, float] | None, follow: int | None,
) -> tuple:  # fmt: skip
    _check(frame, azimuth, elevation, size, overlay, cut)
    shape = frame.maps["mineral"].shape
    edges = np.array([shape[0] if cut is None else cut + 1, *shape[1:]], float)
    axes = aim(azimuth, elevation)
    middle, scale = 0.5 * np.array(shape, float), measure_scale(shape, size)
    rays = round(size / COARSE)
    view = _place_camera(shape, axes, middle, scale * rays / size)
    depth, matter, shade, place = _cast(frame, view, edges, axes, rays)
    surface, classes, bar = _colour_bone(frame, overlay, limits)
    image = _light(depth, matter, shade, place, surface, float(np.linalg.norm(shape)))
    picture = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)).copy()
    far = np.asarray(Image.fromarray(depth).resize((size, size), Image.Resampling.NEAREST)).copy()
    _draw_block(picture, far, edges, axes, middle, scale)
    present = _draw_balls(picture, far, frame, edges, axes, middle, scale, follow)
    legend = [*present, *classes, ("bone", SOLID)]
    return picture, scale, legend + [("sinusoid", VESSEL)] * bool(frame.maps["sinusoid"].any()), bar


# ---------------------------------------------------------------- where one looks from


def aim(azimuth: float, elevation: float) -> np.ndarray:
    """Return unit vectors (z, y, x) to the right, down and away from the viewer: float64, shape (3, 3)."""
    a, e = np.radians(azimuth), np.radians(elevation)
    right = np.array([0.0, np.sin(a), np.cos(a)])
    ahead = np.array([0.0, -np.cos(a), np.sin(a)])
    top = np.array([1.0, 0.0, 0.0])
    return np.stack([right, -(np.sin(e) * ahead + np.cos(e) * top), np.cos(e) * ahead - np.sin(e) * top])


def measure_scale(shape: tuple[int, ...], size: int) -> float:
    """Return the pixels of a voxel at which a block fits a picture however it is turned."""
    return 0.98 * size / float(np.linalg.norm(shape))


def _place_camera(shape: tuple[int, ...], axes: np.ndarray, middle: np.ndarray, scale: float) -> np.ndarray:
    return np.stack([middle - np.linalg.norm(shape) * axes[2], axes[0] / scale, axes[1] / scale, axes[2]])


def _project(
    points: np.ndarray, shape: tuple[int, ...], axes: np.ndarray, middle: np.ndarray, scale: float, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column (pixels) and depth (voxels) of points (z, y, x)."""
    turned = (points - middle) @ axes.T
    half = 0.5 * (size - 1)
    return half + scale * turned[:, 1], half + scale * turned[:, 0], turned[:, 2] + np.linalg.norm(shape)


# ---------------------------------------------------------------- surfaces


def _cast(frame: Frame, view: np.ndarray, edges: np.ndarray, axes: np.ndarray, rays: int) -> tuple[np.ndarray, ...]:
    mineral, sinusoid = frame.maps["mineral"].astype(np.float32), frame.maps["sinusoid"].astype(np.float32)
    bone = gaussian_filter(mineral, 0.8, truncate=2.5)
    vessel = 1.35 * gaussian_filter(sinusoid, 0.8, truncate=2.5)  # a tube of two voxels would vanish by smoothing
    solid = np.maximum(bone, vessel)
    soft, crowd = uniform_filter(solid, 3), uniform_filter(solid, 7)
    depth, shade = np.empty((rays, rays), np.float32), np.zeros((rays, rays), np.float32)
    matter, place = np.empty((rays, rays), np.uint8), np.zeros((rays, rays), np.int32)
    light = -0.45 * axes[0] - 0.75 * axes[1] - 0.6 * axes[2]
    cast(solid, bone, soft, crowd, view, edges, light / np.linalg.norm(light), depth, matter, shade, place)
    return depth, matter, shade, place


def _colour_bone(frame: Frame, overlay: str | None, limits: tuple[float, float] | None) -> tuple:
    """Return the colour of bone at each voxel in front of it (or one for all), the legend of classes and the colour bar."""
    solid = 255 * palette.read_rgb(SOLID)
    if overlay is None:
        return solid, [], None
    look, values = find_overlay(overlay), frame.maps[overlay]
    if overlay == "bmu":
        table = np.stack([solid, 255 * palette.read_rgb(UNIT)])
        return table[grey_dilation(values.astype(np.uint8), 3)], [("remodelling unit", UNIT)] * bool(values.any()), None
    if overlay == "limiting_term":
        looks = [palette.TERMS[name] for name in TERM_NAMES]
        table = np.stack([solid, *(255 * palette.read_rgb(term.colour) for term in looks)])
        seen = [(term.label, term.colour) for i, term in enumerate(looks) if (values == i).any()]
        return table[values - NO_TERM], seen, None
    limits = find_limits(frame, overlay) if limits is None else check_limits(limits, look)
    step = (1 + (STEPS - 1) * scale_values(values, limits, look)).round().astype(np.uint8)
    bone = frame.maps["mineral"] >= 0.5
    step[bone if look.place == "marrow" else values <= 0 if look.place == "surface" else ~bone] = 0
    if look.place != "marrow":  # it lies at the surface of bone, and is asked for in front of it
        step = np.where(step > 0, step, grey_dilation(step, 3))
    table = np.concatenate([solid[None], list_colours(look.colours)])
    return table[step], [], build_bar(look, limits)


def _light(
    depth: np.ndarray, matter: np.ndarray, shade: np.ndarray, place: np.ndarray, surface: np.ndarray, reach: float
) -> np.ndarray:
    """Return red, green and blue of every ray: the colour of what it met times its light, fading with depth."""
    paper = 255 * palette.read_rgb(PAPER)
    colour = np.where((matter == BONE)[..., None], surface if surface.ndim == 1 else surface.reshape(-1, 3)[place],
                      255 * palette.read_rgb(VESSEL))  # fmt: skip
    near = 0.6 * reach
    fade = FADE * np.clip((np.where(np.isfinite(depth), depth, 0.0) - near) / (0.8 * reach), 0.0, 1.0)[..., None]
    lit = np.clip(colour * shade[..., None], 0, 255)
    lit = lit + (paper - lit) * fade
    return np.where((matter == NOTHING)[..., None], paper, lit).round().astype(np.uint8)


def _draw_block(
    picture: np.ndarray, far: np.ndarray, edges: np.ndarray, axes: np.ndarray, middle: np.ndarray, scale: float
) -> None:
    """Draw the edges of the block where nothing lies in front of them, in place."""
    corners = np.array([[z, y, x] for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * edges
    size, share = len(picture), np.linspace(0, 1, len(picture))[:, None]
    shape = tuple(2 * middle)
    for a in range(8):
        for b in (a ^ 1, a ^ 2, a ^ 4):
            if a < b:
                line = corners[a] * (1 - share) + corners[b] * share
                row, column, depth = _project(line, shape, axes, middle, scale, size)
                row, column = row.round().astype(int), column.round().astype(int)
                inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
                row, column, depth = row[inside], column[inside], depth[inside]
                seen = depth <= far[row, column] + 0.5
                picture[row[seen], column[seen]] = (255 * palette.read_rgb(FAINT)).astype(np.uint8)


# ---------------------------------------------------------------- cells


def _draw_balls(
    picture: np.ndarray, far: np.ndarray, frame: Frame, edges: np.ndarray, axes: np.ndarray, middle: np.ndarray,
    scale: float, follow: int | None,
) -> list[tuple[str, str]]:  # fmt: skip
    """Draw tumour cells, osteoclasts and osteoblasts as balls, in place; return their legend."""
    cells, names = frame.cells, list(stamps.STAMPS)
    looks = stamps.name_looks(cells)
    shown = [names.index(name) for name in BALLS]
    chosen = np.flatnonzero(np.isin(looks, shown) & (cells.z < edges[0]))
    chosen = chosen[np.argsort(cells.ident[chosen])]
    points = np.stack([cells.z[chosen], cells.y[chosen], cells.x[chosen]], axis=1) + 0.5
    place = np.stack(_project(points, tuple(2 * middle), axes, middle, scale, len(picture)), axis=1)
    radius = np.array([max(BALLS.get(name, 0.0) * scale, 1.5) for name in names])[looks[chosen]]
    colour = np.stack([255 * palette.read_rgb(palette.CELLS[name].colour) for name in names])[looks[chosen]]
    drop(picture, far, place, radius, float(scale), colour)
    for k in np.flatnonzero(cells.ident[chosen] == np.uint64(follow)) if follow is not None else ():
        _ring(picture, round(place[k, 0]), round(place[k, 1]), float(radius[k]))
    present = [names[i] for i in shown if (looks[chosen] == i).any()]
    return [(palette.CELLS[name].label, palette.CELLS[name].colour) for name in present]


def _ring(picture: np.ndarray, row: int, column: int, radius: float) -> None:
    dy, dx, part = stamps.cut_ring(radius + 5.0)
    y, x = dy + row, dx + column
    inside = (y >= 0) & (y < len(picture)) & (x >= 0) & (x < len(picture))
    colours = (255 * np.stack([palette.read_rgb(PAPER), palette.read_rgb(palette.INK)])).astype(np.uint8)
    picture[y[inside], x[inside]] = colours[part[inside] - stamps.EDGE]
