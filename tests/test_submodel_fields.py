"""Fields alone against exact solutions of the lattice and of the equation; nothing here is random."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from niche_sim.config.reader import read_document
from niche_sim.errors import InputError, ResourceError
from niche_sim.submodels.fields import COLUMNS, Spec, check, run
from niche_sim.submodels.fields_formula import evaluate, list_names, parse

EXAMPLES = sorted((Path(__file__).parent.parent / "configs" / "submodels").glob("fields_*.yaml"))
BASE = {"model": "fields", "name": "test", "voxel": "20 um", "diffusion": "46800 um**2/h", "decay": "21 /h"}
G = 46800.0 / 400.0


def solve(beside=None, **keys):
    spec = Spec.model_validate(BASE | keys)
    assert check(spec) == []
    if beside is not None:
        spec.put_beside(beside)
    return run(spec, lambda fraction: None)


def field(tables, time=None):
    frame = tables["concentration"]
    frame = frame if time is None else frame[frame.time_h == time]
    return frame.concentration_nmol_per_L.to_numpy()


# ---------------------------------------------------------------- steady, exact on the lattice


@pytest.mark.parametrize("method", ["auto", "sweeps", "direct", "gradients"])
def test_screened_line(method):
    """On a ring of n voxels c_k ~ r^k + r^(n-k), r = exp(-q), cosh(q) = 1 + decay dx^2 / (2 D)."""
    n = 40
    tables = solve(
        voxels={"x": n}, boundary="periodic", sources=[{"at": {"x": 0}, "secretion": "100 nmol/L/h"}],
        steady={"method": method, "tolerance": 1e-12},
    )  # fmt: skip
    r = np.exp(-np.arccosh(1.0 + 21.0 / (2.0 * G)))
    k = np.arange(n)
    shape = r**k + r ** (n - k)
    exact = 100.0 * shape / ((2.0 * G + 21.0) * shape[0] - 2.0 * G * shape[1])
    assert np.abs(field(tables) - exact).max() < 1e-12 * exact[0]
    assert tables["summary"].tolerance_met[0]
    assert np.abs(field(tables) - exact).max() <= tables["summary"].error_bound_nmol_per_L[0] + 1e-15 * exact[0]


@pytest.mark.parametrize(
    "size", [{"x": 32, "y": 20}, {"x": 15, "y": 21}, {"x": 8, "y": 12, "z": 10}, {"x": 7, "y": 5, "z": 9}]
)
@pytest.mark.parametrize("method", ["sweeps", "gradients"])
def test_point_source_by_fourier_transform(size, method):
    at = {axis: n // 2 for axis, n in size.items()}
    tables = solve(
        voxels=size, boundary="periodic", sources=[{"at": at, "secretion": "100 nmol/L/h"}],
        steady={"method": method, "tolerance": 1e-12},
    )  # fmt: skip
    shape = tuple(size.values())[::-1]
    waves = np.meshgrid(*[2.0 * np.pi * np.fft.fftfreq(n) for n in shape], indexing="ij")
    symbol = 21.0 + sum(2.0 * G * (1.0 - np.cos(w)) for w in waves)
    source = np.zeros(shape)
    source[tuple(at.values())[::-1]] = 100.0
    exact = np.fft.ifftn(np.fft.fftn(source) / symbol).real
    assert np.abs(field(tables) - exact.ravel()).max() < 2e-12 * exact.max()
    assert abs(tables["ledger"].relative_closure_error[0]) < 1e-11


MIXED = {
    "voxels": {"x": 12, "y": 10},
    "boundary": {"x": "periodic", "y": {"low": "no_flux", "high": {"kind": "fixed", "value": "3 nmol/L"}}},
    "walls": [{"box": {"x": [3, 5], "y": [0, 6]}}, {"at": {"x": 9, "y": 9}}],
    "uptake": [{"at": {"x": 1, "y": 1}, "rate": "50 /h"}],
    "sources": [{"box": {"x": [7, 8]}, "amount": "0.4 fmol/h"}],
}


@pytest.mark.parametrize("permeability", [0.0, 0.3])
def test_methods_agree_around_walls(permeability):
    results = [
        solve(**MIXED, wall_permeability=permeability, steady={"method": method, "tolerance": 1e-12})
        for method in ("sweeps", "direct", "gradients")
    ]
    for tables in results:
        assert np.abs(field(tables) - field(results[1])).max() < 3e-12 * field(results[1]).max()
        assert abs(tables["ledger"].relative_closure_error[0]) < 1e-11
        assert (field(tables) >= 0.0).all()
        walls = field(tables).reshape(10, 12)[:7, 3:6]
        assert (walls == 0.0).all() if permeability == 0.0 else (walls > 0.0).all()
    ledger = results[0]["ledger"].iloc[0]
    assert ledger.secreted_fmol_per_h == pytest.approx(0.4, rel=1e-14)


def test_without_decay_a_wall_is_a_resistance():
    """1-D between 2 and 1 nmol/L: resistances 1/2, 1, ... of open faces, 1/p of the two faces of a wall voxel."""
    tables = solve(
        voxels={"x": 9}, decay="0 /h", walls=[{"at": {"x": 4}}], wall_permeability=0.25,
        boundary={"low": {"kind": "fixed", "value": "2 nmol/L"}, "high": {"kind": "fixed", "value": "1 nmol/L"}},
        steady={"tolerance": 1e-14},
    )  # fmt: skip
    resistance = np.cumsum([0.5, 1, 1, 1, 4, 4, 1, 1, 1, 0.5])
    assert np.allclose(field(tables), 2.0 - resistance[:-1] / resistance[-1], rtol=1e-15)
    flow = G / resistance[-1] * 20.0 * 400.0 * 1e-9
    assert tables["ledger"].throughput_fmol_per_h[0] == pytest.approx(flow, rel=1e-13)
    assert tables["ledger"].crossed_boundary_fmol_per_h[0] == pytest.approx(0.0, abs=1e-15)


def test_the_bound_holds_when_stopped_early():
    exact = field(solve(**MIXED, steady={"method": "direct"}))
    tables = solve(**MIXED, steady={"method": "sweeps", "tolerance": 1e-15, "most_sweeps": 12})
    error = np.abs(field(tables) - exact).max()
    assert 1e-13 < error <= tables["summary"].error_bound_nmol_per_L[0]
    assert not tables["summary"].tolerance_met[0]


def test_a_lake_without_sink_is_refused():
    keys = dict(MIXED, decay="0 /h", walls=[{"box": {"y": [4, 4]}}], uptake=[])
    with pytest.raises(InputError, match="x 0, y 0"):
        solve(**keys, steady={})


# ---------------------------------------------------------------- order in space (N1)

WAVE = {
    "periodic": ("sin(2*pi*{a}/L{a})", "(2*pi/L{a})**2"),
    "no_flux": ("cos(pi*{a}/L{a})", "(pi/L{a})**2"),
    "fixed": ("sin(pi*{a}/L{a})", "(pi/L{a})**2"),
}


@pytest.mark.parametrize("axes", ["x", "xy", "xyz"])
@pytest.mark.parametrize(
    ("kind", "decay"), [("periodic", "21 /h"), ("no_flux", "21 /h"), ("fixed", "21 /h"), ("fixed", "0 /h")]
)
def test_order_in_space_is_two(kind, axes, decay):
    """A product of waves, made by its own source; for fixed faces at 1 nmol/L the field is 1 + that product."""
    shape = "*".join(WAVE[kind][0].format(a=a) for a in axes)
    squares = "+".join(WAVE[kind][1].format(a=a) for a in axes)
    condition = {"kind": "fixed", "value": "1 nmol/L"} if kind == "fixed" else kind
    offset = "1" if kind == "fixed" else "0"
    errors = []
    for cells in (8, 16, 32) if axes == "xyz" else (16, 32, 64):
        tables = solve(
            voxel=f"{640 / cells} um", voxels=dict.fromkeys(axes, cells), boundary=condition, decay=decay,
            sources=[{"formula": f"decay*({offset}) + (decay + D*({squares}))*{shape}"}], steady={"tolerance": 1e-11},
        )  # fmt: skip
        frame = tables["concentration"]
        values = {a: frame[f"{a}_um"].to_numpy() for a in "xyz"} | {f"L{a}": 640.0 for a in "xyz"} | {"pi": np.pi}
        exact = evaluate(f"({offset}) + {shape}", values, len(frame))
        errors.append(np.abs(field(tables) - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders[-1:] - 2.0) < 0.1), orders


def test_faces_may_vary_by_a_formula():
    """exp(x / L) cos(y / L) is harmonic and curved at its faces: root mean square, as the corner is slow to settle."""
    errors = []
    for cells in (16, 32, 64):
        face = {"kind": "fixed", "formula": "exp(x/Lx)*cos(y/Ly)"}
        tables = solve(voxel=f"{320 / cells} um", voxels={"x": cells, "y": cells}, decay="0 /h", boundary=face, steady={})
        frame = tables["concentration"]
        exact = np.exp(frame.x_um / 320.0) * np.cos(frame.y_um / 320.0)
        errors.append(np.sqrt(np.mean((field(tables) - exact) ** 2)))
    assert np.all(np.abs(np.log2(np.array(errors[:-1]) / errors[1:]) - 2.0) < 0.1)


# ---------------------------------------------------------------- in time


@pytest.mark.parametrize("step", [{}, {"step": "0.01 h"}])
@pytest.mark.parametrize("kind", ["periodic", "no_flux", "fixed"])
def test_modes_decay_by_their_exact_factor(kind, step):
    """On the lattice a mode decays by decay + 2 D / dx^2 (1 - cos(k dx)), summed over the axes.

    At a fixed face half a voxel away the sine is still an eigenvector: 2 g (0 - c) = g (-c - c), its mirror image.
    """
    wave = {"periodic": "sin(2*pi*x/Lx)*cos(4*pi*y/Ly)", "no_flux": "cos(pi*x/Lx)*cos(2*pi*y/Ly)"}
    formula = wave.get(kind, "sin(pi*x/Lx)*sin(2*pi*y/Ly)")
    condition = {"kind": "fixed", "value": "0 nmol/L"} if kind == "fixed" else kind
    voxels = {"x": 16, "y": 12}
    tables = solve(
        voxels=voxels,
        boundary=condition,
        initial={"formula": formula},
        time={"length": "0.1 h", "times": ["0.03 h"], **step},
    )
    factor = 2.0 if kind == "periodic" else 1.0
    slow = sum(2.0 * G * (1.0 - np.cos(m * factor * np.pi / n)) for m, n in zip((1, 2), voxels.values()))
    start = field(tables, 0.0)
    for t in (0.03, 0.1):
        assert np.abs(field(tables, t) - start * np.exp(-(21.0 + slow) * t)).max() < 1e-12
    assert tables["ledger"].relative_closure_error.abs().max() < 1e-12


def test_a_long_run_ends_at_the_steady_state_with_a_closed_ledger():
    steady = field(solve(**MIXED, steady={"method": "direct"}))
    tables = solve(**MIXED, time={"length": "30 d", "every": "6 d"})
    assert np.abs(field(tables, 720.0) - steady).max() < 1e-11 * steady.max()
    assert tables["ledger"].relative_closure_error.abs().max() < 1e-11
    rates = tables["ledger"].iloc[-1] - tables["ledger"].iloc[-2]
    assert rates.secreted_fmol == pytest.approx(0.4 * 144.0, rel=1e-12)
    assert rates.decayed_fmol + rates.taken_up_fmol + rates.crossed_boundary_fmol == pytest.approx(0.4 * 144.0, rel=1e-10)


def test_one_voxel_with_a_source_that_goes_on_and_off():
    """dc/dt = s(t) - k c, and a release of 2 nmol/L at 0.07 h: exact by hand."""
    k, s = 21.0, 100.0
    tables = solve(
        voxels={"x": 1}, sources=[{"at": {"x": 0}, "secretion": "100 nmol/L/h", "start": "0.02 h", "until": "0.05 h"}],
        releases=[{"everywhere": True, "concentration": "2 nmol/L", "time": "0.07 h"}], initial={"value": "1 nmol/L"},
        time={"length": "0.1 h", "every": "0.1 h"},
    )  # fmt: skip
    exact = np.exp(-k * 0.1) + s / k * (np.exp(-k * 0.05) - np.exp(-k * 0.08)) + 2.0 * np.exp(-k * 0.03)
    assert field(tables, 0.1)[0] == pytest.approx(exact, rel=1e-13)
    ledger, volume = tables["ledger"].iloc[-1], 20.0**3 * 1e-9
    assert ledger.initial_fmol == pytest.approx(volume, rel=1e-14)
    assert ledger.secreted_fmol == pytest.approx(3.0 * volume, rel=1e-12)
    assert ledger.released_fmol == pytest.approx(2.0 * volume, rel=1e-14)
    assert abs(ledger.relative_closure_error) < 1e-14


def test_a_formula_with_time_is_of_second_order_in_the_step():
    """A ring and a source cos(t) alike everywhere: dc/dt = cos(20 t) - k c."""
    errors = []
    for step in (0.02, 0.01, 0.005):
        tables = solve(
            voxels={"x": 4}, boundary="periodic", sources=[{"formula": "cos(20*t)"}],
            time={"length": "0.2 h", "every": "0.2 h", "step": f"{step} h"},
        )  # fmt: skip
        k, w, t = 21.0, 20.0, 0.2
        exact = (k * np.cos(w * t) + w * np.sin(w * t) - k * np.exp(-k * t)) / (k * k + w * w)
        errors.append(abs(field(tables, 0.2)[0] - exact))
    assert np.all(np.abs(np.log2(np.array(errors[:-1]) / errors[1:]) - 2.0) < 0.1)


def test_a_field_from_nothing_is_never_negative():
    tables = solve(**MIXED, time={"length": "0.02 h", "every": "0.001 h"})
    assert (field(tables) >= 0.0).all()
    assert tables["summary"].least_nmol_per_L[0] >= 0.0


# ---------------------------------------------------------------- files, records, examples


def test_places_and_values_from_files(tmp_path):
    mask, values = np.zeros((10, 12), bool), np.random.default_rng(1).random((10, 12))
    mask[:7, 3:6] = mask[9, 9] = True
    np.save(tmp_path / "bone.npy", mask)
    np.save(tmp_path / "start.npy", values)
    keys = dict(MIXED, time={"length": "0.01 h", "every": "0.01 h"})
    one = solve(**keys, initial={"values": "start.npy"}, beside=tmp_path)
    two = solve(**dict(keys, walls=[{"mask": "bone.npy"}]), initial={"values": "start.npy"}, beside=tmp_path)
    assert (field(one) == field(two)).all()
    assert (field(one, 0.0) == np.where(mask, 0.0, values).ravel()).all()
    spec = Spec.model_validate(BASE | keys | {"walls": [{"mask": "bone.npy"}], "initial": {"values": "start.npy"}})
    assert spec.list_inputs() == ["bone.npy", "start.npy"]


@pytest.mark.parametrize(
    "array", [np.zeros((10, 11)), np.full((10, 12), np.nan), np.array([{}], object), np.zeros((10, 12), "U1")]
)
def test_a_bad_file_is_refused_by_name(tmp_path, array):
    np.save(tmp_path / "bad.npy", array)
    keys = dict(MIXED, walls=[{"mask": "bad.npy"}], steady={})
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="bad.npy"):
            solve(**keys, beside=folder)


def test_between_takes_voxels_by_their_centres():
    tables = solve(
        voxels={"x": 10},
        sources=[{"between": {"x": ["30 um", "90 um"]}, "secretion": "1 nmol/L/h"}],
        diffusion="0 um**2/h",
        steady={},
    )
    assert np.flatnonzero(field(tables)).tolist() == [1, 2, 3]


def test_probes_are_rows_of_the_field():
    probes = [{"x": 8, "y": 3}, {"x": 0, "y": 9}]
    for wanted in (None, False):
        tables = solve(
            **MIXED, time={"length": "0.1 h", "every": "0.05 h"}, record={"probes": probes, "concentration": wanted}
        )
        assert ("concentration" in tables) == (wanted is None)
        assert tables["probes"].probe.tolist() == [0, 1] * 3
        if wanted is None:
            frame, probed = tables["concentration"], tables["probes"].concentration_nmol_per_L.to_numpy()
            assert (frame[(frame.x == 8) & (frame.y == 3)].concentration_nmol_per_L.to_numpy() == probed[::2]).all()
        else:
            assert (tables["probes"].concentration_nmol_per_L.to_numpy() == probed).all()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_twice_alike_and_every_column_is_described(path):
    spec = Spec.model_validate(read_document(str(path)).data)
    assert check(spec) == []
    first, second = (run(spec, lambda fraction: None) for _ in range(2))
    for name, table in first.items():
        assert table.equals(second[name])
        assert set(table.columns) <= set(COLUMNS[name])
    assert first["ledger"].relative_closure_error.abs().max() < 1e-9
    assert first["summary"].tolerance_met[0]


def test_there_are_examples():
    assert len(EXAMPLES) == 5


# ---------------------------------------------------------------- bad input

GOOD = {"voxels": {"x": 12, "y": 10}, "steady": {}}
AT = {"at": {"x": 1, "y": 1}}
IN_TIME = {"voxels": {"x": 12, "y": 10}, "time": {"length": "1 h", "every": "1 h"}}
MISTAKES = [
    ({"voxels": {"x": 12}}, "steady"),
    ({"voxels": {"x": 12}, "steady": {}, "time": {"length": "1 h", "every": "1 h"}}, "steady"),
    ({"steady": {}}, "voxels"),
    (GOOD | {"size": {"x": "100 um"}}, "voxels"),
    ({"size": {"x": "105 um"}, "steady": {}}, "size.x"),
    ({"voxels": {"x": 0}, "steady": {}}, "voxels.x"),
    ({"voxels": {"x": 9, "z": 9}, "steady": {}}, "voxels.z"),
    ({"voxels": {"x": 10_000, "y": 10_000}, "steady": {}}, "voxels"),
    (GOOD | {"boundary": {"z": "periodic"}}, "boundary.z"),
    (GOOD | {"boundary": {"x": {"low": "periodic", "high": "no_flux"}}}, "boundary.x"),
    (GOOD | {"sources": [{"at": {"x": 12, "y": 1}, "amount": "1 fmol/h"}]}, "sources.0.at.x"),
    (GOOD | {"sources": [{"at": {"x": 1}, "amount": "1 fmol/h"}]}, "sources.0.at"),
    (GOOD | {"walls": [{"box": {"y": [5, 10]}}]}, "walls.0.box.y"),
    (GOOD | {"walls": [{"box": {"y": [5, 4]}}]}, "walls.0.box.y"),
    (GOOD | {"walls": [{"box": {"z": [0, 0]}}]}, "walls.0.box.z"),
    (GOOD | {"walls": [{"between": {"y": ["5 um", "5 um"]}}]}, "walls.0.between.y"),
    (GOOD | {"releases": [AT | {"amount": "1 fmol"}]}, "releases"),
    (GOOD | {"sources": [AT | {"amount": "1 fmol/h", "until": "1 h"}]}, "sources.0"),
    (GOOD | {"decay": "0 /h"}, "decay"),
    (GOOD | {"sources": [{"formula": "q + x"}]}, "sources.0.formula"),
    (GOOD | {"sources": [{"formula": "t"}]}, "sources.0.formula"),
    (GOOD | {"parameters": {"x": 1.0}}, "parameters.x"),
    (GOOD | {"record": {"probes": [{"x": 1, "y": 99}]}}, "record.probes.0.y"),
    (IN_TIME | {"sources": [{"formula": "t"}]}, "sources.0.formula"),
    (IN_TIME | {"initial": {"formula": "t"}}, "initial.formula"),
    (IN_TIME | {"time": {"length": "1 h"}}, "time.every"),
    (IN_TIME | {"time": {"length": "1 h", "times": ["2 h"]}}, "time.times.0"),
    (IN_TIME | {"time": {"length": "1 h", "every": "1 h", "step": "1e-9 h"}}, "time.step"),
    (IN_TIME | {"time": {"length": "100 yr", "every": "100 yr"}, "decay": "0 /h", "voxel": "1 um"}, "time.length"),
    (IN_TIME | {"sources": [AT | {"amount": "1 fmol/h", "start": "2 h"}]}, "sources.0.start"),
    (IN_TIME | {"sources": [AT | {"amount": "1 fmol/h", "start": "0.5 h", "until": "0.5 h"}]}, "sources.0.until"),
    ({"voxels": {"x": 2, "y": 2, "z": 2}, "steady": {"method": "direct"}}, "steady.method"),
]


@pytest.mark.parametrize(("keys", "where"), MISTAKES)
def test_mistakes_across_keys_are_found_at_their_place(keys, where):
    found = check(Spec.model_validate(BASE | keys))
    assert [".".join(str(part) for part in path) for path, _ in found] == [where]


@pytest.mark.parametrize(
    "keys",
    [
        GOOD | {"decay": 21}, GOOD | {"decay": "-1 /h"}, GOOD | {"diffusion": "1 um"}, GOOD | {"voxels": {"x": 1.5}}, GOOD
        | {"boundary": "open"}, GOOD | {"boundary": {"x": {"kind": "fixed"}}}, GOOD | {"unknown": 1}, GOOD | {"boundary":
        {"x": {"kind": "no_flux", "value": "1 nmol/L"}}}, GOOD | {"boundary": {"x": {"low": "no_flux"}}}, GOOD |
        {"sources": [{"amount": "1 fmol/h"}]}, GOOD | {"sources": [AT]}, GOOD | {"steady": {"tolerance": 0}}, GOOD |
        {"sources": [AT | {"amount": "1 fmol/h", "secretion": "1 nmol/L/h"}]}, GOOD | {"uptake": [AT]}, GOOD | {"walls":
        [AT | {"everywhere": True}]}, GOOD | {"walls": [{"mask": "../bone.npy"}]}, GOOD | {"walls": [{}]}, GOOD |
        {"walls": [{"mask": "/etc/passwd"}]}, GOOD | {"initial": {"value": "-1 nmol/L"}}, GOOD | {"initial": {}}, GOOD |
        {"boundary": None}, GOOD | {"boundary": [1]}, GOOD | {"sources": {}},
        GOOD | {"parameters": {"a": "5 parsec"}},
    ],
)  # fmt: skip
def test_mistakes_of_a_key_are_refused(keys):
    with pytest.raises(ValidationError):
        Spec.model_validate(BASE | keys)


@pytest.mark.parametrize("uptake", [{"formula": "x - 30"}, {"values": "missing.npy"}])
def test_a_bad_uptake_is_refused(uptake):
    with pytest.raises(InputError):
        solve(**GOOD, uptake=[uptake])


@pytest.mark.parametrize("source", [{"secretion": "1 nmol/L/h"}, {"amount": "1 fmol/h"}])
def test_a_source_within_a_wall_is_refused(source):
    with pytest.raises(InputError, match="sources.0"):
        solve(**GOOD, walls=[{"box": {"x": [0, 5]}}], sources=[AT | source])


def test_a_lattice_that_is_all_wall_holds_nothing():
    for method in ("auto", "direct"):
        uptake = [{"everywhere": True, "rate": "1 /h"}]
        tables = solve(voxels={"x": 4}, decay="0 /h", uptake=uptake, walls=[{"everywhere": True}], steady={"method": method})
        assert (field(tables) == 0.0).all()


def test_too_much_work_is_refused_before_it_starts():
    with pytest.raises(ResourceError, match="updates"):
        solve(**(IN_TIME | {"time": {"length": "10 yr", "every": "10 yr"}}), uptake=[AT | {"rate": "1e9 /h"}])


def test_sweeps_refuse_what_they_cannot_do():
    with pytest.raises(InputError, match="negative"):
        solve(voxels={"x": 9}, sources=[{"formula": "cos(pi*x/L)"}], steady={"method": "sweeps"})


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2*3", 7.0), ("-x**2", -4.0), ("2**-1", 0.5), ("exp(log(3))", 3.0), ("sqrt(abs(-16))", 4.0),
        ("cosh(0)+sinh(0)", 1.0), ("tanh(0)+tan(0)", 0.0), ("sin(pi/2)*cos(0)", 1.0), ("1e3/x", 500.0), ("+a", 5.0),
        ("((x))", 2.0), ("2**3**2", 512.0),
    ],
)  # fmt: skip
def test_formulas_have_their_value(text, value):
    assert evaluate(text, {"x": np.full(3, 2.0), "a": 5.0, "pi": np.pi}, 3) == pytest.approx(np.full(3, value), rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "x.real", "x[0]", "lambda: 1", "[1]", "(1, 2)", "x if x else 1", "x < 1", "not x", "x and y",
        "x % 2", "x // 2", "x @ y", "x ^ 2", "~x", "'a'", "b'a'", "1j", "True", "None", "...", "f'{x}'", "sin", "sin(x, y)",
        "sin(x=1)", "eval(x)", "open('f')", "x := 1", "(x := 1)", "1 +", "", "x y", "sin(*x)", "1" * 400, "x" + "+x" * 300,
        "(" * 200 + ")" * 200, "-" * 90 + "x", "~" * 400 + "x", "\0", "x; y", "x\ny", "await x", "1if 2else 3",
    ],
)  # fmt: skip
def test_formulas_refuse_everything_else(text):
    with pytest.raises(InputError):
        evaluate(text, {"x": 1.0, "y": 1.0}, 2)


@pytest.mark.parametrize("text", ["1/(x-1)", "log(x-2)", "sqrt(-x)", "exp(1e6)", "9**9**9", "(x-1)**-1", "0/0", "(-x)**0.5"])
def test_formulas_without_a_value_are_refused(text):
    with pytest.raises(InputError, match="not defined or not finite"):
        evaluate(text, {"x": np.ones(2)}, 2)


def test_names_of_a_formula():
    assert list_names("sin(x) + a*exp(b)") == {"x", "a", "b"}
    assert list_names("2*pi") == {"pi"}
    with pytest.raises(InputError, match="characters"):
        parse("x" * 600)
