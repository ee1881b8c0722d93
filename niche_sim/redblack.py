"""Red-black storage of a field: the two colours of a chessboard in arrays of their own, so that a sweep runs at full width.

Voxel (z, y, x) has the colour (x + y + z) mod 2, and every face neighbour has the other one: all voxels of a colour
relax at once. Colour p of row r = z ny + y is stored as `folded[k, p, r, 1 + i]` with x = 2 i + shift,
shift = (p + y + z) mod 2. Its neighbours in the row lie at i - 1 + shift and i + shift of the other colour, those of
other rows at the same i. Columns 0 and -1 are ghosts (the other end if periodic, else 0), the last row is 0 and stands
for what lies beyond a closed boundary.
"""

from niche_sim.kernel import inner, kernel

VALUE, SOURCE, COUPLING, AMPLIFY = 0, 1, 2, 3  # planes of `folded`
PLANES = 4


def folded_shape(nz: int, ny: int, nx: int) -> tuple[int, int, int, int]:
    """Return the shape of the folded arrays of a lattice."""
    return PLANES, 2, nz * ny + 1, (nx + 1) // 2 + 2


@inner
def can_fold(world):
    """Tell whether the chessboard closes: no axis of a periodic lattice may be odd (a single plane is no axis)."""
    if not world.periodic:
        return True
    return world.nx % 2 == 0 and world.ny % 2 == 0 and (world.nz == 1 or world.nz % 2 == 0)


@inner
def fold(concentration, secretion, uptake, is_bone, world, coupling, decay, folded):
    """Write start, source / diagonal, coupling / diagonal and diagonal / sink of every voxel; zero in bone."""
    for p in range(2):
        for r in range(folded.shape[2]):
            for i in range(folded.shape[3]):
                for k in range(PLANES):
                    folded[k, p, r, i] = 0.0
    for v in range(world.n):
        if is_bone[v] == 1:
            continue
        sink = decay + uptake[v]
        diagonal = sink
        for face in range(2 * world.ndim):
            w = world.neighbours[v, face]
            if w >= 0 and is_bone[w] == 0:
                diagonal += coupling
        r, x = v // world.nx, v % world.nx
        p, i = (x + r % world.ny + r // world.ny) % 2, 1 + x // 2
        folded[VALUE, p, r, i] = concentration[v]
        folded[SOURCE, p, r, i] = secretion[v] / diagonal
        folded[COUPLING, p, r, i] = coupling / diagonal
        folded[AMPLIFY, p, r, i] = diagonal / sink


@inner
def unfold(folded, world, concentration):
    """Write the values back in the order of voxels."""
    for v in range(world.n):
        r, x = v // world.nx, v % world.nx
        concentration[v] = folded[VALUE, (x + r % world.ny + r // world.ny) % 2, r, 1 + x // 2]


@inner
def _rows_beside(world, r, axis):
    """Return the rows before and after row `r` along y (axis 0) or z (axis 1); the zero row beyond a closed boundary."""
    rows = world.nz * world.ny
    stride = 1 if axis == 0 else world.ny
    length = world.ny if axis == 0 else world.nz
    place = r % world.ny if axis == 0 else r // world.ny
    before, after = r - stride, r + stride
    if place == 0:
        before = r + (length - 1) * stride if world.periodic else rows
    if place == length - 1:
        after = r - (length - 1) * stride if world.periodic else rows
    return before, after


@kernel
def _wrap_ends(value, width):
    for r in range(value.shape[0] - 1):
        value[r, 0] = value[r, width]
        value[r, width + 1] = value[r, 1]


@kernel
def _relax_flat(own, beside, down, up, source, coupling, shift, width, omega):
    for i in range(1, width + 1):
        total = beside[i - 1 + shift] + beside[i + shift] + down[i] + up[i]
        relaxed = own[i] + omega * (source[i] + coupling[i] * total - own[i])
        own[i] = relaxed if relaxed > 0.0 else 0.0


@kernel
def _relax_deep(own, beside, down, up, back, front, source, coupling, shift, width, omega):
    for i in range(1, width + 1):
        total = beside[i - 1 + shift] + beside[i + shift] + down[i] + up[i] + back[i] + front[i]
        relaxed = own[i] + omega * (source[i] + coupling[i] * total - own[i])
        own[i] = relaxed if relaxed > 0.0 else 0.0


@inner
def relax(folded, world, p, omega):
    """Relax every voxel of colour `p` once, in place: c <- max(0, c + omega (source + coupling sum c_w - c))."""
    value, other = folded[VALUE, p], folded[VALUE, 1 - p]
    width = folded.shape[3] - 2
    for r in range(world.nz * world.ny):
        shift = (p + r % world.ny + r // world.ny) % 2
        down, up = _rows_beside(world, r, 0)
        source, coupling = folded[SOURCE, p, r], folded[COUPLING, p, r]
        if world.ndim == 2:
            _relax_flat(value[r], other[r], other[down], other[up], source, coupling, shift, width, omega)
        else:
            back, front = _rows_beside(world, r, 1)
            _relax_deep(
                value[r], other[r], other[down], other[up], other[back], other[front], source, coupling, shift, width,
                omega,
            )  # fmt: skip
    if world.periodic:
        _wrap_ends(value, width)


@inner
def sweep(folded, world, omega):
    """Relax one colour after the other."""
    if world.periodic:
        _wrap_ends(folded[VALUE, 1], folded.shape[3] - 2)
    relax(folded, world, 0, omega)
    relax(folded, world, 1, omega)


@inner
def measure_error(folded, world):
    """Return the bound on the largest error and the largest concentration, nmol/L."""
    worst, top = 0.0, 0.0
    width = folded.shape[3] - 2
    for p in range(2):
        own, beside = folded[VALUE, p], folded[VALUE, 1 - p]
        if world.periodic:
            _wrap_ends(beside, width)
        for r in range(world.nz * world.ny):
            shift = (p + r % world.ny + r // world.ny) % 2
            down, up = _rows_beside(world, r, 0)
            back, front = _rows_beside(world, r, 1)
            for i in range(1, width + 1):
                total = beside[r, i - 1 + shift] + beside[r, i + shift] + beside[down, i] + beside[up, i]
                if world.ndim == 3:
                    total += beside[back, i] + beside[front, i]
                change = folded[SOURCE, p, r, i] + folded[COUPLING, p, r, i] * total - own[r, i]
                error = abs(change) * folded[AMPLIFY, p, r, i]
                worst = error if error > worst else worst
                top = own[r, i] if own[r, i] > top else top
    return worst, top
