"""Scenes: where bone and sinusoids are, from a generator or from an image.

Trabeculae are the places where a band-pass Gaussian random field is nearest to zero: plates in 3-D, struts in 2-D, whose
thickness and separation follow from its wavelength and from the share of volume that is bone.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from niche_sim.errors import InputError
from niche_sim.kinds import MOST_VOXELS

MOST_PER_AXIS = 4096
SPECK_UM = 70.0  # fragments of bone and holes of marrow smaller than this across are removed


class Scene(NamedTuple):
    """Tissue of a patch.

    Attributes
    ----------
    bone, sinusoid : ndarray of bool, shape (nz, ny, nx)
        Disjoint; nz is 1 in 2-D.
    voxel_um : float
    periodic : bool
    description : str
    """

    bone: np.ndarray
    sinusoid: np.ndarray
    voxel_um: float
    periodic: bool
    description: str


def make_field(shape: tuple[int, ...], voxel_um: float, wavelength_um: float, rng: np.random.Generator) -> np.ndarray:
    """Return a periodic Gaussian random field with its power in a band about one wavelength."""
    noise = np.fft.fftn(rng.standard_normal(shape))
    axes = np.meshgrid(*[np.fft.fftfreq(n, voxel_um) for n in shape], indexing="ij")
    frequency = np.sqrt(sum(axis**2 for axis in axes))
    peak = 1.0 / wavelength_um
    return np.fft.ifftn(noise * np.exp(-0.5 * ((frequency - peak) / (0.40 * peak)) ** 2)).real


def _fill_share(depth: np.ndarray, share: float) -> np.ndarray:
    """Return the mask of the `share` of voxels with the smallest depth."""
    order = np.argsort(depth, axis=None, kind="stable")
    mask = np.zeros(depth.size, bool)
    mask[order[: round(share * depth.size)]] = True
    return mask.reshape(depth.shape)


def _drop_specks(mask: np.ndarray, least: int) -> np.ndarray:
    """Return `mask` without connected parts of fewer than `least` voxels, counted across periodic faces."""
    pad = tuple((0, 0) if n == 1 else (n // 4, n // 4) for n in mask.shape)
    labels, _ = ndimage.label(np.pad(mask, pad, mode="wrap"))
    sizes = np.bincount(labels.ravel())
    keep = sizes >= least
    keep[0] = False
    inner = tuple(slice(p[0], p[0] + n) for p, n in zip(pad, mask.shape))
    return keep[labels][inner]


def _clean(depth: np.ndarray, share: float, least: int) -> np.ndarray:
    """Return bone of volume `share` without specks: dropping them and hitting the share again, a few times."""
    work = depth.copy()
    mask = _fill_share(work, share)
    for _ in range(4):
        solid = _drop_specks(mask, least)
        solid = ~_drop_specks(~solid, least)
        # Dropped places sink to the end of the order, filled holes rise to its start.
        work = np.where(mask & ~solid, depth.max() + depth, np.where(solid & ~mask, 0.0, work))
        mask = _fill_share(work, share)
    return mask


def count_faces(bone: np.ndarray, periodic: bool) -> int:
    """Return the number of voxel faces between bone and marrow."""
    faces = 0
    for axis in range(bone.ndim):
        if bone.shape[axis] > 1:
            change = bone != np.roll(bone, 1, axis=axis)
            faces += int(change.sum() if periodic else np.delete(change, 0, axis=axis).sum())
    return faces


def measure_scene(scene: Scene) -> dict[str, float]:
    """Return bone volume fraction, plate thickness and separation (um), surface (um2) and sinusoid share.

    Thickness is 2 BV / BS and separation 2 (TV - BV) / BS, the plate model (Parfitt et al. 1987); the staircase of
    voxels is reduced to true surface by pi / 4 in 2-D and 2 / 3 in 3-D.
    """
    flat = scene.bone.shape[0] == 1
    edge = scene.voxel_um
    faces = count_faces(scene.bone, scene.periodic) * (np.pi / 4 if flat else 2 / 3)
    bone = int(scene.bone.sum())
    return {
        "bone_volume_fraction": bone / scene.bone.size,
        "trabecular_thickness_um": 2 * bone * edge / max(faces, 1),
        "trabecular_separation_um": 2 * (scene.bone.size - bone) * edge / max(faces, 1),
        "bone_surface_um2": faces * edge * (20.0 if flat else edge),
        "sinusoid_fraction": float(scene.sinusoid.mean()),
    }


def generate_bone(spec: dict[str, Any], shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Return trabeculae of the wanted volume share, with a wavelength that brings thickness near its target."""
    edge, share, wanted = spec["voxel"], spec["bone_volume_fraction"], spec["trabecular_thickness"]
    periodic = spec["boundary"] == "periodic"
    field_shape = shape if periodic else tuple(n if n == 1 else n + n // 2 for n in shape)
    least = max(2, round((SPECK_UM / edge) ** (2 if shape[0] == 1 else 3)))
    wavelength = 2.0 * (wanted + spec["trabecular_separation"])
    best, best_miss = None, np.inf
    for _ in range(6):
        rng = np.random.Generator(np.random.Philox(seed))
        depth = np.abs(make_field(field_shape, edge, min(wavelength, 2.0 * max(shape) * edge), rng))
        depth = depth[tuple(slice(0, n) for n in shape)]
        bone = _clean(depth, share, least)
        empty = Scene(bone, np.zeros_like(bone), edge, periodic, "")
        thickness = measure_scene(empty)["trabecular_thickness_um"]
        miss = abs(thickness / wanted - 1.0)
        if miss < best_miss:
            best, best_miss = bone, miss
        wavelength *= wanted / thickness
    if best is None or not 0 < best.sum() < best.size or best_miss > 0.6:
        raise InputError(
            f"scene: {shape} voxels of {edge} um cannot hold trabeculae of {wanted} um at a bone volume share of {share};"
            " take a larger size, a finer voxel or thinner trabeculae"
        )
    return best


class VesselShape(NamedTuple):
    """How sinusoids are laid: spacing and diameter (um), voxel edge (um), whether faces touch."""

    spacing_um: float
    diameter_um: float
    voxel_um: float
    periodic: bool

    @property
    def radius_um(self) -> float:
        return max(0.5 * self.diameter_um, 0.5 * self.voxel_um)


def place_sinusoids(bone: np.ndarray, vessel: VesselShape, seed: int) -> np.ndarray:
    """Return sinusoids in marrow, clear of bone: cut vessels in 2-D, a network of tubes in 3-D.

    Nodes lie about one spacing apart. In 2-D each is a short capsule, a vessel cut aslant; in 3-D each is joined to its
    two nearest neighbours.
    """
    rng = np.random.Generator(np.random.Philox(seed + 1))
    clear = _distance(bone, vessel.periodic) * vessel.voxel_um
    candidates = np.argwhere(clear > vessel.radius_um + 1.5 * vessel.voxel_um)
    rng.shuffle(candidates)
    nodes = _spread(candidates, bone.shape, vessel)
    mask = np.zeros(bone.shape, bool)
    for number, node in enumerate(nodes):
        if bone.shape[0] == 1:
            angle = rng.uniform(0, np.pi)
            half = 1.5 * vessel.radius_um / vessel.voxel_um * np.array([0.0, np.sin(angle), np.cos(angle)])
            _stamp_tube(mask, node - half, 2 * half, vessel)
            continue
        steps = _shortest(np.delete(nodes, number, axis=0) - node, bone.shape, vessel.periodic)
        for step in steps[np.argsort(np.linalg.norm(steps, axis=1), kind="stable")[:2]]:
            _stamp_tube(mask, node, step, vessel)
    return mask & (clear > 1.5 * vessel.voxel_um)


def _shortest(steps: np.ndarray, shape: tuple[int, ...], periodic: bool) -> np.ndarray:
    """Return displacements (voxels) by the shortest way, across faces that touch."""
    return steps - np.round(steps / np.array(shape)) * np.array(shape) if periodic else steps


def _spread(candidates: np.ndarray, shape: tuple[int, ...], vessel: VesselShape) -> np.ndarray:
    """Return those candidates, taken in order, that keep their distance from all taken before."""
    least = 0.85 * vessel.spacing_um
    reach = int(least / vessel.voxel_um)
    sides = [np.zeros(1, int) if n == 1 else np.arange(-reach, reach + 1) for n in shape]
    ball = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) * vessel.voxel_um < least]
    taken, chosen = np.zeros(shape, bool), []
    for place in map(tuple, candidates.tolist()):
        if not taken[place]:
            chosen.append(place)
            taken[tuple(_wrap(ball + np.array(place), shape, vessel.periodic).T)] = True
    return np.array(chosen, int).reshape(-1, 3)


def _wrap(voxels: np.ndarray, shape: tuple[int, ...], periodic: bool) -> np.ndarray:
    """Return voxels that may lie outside, across faces that touch or left out."""
    inside = ((voxels >= 0) & (voxels < shape)).all(axis=1)
    return voxels % np.array(shape) if periodic else voxels[inside]


def _distance(bone: np.ndarray, periodic: bool) -> np.ndarray:
    """Return voxels from each marrow voxel to bone, across faces that touch."""
    if not periodic:
        return ndimage.distance_transform_edt(~bone)
    pad = tuple((0, 0) if n == 1 else (n // 3, n // 3) for n in bone.shape)
    inner = tuple(slice(p[0], p[0] + n) for p, n in zip(pad, bone.shape))
    return ndimage.distance_transform_edt(np.pad(~bone, pad, mode="wrap"))[inner]


def _stamp_tube(mask: np.ndarray, start: np.ndarray, step: np.ndarray, vessel: VesselShape) -> None:
    """Draw a round-ended tube from `start` along `step` (voxels), in place."""
    reach = int(np.ceil(vessel.radius_um / vessel.voxel_um))
    sides = [np.zeros(1, int) if n == 1 else np.arange(-reach, reach + 1) for n in mask.shape]
    offsets = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) * vessel.voxel_um <= vessel.radius_um + 0.25 * vessel.voxel_um]
    along = np.linspace(0.0, 1.0, 2 * int(np.ceil(np.linalg.norm(step))) + 1)
    centres = np.round(start + along[:, None] * step).astype(int)
    voxels = (centres[:, None] + offsets[None]).reshape(-1, 3)
    mask[tuple(_wrap(voxels, mask.shape, vessel.periodic).T)] = True


MOST_DISAGREEMENT = 0.05  # of the voxel that is stated and the one that the image itself carries
UM_PER_UNIT = {"micron": 1.0, "um": 1.0, "\u00b5m": 1.0, "\\u00B5m": 1.0, "mm": 1e3, "cm": 1e4, "nm": 1e-3, "inch": 25_400.0}


def read_tiff_voxel(path: Path) -> float | None:
    """Return the pixel edge (um) that a TIFF carries, in the way of ImageJ or in its resolution tags; None without one."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags  # type: ignore[union-attr]
        if "XResolution" not in tags:
            return None
        over, under = tags["XResolution"].value
        unit = (tiff.imagej_metadata or {}).get("unit")
        if unit is None and "ResolutionUnit" in tags:
            unit = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value))
        scale = UM_PER_UNIT.get(str(unit))
    return None if scale is None or not over or not under else scale * under / over


def check_voxel(path: Path, stated_um: float) -> None:
    """Refuse an image whose own voxel differs from the one that is stated."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return
    own = read_tiff_voxel(path)
    # Scanners and painting programs write 72 or 96 dots an inch when they know nothing.
    if own is None or any(abs(own - 25_400.0 / dots) < 1.0 for dots in (72, 96)):
        return
    if abs(own / stated_um - 1.0) > MOST_DISAGREEMENT:
        raise InputError(
            f"scene image {path}: image_voxel is {stated_um:g} um but the file says {own:.4g} um;"
            " correct image_voxel, or the resolution in the file"
        )


def read_image(path: Path) -> np.ndarray:
    """Return the image at `path` as an array of two or three axes; a file that cannot be read is bad input."""
    try:
        if path.suffix.lower() == ".npy":
            image = np.load(path, allow_pickle=False)
        elif path.suffix.lower() == ".png":
            from PIL import Image

            with Image.open(path) as picture:
                image = np.asarray(picture.convert("L"))
        else:
            import tifffile

            image = tifffile.imread(path)
    except Exception as error:  # the readers raise many kinds for a damaged file
        raise InputError(f"scene image {path}: cannot be read ({error}); expected a .npy, .tif or .png file") from None
    if image.ndim not in (2, 3) or image.dtype.kind not in "buif":
        raise InputError(f"scene image {path}: has {image.ndim} axes of {image.dtype}; expected 2 or 3 axes of numbers")
    if max(image.shape) > MOST_PER_AXIS:
        raise InputError(f"scene image {path}: is {image.shape}; at most {MOST_PER_AXIS} along an axis, crop it")
    return image if image.ndim == 3 else image[None]


def load_mask(spec: dict[str, Any]) -> np.ndarray:
    """Return bone from an image, resampled from its voxel to the lattice's."""
    path = Path(spec["file"])
    if spec["boundary"] == "periodic":
        raise InputError(f"scene image {path}: its edges do not meet; set boundary: closed")
    image = read_image(path)
    check_voxel(path, spec["image_voxel"])
    factor = spec["image_voxel"] / spec["voxel"]
    count = math.prod(1.0 if n == 1 else n * factor for n in image.shape)
    if count > MOST_VOXELS:
        raise InputError(
            f"scene image {path}: gives {count:.3g} voxels of {spec['voxel']:g} um; at most {MOST_VOXELS:.3g} fit"
        )
    threshold = spec.get("threshold")
    limit = threshold if threshold is not None else 0.5 * (float(image.min()) + float(image.max()))
    bone = (image > limit).astype(np.float64)
    zoom = [1.0 if n == 1 else factor for n in bone.shape]
    bone = ndimage.zoom(ndimage.gaussian_filter(bone, 0.5 / factor if factor < 1 else 0.0), zoom, order=1) > 0.5
    if not 0 < bone.sum() < bone.size:
        raise InputError(f"scene image {path}: is all bone or all marrow above {limit}; set another threshold")
    return bone


def build_scene(spec: dict[str, Any], seed: int) -> Scene:
    """Return the tissue that `spec` describes.

    Parameters
    ----------
    spec : dict
        The keys of a scene file, lengths in um, as `GeneratedScene.plain` and `ImageScene.plain` give them.
    seed : int
        Used unless the scene has a seed of its own.

    Raises
    ------
    InputError
        The image cannot be used, or the structure is impossible.
    """
    own = spec.get("seed")
    seed = int(seed if own is None else own)
    if spec["kind"] == "image":
        bone = load_mask(spec)
        text = f"bone from {Path(spec['file']).name}"
    else:
        size = [round(length / spec["voxel"]) for length in spec["size"]]
        bone = generate_bone(spec, tuple([1] * (3 - len(size)) + size), seed)
        text = "generated trabeculae"
    periodic = spec["boundary"] == "periodic"
    vessel = VesselShape(spec["sinusoid_spacing"], spec["sinusoid_diameter"], float(spec["voxel"]), periodic)
    return Scene(bone, place_sinusoids(bone, vessel, seed), float(spec["voxel"]), periodic, text)
