"""Kernels of the 3-D view: rays to the first surface that each meets, with its light, and balls before or behind it."""

import math

from niche_sim.kernel import inner, kernel

NOTHING, BONE, VESSEL = 0, 1, 2
STEP = 0.8  # of a ray, voxels
LEAST = 0.2  # a voxel below has no surface in it
HALVINGS = 4  # of the last step, to place the surface
SUNK = 0.6  # voxels that a ball may lie within a surface and still be seen whole
REACH = 3.0  # voxels in front of a surface where bone and vessels shade it


@inner
def _at(volume, z, y, x):
    """Return the value of the voxel that holds a point; beyond the border that of the nearest."""
    k = min(max(int(z), 0), volume.shape[0] - 1)
    j = min(max(int(y), 0), volume.shape[1] - 1)
    i = min(max(int(x), 0), volume.shape[2] - 1)
    return volume[k, j, i]


@inner
def _between(volume, z, y, x):
    """Return the value at a point, linear between the centres of voxels."""
    z, y, x = z - 0.5, y - 0.5, x - 0.5
    z = min(max(z, 0.0), volume.shape[0] - 1.0)
    y = min(max(y, 0.0), volume.shape[1] - 1.0)
    x = min(max(x, 0.0), volume.shape[2] - 1.0)
    k, j, i = int(z), int(y), int(x)
    c, b, a = z - k, y - j, x - i
    f, m, n = min(k + 1, volume.shape[0] - 1), min(j + 1, volume.shape[1] - 1), min(i + 1, volume.shape[2] - 1)
    low = (volume[k, j, i] * (1 - a) + volume[k, j, n] * a) * (1 - b)
    low += (volume[k, m, i] * (1 - a) + volume[k, m, n] * a) * b
    high = (volume[f, j, i] * (1 - a) + volume[f, j, n] * a) * (1 - b)
    high += (volume[f, m, i] * (1 - a) + volume[f, m, n] * a) * b
    return low * (1 - c) + high * c


@inner
def _enter(origin, way, edges):
    """Return where a ray enters and leaves a box from 0 to `edges`, and the axis that it enters by; never: enter > leave."""
    first, last, axis = -1e30, 1e30, 0
    for k in range(3):
        if abs(way[k]) < 1e-9:
            if origin[k] < 0.0 or origin[k] > edges[k]:
                return 1.0, 0.0, 0
            continue
        near, far = -origin[k] / way[k], (edges[k] - origin[k]) / way[k]
        if near > far:
            near, far = far, near
        if near > first:
            first, axis = near, k
        last = min(last, far)
    return first, last, axis


@inner
def _slope(volume, z, y, x):
    """Return the unit vector that points out of a surface, from solid to empty."""
    gz = _between(volume, z - 1, y, x) - _between(volume, z + 1, y, x)
    gy = _between(volume, z, y - 1, x) - _between(volume, z, y + 1, x)
    gx = _between(volume, z, y, x - 1) - _between(volume, z, y, x + 1)
    length = math.sqrt(gz * gz + gy * gy + gx * gx) + 1e-12
    return gz / length, gy / length, gx / length


@kernel
def cast(solid, bone, soft, crowd, view, edges, light, depth, matter, shade, place):
    """Follow a ray for each pixel to the first surface.

    Parameters
    ----------
    solid, bone, soft, crowd : float32 array, shape (nz, ny, nx)
        Bone and vessels together, bone alone (a surface is at 0.5), the first blurred for normals, and blurred widely.
    view : float64 array, shape (4, 3)
        In voxels, as (z, y, x): the point behind the middle of the picture, a step of a pixel to the right, one down, and
        the direction of the rays.
    edges : float64 array, shape (3,)
        What is shown reaches from 0 to here.
    light : float64 array, shape (3,)
        Direction to the light.
    depth : float32 array, shape (height, width)
        Changed in place: way along the ray, infinite where it meets nothing.
    matter : uint8 array, shape (height, width)
        Changed in place: NOTHING, BONE or VESSEL.
    shade : float32 array, shape (height, width)
        Changed in place: brightness, about 0 to 1.
    place : int32 array, shape (height, width)
        Changed in place: flat index of the voxel just outside the surface, inside where the block is cut.
    """
    height, width = depth.shape
    way = (view[3, 0], view[3, 1], view[3, 2])
    for row in range(height):
        for column in range(width):
            depth[row, column], matter[row, column] = math.inf, NOTHING
            u, v = column - 0.5 * (width - 1), row - 0.5 * (height - 1)
            z0 = view[0, 0] + u * view[1, 0] + v * view[2, 0]
            y0 = view[0, 1] + u * view[1, 1] + v * view[2, 1]
            x0 = view[0, 2] + u * view[1, 2] + v * view[2, 2]
            first, last, axis = _enter((z0, y0, x0), way, edges)
            t = first + 1e-4
            while t < last:
                z, y, x = z0 + t * way[0], y0 + t * way[1], x0 + t * way[2]
                if _at(solid, z, y, x) >= LEAST and _between(solid, z, y, x) >= 0.5:
                    break
                t += STEP
            if t >= last:
                continue
            cut = t < first + 0.5 * STEP
            if cut:  # the ray enters through a face of the block that cuts a solid
                sign = -1.0 if way[axis] > 0.0 else 1.0
                nz = sign if axis == 0 else 0.0
                ny = sign if axis == 1 else 0.0
                nx = sign if axis == 2 else 0.0
            else:
                near, far = max(t - STEP, first), t
                for _ in range(HALVINGS):
                    t = 0.5 * (near + far)
                    if _between(solid, z0 + t * way[0], y0 + t * way[1], x0 + t * way[2]) >= 0.5:
                        far = t
                    else:
                        near = t
                t = far
            z, y, x = z0 + t * way[0], y0 + t * way[1], x0 + t * way[2]
            if not cut:
                nz, ny, nx = _slope(soft, z, y, x)
            faced = nz * light[0] + ny * light[1] + nx * light[2]
            facing = -(nz * way[0] + ny * way[1] + nx * way[2])
            hidden = _between(crowd, z + REACH * nz, y + REACH * ny, x + REACH * nx)
            bright = 0.42 + 0.48 * max(faced, 0.0) + 0.16 * max(facing, 0.0)
            depth[row, column] = t
            shade[row, column] = bright * (1.0 - 0.75 * min(hidden, 0.8)) if not cut else 0.98
            matter[row, column] = BONE if _between(bone, z, y, x) >= 0.5 * _between(solid, z, y, x) else VESSEL
            out = -0.5 if cut else 1.0
            k = min(max(int(z + out * nz), 0), solid.shape[0] - 1)
            j = min(max(int(y + out * ny), 0), solid.shape[1] - 1)
            i = min(max(int(x + out * nx), 0), solid.shape[2] - 1)
            place[row, column] = (k * solid.shape[1] + j) * solid.shape[2] + i


@kernel
def drop(picture, depth, middle, radius, scale, colour):
    """Draw shaded balls where nothing lies before them.

    Parameters
    ----------
    picture : uint8 array, shape (height, width, 3)
        Changed in place.
    depth : float32 array, shape (height, width)
        Way along the ray (voxels) to what is drawn; changed in place.
    middle : float64 array, shape (balls, 3)
        Row and column (pixels) and depth (voxels) of the middle of each.
    radius : float64 array, shape (balls,)
        In pixels.
    scale : float
        Pixels of a voxel.
    colour : float64 array, shape (balls, 3)
        Red, green and blue, 0 to 255.
    """
    height, width = depth.shape
    for ball in range(len(radius)):
        r = radius[ball]
        y0, x0 = round(middle[ball, 0]), round(middle[ball, 1])
        reach = int(math.ceil(r))
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                y, x, square = y0 + dy, x0 + dx, r * r - dy * dy - dx * dx
                if square < 0.0 or not (0 <= y < height and 0 <= x < width):
                    continue
                rise = math.sqrt(square)
                way = middle[ball, 2] - rise / scale
                if way > depth[y, x] + SUNK:
                    continue
                depth[y, x] = way
                faced = min(max((0.6 * rise - 0.45 * dx - 0.75 * dy) / (1.06 * r), 0.0), 1.0)
                light = 0.5 if rise < 0.3 * r else 0.68 + 0.36 * faced
                for k in range(3):
                    lit = min(colour[ball, k] * light, 255.0)
                    picture[y, x, k] = int(lit + (255.0 - lit) * 0.6 * faced**12)
