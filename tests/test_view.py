"""Figures and report from a small result that the engine made."""

import pytest

import niche_sim as ns
from niche_sim.store import reserve, write_result
from niche_sim.view.figures import draw_figures
from niche_sim.view.lattice import lattice_sheet
from niche_sim.view.palette import list_legend, paint_tissue
from niche_sim.view.report import find_divergence, summary_lines, write_report


def save(folder, **changes):
    from datetime import UTC, datetime

    mapping = {
        "name": "view", "title": "<script>alert(1)</script>", "seed": 3, "scene": "trabecula_small",
        "patient": "postmenopausal", "time": {"length": "2 d", "spin_up": "0 d"}, "population": {"dormant_dtc": 4},
        "arms": {"control": {}, "drug": {"regimen": "zoledronate_q4w"}},
        "record": {"series": "1 d", "cells": "1 d", "fields": "2 d", "pictures": ["0 d", "2 d"]},
    }  # fmt: skip
    experiment = ns.build_experiment(mapping | changes)
    now = datetime.now(UTC)
    with reserve(folder) as place:
        run = ns.run_experiment(experiment)
        write_result(folder, run, experiment, threads=1, started=now, ended=now, place=place)
    return ns.load(folder)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return save(tmp_path_factory.mktemp("view") / "result")


@pytest.fixture(scope="module")
def drawn(result):
    return draw_figures(result.directory)


def test_every_figure_is_drawn(drawn):
    names = {path.name for path in drawn}
    sheets = ("lattice", "series", "fate", "fields", "suitability")
    assert names == {f"{n}.{kind}" for n in sheets for kind in ("png", "svg")}


def test_report_is_self_contained_and_escaped(result, drawn):
    page = write_report(result.directory).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "src=\"http" not in page
    assert page.count("data:image/png;base64,") == 3  # the series and the fates are charts
    assert "assumed" in page


def test_summary_has_a_column_for_each_arm(result):
    lines = summary_lines(result)
    assert "control" in lines[0]
    assert "drug" in lines[0]
    assert len({len(line) for line in lines}) == 1


def test_arms_are_identical_until_the_drug_acts(result):
    assert "arms" in find_divergence(result)


def test_missing_streams_are_left_out(tmp_path):
    bare = save(tmp_path / "bare", arms={"only": {}}, record={"series": "1 d", "events": False}, population={})
    names = {path.stem for path in draw_figures(bare.directory)}
    assert "fields" not in names
    assert "series" in names
    assert write_report(bare.directory).exists()


def test_tissue_is_painted_by_kind(result):
    mineral, sinusoid, laid = (result.maps("drug", name)[-1][0] for name in ("mineral", "sinusoid", "laid_step"))
    image = paint_tissue(mineral, sinusoid, laid)
    assert image.shape == (*mineral.shape, 3)
    kinds = [mineral == 1, sinusoid & (mineral == 0), ~sinusoid & (mineral == 0)]
    colours = {tuple(image[kind][0].round(6)) for kind in kinds}
    assert len(colours) == 3


def test_drug_rims_bone_in_the_arm_that_had_it_only(result):
    def rims(axes):
        return [artist for artist in axes.collections if artist.get_label() == "drug"]

    rows = lattice_sheet(result).get_axes()
    with_drug = {axes.get_ylabel() or "later": len(rims(axes)) for axes in rows[:4]}
    assert sum(with_drug.values()) == 1
    assert not rims(rows[0]) and not rims(rows[1])


def test_legend_names_what_is_present():
    labels = [handle.get_label() for handle in list_legend(["dormant", "osteoclast"], ["bone"])]
    assert labels == ["osteoclast", "dormant DTC", "bone"]
