"""Publication figures: colours that stay apart, units on every axis, formats, the same bytes every time."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from test_cli import call
from test_view import save

import niche_sim as ns
from niche_sim.config import load_experiment
from niche_sim.errors import InputError
from niche_sim.store import write_result
from niche_sim.view import palette
from niche_sim.view.common import STYLE, shorten
from niche_sim.view.figures import SHEETS, draw_figures

# Vision without one kind of cone, on linear RGB: Machado et al., IEEE Trans. Vis. Comput. Graph. 2009;15:1291, severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
TISSUES = [palette.MARROW, palette.BONE, palette.NEW_BONE, palette.SINUSOID]
GROUPS = {
    "arms": (list(palette.ARMS), 15), "wakes": ([part[2] for part in palette.WAKES], 15),
    "deaths": ([part[2] for part in palette.DEATHS], 15), "cells": ([mark.colour for mark in palette.CELLS.values()], 15),
    "terms": ([term.colour for term in palette.TERMS.values()] + [palette.BONE, palette.SINUSOID], 15),
    "tissues": (TISSUES, 13.5),
}  # fmt: skip


def see(colour, vision):
    """CIELAB (D65) of a colour as seen with a vision."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(VISIONS[vision]) @ linear, 0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first, second, vision):
    """CIE 1976 difference of two colours; 2 is just noticed side by side."""
    return float(np.linalg.norm(see(first, vision) - see(second, vision)))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_what_must_be_told_apart_is_in_every_vision(group, vision):
    colours, least = GROUPS[group]
    close = {pair: distance(*pair, vision) for pair in combinations(colours, 2) if distance(*pair, vision) < least}
    assert not close and len(set(colours)) == len(colours)


@pytest.mark.parametrize("vision", VISIONS)
def test_cells_stand_out_on_every_tissue(vision):
    marks = palette.CELLS.values()
    found = {(mark.label, tissue): distance(mark.colour, tissue, vision) for mark in marks for tissue in TISSUES}
    assert min(found.values()) > 18, min(found, key=found.get)


def test_the_simulated_visions_confuse_what_they_should():
    assert distance("#ff0000", "#00ff00", "normal") > 150
    assert distance("#c00000", "#5c5c00", "deuteranopia") < 0.5 * distance("#c00000", "#5c5c00", "normal")
    assert distance("#0000ff", "#006060", "tritanopia") < 0.5 * distance("#0000ff", "#006060", "normal")
    for vision, matrix in VISIONS.items():
        np.testing.assert_allclose(np.sum(matrix, axis=1), 1.0, atol=1e-5, err_msg=vision)  # grey stays grey


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A run of which every sheet has something to show."""
    sets = ['record.pictures=["0 d", "20 d"]', "record.fields=20 d", "record.series=1 d", "record.cells=20 d"]
    experiment = load_experiment(Path(__file__).with_name("lively.yaml"), sets=sets, length="20 d")
    target = tmp_path_factory.mktemp("plot") / "result"
    write_result(target, ns.run_experiment(experiment), experiment)
    return ns.load(target)


UNIT = re.compile(
    r"\b(days|years|cells|events|fmol|[nf]mol/L|0 to 1|per woman|women|MNC)\b|%|µm|\(1\)|ng/mL|µg/L|mmol/L|creatinine"
)


def find_bare_axes(figure):
    """The axes of a figure whose ticks are numbers but whose label names no unit."""
    figure.draw_without_rendering()
    bare = []
    for ax in figure.get_axes():
        for axis in (ax.xaxis, ax.yaxis) if ax.get_visible() and ax.axison else ():
            texts = [tick.get_text().strip() for tick in axis.get_ticklabels() if tick.get_visible()]
            numeric = [text for text in texts if re.match(r"^[−-]?[\d.]+(e[+-]?\d+)?$", text)]
            if numeric and not UNIT.search(axis.get_label_text()):
                bare.append((ax.get_title(loc="left") or ax.get_title(), axis.axis_name, axis.get_label_text(), texts))
    return bare


@pytest.mark.parametrize("name", SHEETS)
def test_every_axis_of_every_sheet_has_a_unit(result, name):
    with rc_context(STYLE):
        figure = SHEETS[name](result)
        assert figure is not None and find_bare_axes(figure) == []


def test_an_axis_without_a_unit_is_found():
    figure = Figure()
    ax = figure.subplots()
    ax.plot([0, 1], [0, 5])
    ax.set_xlabel("days")
    assert [(axis, label) for _, axis, label, _ in find_bare_axes(figure)] == [("y", "")]


def test_every_axis_of_a_cohort_has_a_unit():
    import pandas as pd

    from niche_sim.view.cohort import marker_sheet
    from niche_sim.view.tumour import PANELS, tumour_sheet

    rows = [{"arm": "a", "time_h": 24.0 * day, "patient": p} for day in (0, 30, 60) for p in (0, 1)]
    markers = pd.DataFrame(rows)
    for name in ("ctx", "ntx", "p1np", "calcium"):
        markers[f"{name}_measured"] = 1.0 + markers["time_h"] / 100 + markers["patient"]
    markers["bmd_spine_relative"] = 1.0 + markers["time_h"] / 1e5
    summary = pd.DataFrame([{"arm": "a", "time_h": 24.0 * day, "quantity": panel[0], "mean": 0.2, "low": 0.1, "high": 0.3}
                            for panel in PANELS for day in (0, 60)])  # fmt: skip
    about = {"arms": ["a"], "baseline_h": 24.0, "patients": 2, "niches": 1, "tumours": 3}
    about |= {"configuration": {"arms": {"a": {}}}}
    held = {"manifest": about, "markers": markers, "tumour_summary": summary}
    with rc_context(STYLE):
        assert find_bare_axes(marker_sheet(held)) == [] == find_bare_axes(tumour_sheet(held))


def test_the_same_result_gives_the_same_bytes_in_every_format(result, tmp_path):
    options = {"formats": ("png", "svg", "pdf"), "dpi": 60, "only": ("series", "lattice")}
    first = draw_figures(result.directory, out=tmp_path / "first", **options)
    second = draw_figures(result.directory, out=tmp_path / "second", **options)
    assert [path.name for path in first] == [f"{n}.{k}" for n in ("series", "lattice") for k in ("png", "svg", "pdf")]
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert (tmp_path / "first" / "series.pdf").read_bytes()[:5] == b"%PDF-"
    assert b"<image" not in (tmp_path / "first" / "series.svg").read_bytes()  # lines and letters, no pixels


def test_dpi_sets_the_pixels(result, tmp_path, capsys):
    for dpi in (50, 100):
        options = ("--only", "fate", "--format", "PNG", "--dpi", dpi, "--out", tmp_path / str(dpi))
        assert call("plot", result.directory, *options) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / dpi / "fate.png") for dpi in ("50", "100")]
    small, large = (Image.open(tmp_path / dpi / "fate.png").size for dpi in ("50", "100"))
    assert np.allclose(np.array(large), 2 * np.array(small), atol=2)


@pytest.mark.parametrize("options, expected", [
    (["--format", "png,gif"], "no format 'gif'; there is png, svg, pdf"),
    (["--only", "serie"], "no figure 'serie'; there is"), (["--dpi", "5"], "30<=x<=1200"),
    (["--format", ""], "no format ''"),
])  # fmt: skip
def test_a_wrong_option_is_named(result, options, expected, capsys):
    assert call("plot", result.directory, *options) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and captured.out == "" and "Traceback" not in captured.err


def test_a_folder_that_is_a_file_and_a_figure_without_data_are_refused(result, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert call("plot", result.directory, "--out", tmp_path / "file") == 2
    assert "is a file" in capsys.readouterr().err
    assert call("plot", result.directory, "--out", result.directory / "paper") == 2
    assert "is inside the result" in capsys.readouterr().err and not (result.directory / "paper").exists()
    bare = save(tmp_path / "bare", arms={"only": {}}, record={"series": "1 d", "events": False}, population={})
    with pytest.raises(InputError, match="nothing was recorded that the figure 'lineage'"):
        draw_figures(bare.directory, only=["lineage"])


def test_a_long_name_is_cut_after_a_word():
    assert shorten("zoledronate 4 mg", 40) == "zoledronate 4 mg"
    assert shorten("zoledronate 4 mg; then nothing", 22) == "zoledronate 4 mg …"
