"""`niche-sim study summary` and `emulate` on the folder of a study whose rows are made up: nothing is simulated."""

import numpy as np
import pandas as pd
import pytest
from test_cli import call

from niche_sim.errors import InputError
from niche_sim.study.results import count_runs, load_results

pytest.importorskip("sklearn")
store = pytest.importorskip("niche_sim.study.store")

STUDY = """
name: made_up
title: A made-up <study>
experiment: e00_zoledronate_niche
set: {time.length: "2 d", time.spin_up: "1 d"}
design: {kind: latin_hypercube, points: 24, seed: 3}
factors:
  dose: {at: "arms.zoledronate.regimen.0.dose", range: ["1 mg", "8 mg"]}
  route: {at: "arms.zoledronate.regimen.0.interval", values: ["28 d", "84 d"]}
replicates: 2
endpoints:
  cycling_end: {column: cycling, take: end}
  first_h: {column: cycling, take: first_above(90)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of which one batch is missing and one run failed; its control arm is the same run at every point."""
    from niche_sim.study.design import build_design
    from niche_sim.study.runs import list_batches
    from niche_sim.study.spec import load_study

    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(STUDY)
    study = load_study(path)
    design = build_design(study)
    held = store.begin_folder(path.parent / "made_up", study, design, list_batches(study, design))
    batches = list(held.list_batches())
    for batch in batches:
        rows = pd.DataFrame(batch.runs)[["key", "point", "replicate", "arm"]]
        dose = design["dose.value"].to_numpy()[rows["point"]]
        end = np.where(rows["arm"] == study.arms[0], 20.0, 20.0 - dose**2 / 4) + rows["replicate"]
        rows = rows.assign(status="done", error="", cycling_end=end, first_h=np.nan)
        worst = (rows["point"] == 5) & (rows["replicate"] == 1) & (rows["arm"] != study.arms[0])
        rows.loc[worst, ["status", "error", "cycling_end"]] = ["failed", "NumericalError: <b>NaN</b>", np.nan]
        held.write_batch(batch, store.encode_batch(study, rows))
    return held.directory


def test_what_was_computed_is_found_for_every_point(folder):
    results = load_results(folder)
    counts = count_runs(results.runs)
    assert counts == {"planned": 2 + 48, "done": 49, "failed": 1, "missing": 0}  # two control runs, shared by all points
    assert len(results.runs) == 96 and np.isfinite(results.response("cycling_end", "control")).all()
    effect = results.response("cycling_end", f"{results.arms[1]} − {results.arms[0]}")[:, 0]
    assert effect == pytest.approx(-results.values("dose") ** 2 / 4)


def test_summary_writes_tables_figures_and_a_report(folder, capsys):
    assert call("study", "summary", folder, "--format", "png") == 0
    said = capsys.readouterr().out
    assert "50 runs planned, 49 done, 1 failed" in said and "cycling_end depends on dose" in said
    assert "first_h" in said and "no run has a value" in said
    place = folder / "summary"
    tables = {path.name for path in place.glob("*.*")}
    csv = {f"{name}.csv" for name in ("runs", "failures", "responses", "prcc", "tornado")}
    assert tables == csv | {"points.parquet", "contrasts.parquet", "report.html"}
    assert pd.read_csv(place / "failures.csv")["error"].tolist() == ["NumericalError: <b>NaN</b>"]
    assert pd.read_csv(place / "prcc.csv")["failed"].max() == 1
    page = (place / "report.html").read_text()
    assert "a Latin hypercube of 24 points (seed 3)" in page and "doi.org/10.1016/j.jtbi.2008.04.011" in page
    assert "<b>NaN</b>" not in page and "<study>" not in page and "NumericalError" in page
    drawn = {path.stem for path in (place / "figures").glob("*.png")}
    assert drawn == {f"{name}_cycling_end" for name in ("prcc", "tornado", "heat", "response")}  # first_h has no value
    assert store.open_folder(folder).verify() == []


def test_same_results_have_the_same_tables_and_report(folder, capsys):
    before = {path: path.read_bytes() for path in (folder / "summary").rglob("*") if path.is_file()}
    assert before and call("study", "summary", folder, "--format", "png") == 0
    assert {path: path.read_bytes() for path in before} == before


def test_emulator_predicts_and_tells_its_error(folder, capsys):
    words = ("--endpoint", "cycling_end", "--arm", "zoledronate", "--at", "dose=4 mg", "--format", "png")
    assert call("study", "emulate", folder, *words) == 0
    said = capsys.readouterr().out
    value = float(said.split("zoledronate: ")[1].split()[0])
    assert value == pytest.approx(16.5, abs=0.3) and "Q2 0.9" in said and "of 24 points" in said
    assert (folder / "summary" / "figures" / "emulator_cycling_end.png").exists()


@pytest.mark.parametrize(("words", "message"), [
    (("summary", "--endpoint", "cycling"), "--endpoint: no 'cycling'; did you mean 'cycling_end'?"),
    (("summary", "--reference", "placebo"), "--reference: no arm 'placebo'"),
    (("summary", "--format", "gif"), "--format: no format 'gif'"),
    (("emulate", "--endpoint", "cycling_end", "--arm", "zoledronate", "--at", "dose=9 mg"), "where the study has points"),
    (("emulate", "--endpoint", "cycling_end", "--arm", "placebo"), "--arm: no 'placebo'"),
    (("emulate", "--endpoint", "first_h"), "first_h, control: 0 points have a value; an emulator of 2 factors needs 20"),
])  # fmt: skip
def test_mistakes_are_told(folder, capsys, words, message):
    assert call("study", words[0], folder, *words[1:]) == 2
    assert message in capsys.readouterr().err


def test_damaged_results_are_refused(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = next((copy / "runs").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="was changed after it was written"):
        load_results(copy)
    file.unlink()  # what is not there is counted as missing
    assert count_runs(load_results(copy).runs)["missing"] > 0
