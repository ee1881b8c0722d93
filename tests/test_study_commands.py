"""`niche-sim study summary` and `emulate` on the folder of a study whose rows are made up: nothing is simulated."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_cli import call

import niche_sim
from niche_sim.errors import InputError
from niche_sim.study.endpoints import read_take, usual_endpoints
from niche_sim.study.results import count_runs, load_study_results
from niche_sim.study.spec import Endpoint

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
    from niche_sim.study.gate import load_study
    from niche_sim.study.runs import iterate_runs, list_batches

    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(STUDY)
    study = load_study(path)
    design = build_design(study)
    batches, planned = list_batches(study, design), iterate_runs(study, design)
    held = store.begin_folder(path.parent / "made_up", study, design, batches, planned)
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
    results = load_study_results(folder)
    counts = count_runs(results.runs)
    assert counts == {"planned": 2 + 48, "done": 49, "failed": 1, "missing": 0}  # two control runs, shared by all points
    assert len(results.runs) == 96 and np.isfinite(results.response("cycling_end", "control")).all()
    effect = results.response("cycling_end", f"{results.arms[1]} − {results.arms[0]}")[:, 0]
    assert effect == pytest.approx(-results.values("dose") ** 2 / 4)
    index, rows = pd.read_parquet(folder / "index.parquet"), pd.read_parquet(folder / "runs")
    whole = index.merge(rows[["key", "cycling_end"]], on="key")  # as docs/studies.md says
    assert len(whole) == 96 and index["first"].sum() == len(rows) == 50
    assert whole[whole["arm"] == "control"].groupby("point")["cycling_end"].mean().tolist() == [20.5] * 24


def read_page(name, pattern, folder):
    """Return a block of the documentation, of the folder of a test."""
    page = (Path(__file__).parents[1] / "docs" / name).read_text()
    return re.search(pattern, page, re.DOTALL)[1].replace("results/dtc_escape", str(folder))


def test_a_response_is_a_matrix_as_the_documentation_says(folder):
    held = {"niche_sim": niche_sim}
    exec(read_page("studies_results.md", r"```python\n(results = .*?)```", folder), held)
    assert list(held["results"].responses) == ["control", "zoledronate", "zoledronate − control"]
    assert held["y"].shape == (24, 2) and np.isnan(held["y"]).sum() == 1 and np.isnan(held["y"][5, 1])
    dose = held["x"][:, held["results"].factors.index("dose")]
    assert held["y"][:, 0] == pytest.approx(-(dose**2) / 4)


@pytest.mark.parametrize("reader", ["pandas", pytest.param("duckdb", marks=pytest.mark.deep)])
def test_results_join_to_all_points_as_the_documentation_says(folder, reader):
    held = {reader: pytest.importorskip(reader)}
    if reader == "pandas":
        exec(read_page("studies_results.md", r"```python\n(index = .*?)```", folder), held)
        whole = held["whole"]
    else:
        whole = held["duckdb"].sql(read_page("studies_results.md", r"```sql\n(.*?)```", folder)).df()
    assert len(whole) == 96 and (whole["status"] == "failed").sum() == 1
    control = whole[whole["arm"] == "control"]
    assert control.groupby("point")["cycling_end"].mean().tolist() == [20.5] * 24
    treated = whole[(whole["arm"] == "zoledronate") & (whole["replicate"] == 0)]
    assert treated["cycling_end"].to_numpy() == pytest.approx(20.0 - treated["dose.value"].to_numpy() ** 2 / 4)


def test_usual_endpoints_are_those_of_the_documentation():
    rows = re.findall(r"\| `(\w+)` \| `(\w+)` \| `([a-z_]+(?:\(\w+\))?)` \|", read_page("studies.md", "(.*)", ""))
    assert [Endpoint(name, column, *read_take(take)) for name, column, take in rows] == list(usual_endpoints())


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
    assert "The 24 points are those of a Latin hypercube drawn by scipy (seed 3)" in page
    assert "doi.org/10.1016/j.jtbi.2008.04.011" in page
    assert "<b>NaN</b>" not in page and "<study>" not in page and "NumericalError" in page
    drawn = {path.stem for path in (place / "figures").glob("*.png")}
    assert drawn == {f"{name}_cycling_end" for name in ("prcc", "tornado", "heat", "response")}  # first_h has no value
    assert store.open_folder(folder).verify() == []


def test_same_results_have_the_same_tables_and_report(folder, capsys):
    before = {path: path.read_bytes() for path in (folder / "summary").rglob("*") if path.is_file()}
    assert before and call("study", "summary", folder, "--format", "png") == 0
    assert {path: path.read_bytes() for path in before} == before


def test_methods_tell_factors_design_seeds_endpoints_and_counts(folder, capsys):
    files = set(folder.rglob("*"))
    assert call("report", folder, "--methods") == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100 and set(folder.rglob("*")) == files
    flat, manifest = " ".join(text.split()), json.loads((folder / "study.json").read_text())
    for said in (
        "tell the experiment e00_zoledronate_niche (One postmenopausal niche with and without zoledronate) as it is before",
        "The study made_up varied two factors: dose (arms.zoledronate.regimen.0.dose), uniform from 1 to 8 mg; route "
        "(arms.zoledronate.regimen.0.interval), one of 28 d, 84 d.",
        "The 24 points are those of a Latin hypercube drawn by scipy (seed 3).",
        "two arms (control and zoledronate) with two replicates, the seeds 4 to 5, the same at all points",
        "cycling_end (cycling, end; count) and first_h (cycling, first above 90; h).",
        "In all, 50 runs planned, 49 done, 1 failed. Of 96 combinations of point, replicate and arm 46 are equal to others",
        f"(sources {manifest['sources']}) on Python {manifest['versions']['python']}, numpy {manifest['versions']['numpy']}",
        f"The study has the SHA-256 {manifest['config_hash']}, its points {manifest['design_hash']}, its results "
        f"{store.open_folder(folder).hash()}.",
    ):  # fmt: skip
        assert said in flat, said
    assert call("study", "summary", folder, "--no-figures") == 0 and call("report", folder) == 2
    assert "is the folder of a study; `niche-sim study summary" in capsys.readouterr().err


def test_methods_of_an_unfinished_study_say_what_is_missing(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "part")
    next((tmp_path / "part" / "runs").glob("*.parquet")).unlink()
    assert call("report", tmp_path / "part", "--methods") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(r"50 runs planned, \d+ done, (1 failed, )?\d+ missing\.", text)
    assert "its results have none yet, as runs are missing" in text


def test_every_law_is_told_in_words():
    from niche_sim.study.spec import Design, Factor
    from niche_sim.view.study_methods import tell_factor

    results = SimpleNamespace(study=SimpleNamespace(design=Design("latin_hypercube")))
    grid = SimpleNamespace(study=SimpleNamespace(design=Design("grid")))
    assert [tell_factor(*pair) for pair in (
        (results, Factor("a.b", ("a.b",), "loguniform", 0.1, 20.0, "/d")),
        (results, Factor("a.b", ("a.b",), "normal", 1.0, 9.0, "um", 5.0, 1.5, round="0.5 um")),
        (results, Factor("a.b", ("a.b",), "lognormal", 1.0, 9.0, "", 5.0, 0.3)),
        (results, Factor("n", ("population.dormant_dtc",), "integer", 8.0, 24.0)),
        (results, Factor("t", ("time.length",), "triangular", 1.0, 9.0, "d", 5.0)),
        (grid, Factor("a.b", ("a.b",), "loguniform", 1.0, 100.0, "nmol/L", levels=3)),
        (grid, Factor("s", ("scene",), "choice", values=("x", "y"))),
    )] == [
        "a.b, loguniform from 0.1 to 20 /d",
        "a.b, normal with mean 5 um and standard deviation 1.5 um, cut to 1 to 9 um in multiples of 0.5 um",
        "a.b, lognormal with median 5 and CV 0.3, cut to 1 to 9",
        "n (population.dormant_dtc), whole numbers from 8 to 24",
        "t (time.length), triangular with mode 5 d, from 1 to 9 d",
        "a.b, three values from 1 to 100 nmol/L, on a logarithmic scale",
        "s (scene), each of x, y",
    ]  # fmt: skip


RATE, DRAWS = "dormancy.exit_rate: {}", "draws: {at: seed, range: [11, 90]}"
RANDOM = [  # a line of factors, other lines, what is said, what is not
    (RATE, "replicates: 1", [
        "one replicate, the seed 4, the same at all points and in all arms, which so"], ["Bone was", "seeds"]),
    (RATE, "arms: [control]\nreplicates: 3", [
        "in one arm (control) with three replicates, the seeds 4 to 6, the same at all points, which so share",
        "Bone was made anew with each seed."], ["all arms"]),
    (DRAWS, "replicates: 2", [
        "with two replicates. The seed is a factor, draws, whole numbers from 11 to 90: replicate r, counted from 0, "
        "has that of its point + r, the same in all arms, which so share their random draws (common random numbers). "
        "Points share draws only where runs have the same seed. Bone was made anew with each seed."],
     ["seed 4", "seeds 4", "the same at all points"]),
    (DRAWS, "arms: [control]", [
        "each run has that of its point. Points share", "Bone was made"], ["all arms", "seed 4", "replicate r"]),
    ("anatomy: {at: scene.seed, values: [7, 8]}", "replicates: 2", [
        "the seeds 4 to 5, the same at all points and in all arms",
        "Bone was made with a seed of its own, the factor anatomy, one of 7, 8, the same in all replicates; where that is "
        "also the seed of the point, with the seed of each replicate."], ["Bone was made anew"]),
    ("both: {at: [seed, scene.seed], values: [7, 8]}", "replicates: 2", [
        "The seed is a factor, both, one of 7, 8:", "Bone was made anew with each seed."], ["seed of its own"]),
    (RATE, "replicates: 2\nset: {scene.seed: 9}", ["Bone was made with the seed 9 in all runs. A draw"], ["anew"]),
]  # fmt: skip


@pytest.mark.parametrize(("factor", "more", "told", "untold"), RANDOM)
@pytest.mark.parametrize("missing", [True, False])
def test_methods_tell_seeds_that_are_true(tmp_path, factor, more, told, untold, missing):
    from niche_sim.study.design import build_design
    from niche_sim.study.gate import load_study
    from niche_sim.study.results import StudyResults
    from niche_sim.study.runs import build_point, take_run
    from niche_sim.view.study_methods import _tell_seeds
    from niche_sim.view.study_report import _tell_chance

    (tmp_path / "study.yaml").write_text(
        "name: seeds\nexperiment: e00_zoledronate_niche\n"
        f"design: {{kind: latin_hypercube, points: 4}}\nfactors:\n  {factor}\n{more}\n"
    )
    study = load_study(tmp_path / "study.yaml")
    design = build_design(study)
    runs = pd.DataFrame({"key": ["a"], "status": ["missing" if missing else "done"]})
    text = _tell_seeds(StudyResults(study, design, runs))
    assert text.startswith(f"Every point {'is to run' if missing else 'ran'} in ")
    assert all(part in text for part in told) and not any(part in text for part in untold), text
    chance = _tell_chance(StudyResults(study, design, runs))
    assert ("by their common seed" in chance) == (study.replicates > 1 and "The seed is a factor" not in text)
    assert ("Arms are compared" in chance) == (len(study.arms) > 1)
    for row in design.to_dict("records"):  # and runs are so
        point = build_point(study, row)
        made = [take_run(point, replicate, study.arms[0]) for replicate in range(study.replicates)]
        base = int(row.get("draws", row.get("both", 4)))
        assert [run.seed for run in made] == [base + replicate for replicate in range(study.replicates)]
        own = row.get("anatomy") or (9 if "scene.seed: 9" in more else None)
        assert [run.scene.seed for run in made] == [int(own) if own else run.seed for run in made]


def test_emulator_predicts_and_tells_its_error(folder, capsys):
    words = ("--endpoint", "cycling_end", "--arm", "zoledronate", "--at", "dose=4 mg", "--format", "png")
    assert call("study", "emulate", folder, *words) == 0
    said = capsys.readouterr().out
    value = float(said.split("zoledronate: ")[1].split()[0])
    assert value == pytest.approx(16.5, abs=0.3) and "Q2 0.9" in said and "of 24 points" in said
    assert call("study", "emulate", folder, *words[:2], "--difference", "--format", "png") == 0
    drawn = {path.name for path in (folder / "summary" / "figures").glob("emulator*")}
    assert drawn == {f"emulator_cycling_end_{arm}.png" for arm in ("zoledronate", "zoledronate-less-control")}


@pytest.mark.parametrize(("words", "message"), [
    (("summary", "--endpoint", "cycling"), "--endpoint: no 'cycling'; did you mean 'cycling_end'?"),
    (("summary", "--reference", "placebo"), "--reference: no arm 'placebo'"),
    (("summary", "--format", "gif"), "--format: no format 'gif'"),
    (("emulate", "--endpoint", "cycling_end", "--arm", "zoledronate", "--at", "dose=9 mg"), "where the study has points"),
    (("emulate", "--endpoint", "cycling_end", "--arm", "placebo"), "--arm: no 'placebo'"),
    (("emulate", "--endpoint", "first_h", "--arm", "zoledronate"), "0 points have a value; an emulator of 2 factors"),
    (("emulate", "--endpoint", "cycling_end"), "cycling_end, control: no factor of this study acts on it"),
])  # fmt: skip
def test_mistakes_are_told(folder, capsys, words, message):
    assert call("study", words[0], folder, *words[1:]) == 2
    assert message in capsys.readouterr().err


def test_damaged_results_are_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = next((copy / "runs").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="was changed after it was written"):
        load_study_results(copy)
    file.unlink()  # what is not there is counted as missing
    assert count_runs(load_study_results(copy).runs)["missing"] > 0


def plant_strangers(runs):
    """Put what is no result of the study among its results; return the names."""
    first = sorted(runs.glob("*.parquet"))[0]
    shutil.copy(first, runs / "extra.parquet")
    shutil.copy(first, runs / f"{first.stem} (1).parquet")
    shutil.copy(first, runs / f"000099-{'0' * 16}-{first.stem[-16:]}.parquet")  # of a batch that there is not
    (runs / "folder.parquet").mkdir()
    (runs / f"{first.stem[:-16]}{'e' * 16}.parquet").mkdir()
    os.mkfifo(runs / "pipe.parquet")  # which an ordinary open would wait for
    os.mkfifo(runs / f"{first.stem[:-16]}{'f' * 16}.parquet")
    (runs / f"{first.stem[:-16]}{'d' * 16}.parquet").symlink_to(first.name)
    (runs / "notes.txt").write_text("mine")
    return sorted({path.name for path in runs.iterdir()})


def test_what_does_not_belong_is_named_and_read_by_nobody(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before, own = store.open_folder(copy), sorted(path.name for path in (copy / "runs").iterdir())
    status, files = before.status(), before.list_files()
    strange = [name for name in plant_strangers(copy / "runs") if name not in own]
    held = store.open_folder(copy)
    assert len(strange) == 9 and held.status() == status and held.list_files() == files
    assert {(problem.path, problem.message) for problem in held.verify()} == {
        (f"runs/{name}", "does not belong to this study; remove it") for name in strange
    }
    assert list(held.missing(held.list_batches())) == []
    for words in (("verify",), ("hash",), ("study", "summary"), ("study", "emulate", "--endpoint", "cycling_end")):
        assert call(*words, copy) == 2
        assert "does not belong to this study; remove it" in capsys.readouterr().err
    assert call("study", "status", copy) == 0
    batch = next(held.list_batches())
    content = files[batch.name][0].read_bytes()
    held.write_batch(batch, content)  # which replaces the results of its batch alone
    assert sorted(path.name for path in (copy / "runs").iterdir()) == sorted([*own, *strange])
    for name in strange:
        path = copy / "runs" / name
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert held.verify() == [] and held.hash() == before.hash()


def test_two_results_of_a_batch_are_named_and_the_batch_is_run_again(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    held = store.open_folder(copy)
    batch, done = next(held.list_batches()), held.status().done
    (first,) = held.list_files()[batch.name]
    other = first.with_name(f"{batch.name}-{hashlib.sha256(f'{batch.name} other'.encode()).hexdigest()[:16]}.parquet")
    other.write_bytes(b"other")
    again = f"`niche-sim resume {copy}` runs its batch again"
    told = [problem.message for problem in held.verify()]
    assert told == [f"is one of several results of the same batch; {again}"] * 2
    assert [found.name for found in held.missing(held.list_batches())] == [batch.name]
    assert held.status().done < done and held.status().batches_written == held.status().batches - 1
    held.write_batch(batch, first.read_bytes())
    assert held.verify() == [] and held.status().done == done


def test_a_pipe_in_the_place_of_the_lock_is_waited_for_by_nobody(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / ".lock").unlink(missing_ok=True)
    os.mkfifo(copy / ".lock")
    assert call("study", "status", copy) == 0 and call("resume", copy) == 2
    assert ".lock: not a plain file; remove it" in capsys.readouterr().err
