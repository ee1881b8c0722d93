"""The lines of the documentation that read results, as they stand there: with failed rows, and while a study runs."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from niche_sim.study import runs, store
from niche_sim.study.design import build_design
from niche_sim.study.gate import load_study

STUDY = """
name: made_up
experiment: e00_zoledronate_niche
design: {kind: latin_hypercube, points: 60, seed: 3}
factors:
  dose: {at: "arms.zoledronate.regimen.0.dose", range: ["1 mg", "8 mg"]}
endpoints:
  cycling_end: {column: cycling}
  dormant_end: {column: dormant}
  drug: {column: drug_surface_fmol}
  escape_h: {column: cycling, take: first_above(10)}
"""
ENDPOINTS = ("cycling_end", "dormant_end", "drug", "escape_h")
TEXTS, COUNTS = ("key", "arm", "status", "error"), ("point", "replicate")
BLOCK = re.compile(r"```python\n(pandas\.read_parquet.*?)```", re.DOTALL)


def list_lines():
    """Return the lines of the documentation that read results."""
    docs = Path(__file__).parents[1] / "docs"
    blocks = [BLOCK.search((docs / name).read_text())[1] for name in ("studies.md", "studies_results.md")]
    return sorted({line.partition("  #")[0].rstrip() for block in blocks for line in block.splitlines()})


def mark(line):
    """Put lines of libraries that only the deep tier asks for there."""
    return pytest.param(line, marks=pytest.mark.deep) if line.startswith(("polars", "duckdb")) else line


def read(line, directory):
    """Return what a line gives for a folder: a frame of pandas, or metadata."""
    name = line.partition(".")[0]
    module = pytest.importorskip(name)
    if name == "pyarrow":
        pytest.importorskip("pyarrow.dataset")
    found = eval(re.sub(r"results/\w+(?=/runs)", str(directory), line), {name: module})
    return found.df() if name == "duckdb" else found.to_pandas() if name == "polars" else found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder without results, the study, and made-up rows by batch, of which the first of each batch failed."""
    file = tmp_path_factory.mktemp("made_up") / "study.yaml"
    file.write_text(STUDY)
    study = load_study(file)
    design = build_design(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SHORTEST_BATCH_S", 1e-3)
        batches, planned = runs.list_batches(study, design), runs.iterate_runs(study, design)
        held = store.begin_folder(file.parent / "study", study, design, batches, planned)
    frames = []
    for batch in held.list_batches():
        frame = pd.DataFrame(batch.runs)[["key", "point", "replicate", "arm"]].assign(status="done", error="")
        frame = frame.assign(cycling_end=2.0, dormant_end=0.25 + frame["point"], drug=1.5, escape_h=np.nan)
        if batch.number % 2:
            frame.loc[0, ["status", "error"]] = ["failed", 'NumericalError: "é", 2']
            frame.loc[0, list(ENDPOINTS)] = np.nan
        frames.append((batch, frame))
    assert len(frames) > 20
    return study, held, frames


def write_all(made, directory, pause=0.0):
    """Write the results of every batch, and a file that a killed driver left half-written."""
    study, held, frames = made
    directory.mkdir(exist_ok=True)
    (directory / "runs").mkdir(exist_ok=True)
    folder = store.StudyFolder(directory, held.manifest)
    for number, (batch, frame) in enumerate(frames):
        folder.write_batch(batch, store.encode_batch(study, frame))
        if number == 0:
            (directory / "runs" / ".000001-0.parquet.new").write_bytes(b"PAR1 half")
        time.sleep(pause)


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    write_all(made, directory)
    return directory


def test_the_documentation_names_every_library():
    assert {line.partition(".")[0] for line in list_lines()} == {"pandas", "polars", "duckdb", "pyarrow"}


@pytest.mark.parametrize("line", [mark(line) for line in list_lines()])
def test_each_line_reads_all_rows_with_types_and_failed_rows_have_no_value(made, finished, line):
    wanted = pd.concat([frame for _, frame in made[2]], ignore_index=True)
    found = read(line, finished)
    if line.startswith("pyarrow"):
        assert found == {b"unit": b"h"}
    elif line.startswith("duckdb"):
        column = re.search(r"avg\((\w+)\)", line)[1]
        means = wanted.groupby("arm")[column].mean()  # without the failed ones
        assert dict(found.itertuples(index=False)) == pytest.approx(means.to_dict())
    else:
        assert list(found.columns) == list(wanted.columns)
        assert {name: str(kind) for name, kind in found.dtypes.items()} == (
            dict.fromkeys(TEXTS, "object") | dict.fromkeys(COUNTS, "int64") | dict.fromkeys(ENDPOINTS, "float64")
        )
        pd.testing.assert_frame_equal(
            found.sort_values("key", ignore_index=True), wanted.sort_values("key", ignore_index=True), check_dtype=False
        )


def test_every_column_has_its_unit(finished):
    dataset = pytest.importorskip("pyarrow.dataset").dataset(finished / "runs")
    units = {field.name: field.metadata[b"unit"].decode() for field in dataset.schema}
    assert units == dict.fromkeys((*TEXTS, *COUNTS), "name") | {
        "cycling_end": "count", "dormant_end": "count", "drug": "fmol", "escape_h": "h"
    }  # fmt: skip


@pytest.mark.deep
def test_types_in_polars_and_duckdb(finished):
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    schema = polars.read_parquet(finished / "runs" / "*.parquet").schema
    for names, kind in ((TEXTS, polars.String), (COUNTS, polars.Int64), (ENDPOINTS, polars.Float64)):
        assert {schema[name] for name in names} == {kind}
    told = duckdb.sql(f"describe select * from '{finished}/runs/*.parquet'").fetchall()
    types = {name: kind for name, kind, *_ in told}
    for names, kind in ((TEXTS, "VARCHAR"), (COUNTS, "BIGINT"), (ENDPOINTS, "DOUBLE")):
        assert {types[name] for name in names} == {kind}


@pytest.mark.parametrize("line", [mark(line) for line in list_lines() if "avg" not in line and "schema" not in line])
def test_each_line_reads_whole_batches_while_the_study_runs(made, tmp_path, line):
    batches = [set(frame["key"]) for _, frame in made[2]]
    writer = threading.Thread(target=write_all, args=(made, tmp_path, 0.02))
    writer.start()
    counts = [0]
    while counts[-1] < sum(map(len, batches)):
        if list((tmp_path / "runs").glob("[!.]*.parquet")):
            keys = set(read(line, tmp_path)["key"])
            assert all(batch <= keys or not batch & keys for batch in batches)
            counts.append(len(keys))
    writer.join()
    assert counts == sorted(counts) and len(set(counts)) > 3
