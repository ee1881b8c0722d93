"""Red-black storage of a field: the two colours of a chessboard in arrays of their own, so that a sweep runs at full width.

Voxel (z, y, x) has the colour (x + y + z) mod 2, and every face neighbour has the other one: all voxels of a colour
relax at once. Colour p of row r = z ny + y is stored as `folded[k, p, r, 1 + i]` with x = 2 i + shift,
shift = (p + y + z) mod 2. Its neighbours in the row lie at i and at i - 1 (shift 0) or i + 1 (shift 1) of the other
colour, those of other rows at the same i. Columns 0 and -1 are ghosts (the other end if periodic, else 0), the last row
is 0 and stands for what lies beyond a closed boundary.

Loops over a row are written for the compiler, which makes vectors of them only if no index can be negative (so `near` is
chosen, not reached by i - 1 + shift) and if it can tell in a few comparisons that what is written is not what is read.
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
def lay_board(world):
    """Return what a row must know: planes, rows a plane, whether the lattice is periodic. A world is slow to pass on."""
    return world.nz, world.ny, world.periodic


@kernel
def _shift(board, p, r):
    """Return x of the first voxel of colour `p` in row `r`."""
    return (p + r % board[1] + r // board[1]) % 2


@inner
def _wrap_ends(row, board):
    if board[2]:
        row[0], row[-1] = row[-2], row[1]


@inner
def _lay_row(concentration, secretion, uptake, is_bone, walls_known, nx, board, decay, folded, p, r):
    """Write start, source and, for now, sink in the place of the coupling; zero in bone."""
    value, source, sink, amplify = folded[VALUE, p, r], folded[SOURCE, p, r], folded[COUPLING, p, r], folded[AMPLIFY, p, r]
    for i in range(value.shape[0]):
        value[i], source[i], sink[i] = 0.0, 0.0, 0.0
    if r == board[0] * board[1]:
        return
    for x in range(_shift(board, p, r), nx, 2):
        v, i = r * nx + x, 1 + x // 2
        if amplify[i] > 0.0 if walls_known else is_bone[v] == 0:
            value[i], source[i], sink[i] = concentration[v], secretion[v], decay + uptake[v]
    _wrap_ends(value, board)
    _wrap_ends(sink, board)


@inner
def _add_faces(diagonal, sink, beside, down, up, back, front, coupling, shift):
    """Write sink + coupling x open faces; a neighbour is open if it has a sink, which neither bone nor a boundary has."""
    for i in range(1, diagonal.shape[0] - 1):
        total = sink[i]
        near = beside[i - 1] if shift == 0 else beside[i + 1]
        total += coupling if near > 0.0 else 0.0
        total += coupling if beside[i] > 0.0 else 0.0
        total += coupling if down[i] > 0.0 else 0.0
        total += coupling if up[i] > 0.0 else 0.0
        total += coupling if back[i] > 0.0 else 0.0
        total += coupling if front[i] > 0.0 else 0.0
        diagonal[i] = total


@inner
def _divide(source, sink, diagonal, coupling):
    """Replace source, sink and diagonal by source / diagonal, coupling / diagonal and diagonal / sink; zero in bone."""
    for i in range(1, source.shape[0] - 1):
        share, conductance, gain = 0.0, 0.0, 0.0
        if sink[i] > 0.0:
            share, conductance, gain = source[i] / diagonal[i], coupling / diagonal[i], diagonal[i] / sink[i]
        source[i], sink[i], diagonal[i] = share, conductance, gain
    for plane in (sink, diagonal):
        plane[0], plane[-1] = 0.0, 0.0


@inner
def fold(concentration, secretion, uptake, is_bone, walls_known, world, coupling, decay, folded):
    """Write start, source / diagonal, coupling / diagonal and diagonal / sink of every voxel; zero in bone.

    Tissue is read once and in order, since that of a voxel lies far from that of the next, and not at all where what was
    folded last has the same walls; faces are counted from sinks, which are close together. A sink of 0 in marrow is not
    allowed: nothing would bound the error there.
    """
    board, rows = lay_board(world), world.nz * world.ny
    for r in range(rows + 1):
        for p in range(2):
            _lay_row(concentration, secretion, uptake, is_bone, walls_known, world.nx, board, decay, folded, p, r)
    for p in range(2):
        folded[AMPLIFY, p, rows, :] = 0.0
        own, other = folded[COUPLING, p], folded[COUPLING, 1 - p]
        for r in range(rows):
            down, up, back, front = _rows_beside(board, r)
            _add_faces(
                folded[AMPLIFY, p, r], own[r], other[r], other[down], other[up], other[back], other[front], coupling,
                _shift(board, p, r),
            )  # fmt: skip
    for p in range(2):
        for r in range(rows):
            _divide(folded[SOURCE, p, r], folded[COUPLING, p, r], folded[AMPLIFY, p, r], coupling)


@inner
def unfold(folded, world, concentration, in_bone):
    """Write the values back in the order of voxels, and `in_bone` where there is bone."""
    board = lay_board(world)
    for r in range(world.nz * world.ny):
        for p in range(2):
            value, amplify = folded[VALUE, p, r], folded[AMPLIFY, p, r]
            for x in range(_shift(board, p, r), world.nx, 2):
                i = 1 + x // 2
                concentration[r * world.nx + x] = value[i] if amplify[i] > 0.0 else in_bone


@inner
def _step_along(board, r, place, length, stride):
    """Return the rows before and after row `r` along an axis; the zero row beyond a closed boundary or a single plane."""
    nz, ny, periodic = board
    last = (length - 1) * stride
    before, after = r - stride, r + stride
    if place == 0:
        before = r + last if periodic and length > 1 else nz * ny
    if place == length - 1:
        after = r - last if periodic and length > 1 else nz * ny
    return before, after


@inner
def _rows_beside(board, r):
    """Return the rows before and after row `r` along y and along z."""
    nz, ny, _ = board
    down, up = _step_along(board, r, r % ny, ny, 1)
    back, front = _step_along(board, r, r // ny, nz, ny)
    return down, up, back, front


@inner
def _relax_flat(own, beside, down, up, source, coupling, shift, omega):
    for i in range(1, own.shape[0] - 1):
        near = beside[i - 1] if shift == 0 else beside[i + 1]
        total = near + beside[i] + down[i] + up[i]
        relaxed = own[i] + omega * (source[i] + coupling[i] * total - own[i])
        own[i] = relaxed if relaxed > 0.0 else 0.0


@inner
def _relax_deep(own, beside, down, up, back, front, source, coupling, shift, omega):
    for i in range(1, own.shape[0] - 1):
        near = beside[i - 1] if shift == 0 else beside[i + 1]
        total = near + beside[i] + down[i] + up[i] + back[i] + front[i]
        relaxed = own[i] + omega * (source[i] + coupling[i] * total - own[i])
        own[i] = relaxed if relaxed > 0.0 else 0.0


@inner
def relax(folded, board, p, r, omega):
    """Relax the voxels of colour `p` in row `r` once, in place: c <- max(0, c + omega (source + coupling sum c_w - c))."""
    own, other = folded[VALUE, p, r], folded[VALUE, 1 - p]
    source, coupling = folded[SOURCE, p, r], folded[COUPLING, p, r]
    shift = _shift(board, p, r)
    down, up, back, front = _rows_beside(board, r)
    if board[0] == 1:
        _relax_flat(own, other[r], other[down], other[up], source, coupling, shift, omega)
    else:
        _relax_deep(
            own, other[r], other[down], other[up], other[back], other[front], source, coupling, shift, omega
        )  # fmt: skip
    _wrap_ends(own, board)


@inner
def _add_around(total, beside, down, up, back, front, shift):
    for i in range(1, total.shape[0] - 1):
        near = beside[i - 1] if shift == 0 else beside[i + 1]
        total[i] = near + beside[i] + down[i] + up[i] + (back[i] + front[i])


@inner
def _note_error(worst, total, own, source, coupling, amplify):
    for i in range(1, own.shape[0] - 1):
        error = abs(source[i] + coupling[i] * total[i] - own[i]) * amplify[i]
        worst[i] = error if error > worst[i] else worst[i]


@inner
def _note_top(top, own):
    for i in range(1, own.shape[0] - 1):
        top[i] = own[i] if own[i] > top[i] else top[i]


@inner
def measure(folded, board, p, r):
    """Note the largest error bound and concentration of each column in rows that are free for it.

    A maximum a column, of many rows, has no dependent neighbours, where one of a row would wait for each comparison.
    """
    own, other = folded[VALUE, p, r], folded[VALUE, 1 - p]
    total, worst, top = folded[SOURCE, 0, -1], folded[AMPLIFY, 0, -1], folded[AMPLIFY, 1, -1]
    down, up, back, front = _rows_beside(board, r)
    _add_around(total, other[r], other[down], other[up], other[back], other[front], _shift(board, p, r))
    _note_error(worst, total, own, folded[SOURCE, p, r], folded[COUPLING, p, r], folded[AMPLIFY, p, r])
    _note_top(top, own)


@inner
def take_largest(folded):
    """Return the bound on the largest error and the largest concentration that were noted, nmol/L, and forget them."""
    worst, top = 0.0, 0.0
    total, errors, values = folded[SOURCE, 0, -1], folded[AMPLIFY, 0, -1], folded[AMPLIFY, 1, -1]
    for i in range(total.shape[0]):
        worst, top = max(worst, errors[i]), max(top, values[i])
        total[i], errors[i], values[i] = 0.0, 0.0, 0.0
    return worst, top
