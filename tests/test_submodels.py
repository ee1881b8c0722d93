"""Sub-models through the command line: examples run, columns are documented, mistakes are told, files run again."""

import pandas as pd
import pytest

from niche_sim.cli import main
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir
from niche_sim.store import hash_result, load, verify
from niche_sim.submodels.documentation import write_page
from niche_sim.submodels.finding import MODELS, list_examples
from niche_sim.submodels.running import check_submodel, read_spec

PAGE = configs_dir().parent / "docs" / "submodels.md"


def call(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def test_every_model_has_an_example():
    models = {read_spec(configs_dir() / "submodels" / f"{name}.yaml")[1].model for name in list_examples()}
    assert models == set(MODELS)


@pytest.mark.parametrize("name", list_examples())
def test_examples_run_and_hold_what_is_documented(tmp_path, name):
    changes = [] if "motility" not in name and "population" not in name else ["--set", "replicates=20"]
    assert call("run", name, "--out", tmp_path / "a", "--quiet", *changes) == 0
    module = read_spec(configs_dir() / "submodels" / f"{name}.yaml")[0]
    tables = sorted((tmp_path / "a").glob("*.csv"))
    assert tables
    for path in tables:
        assert set(pd.read_csv(path, nrows=1).columns) <= set(module.COLUMNS[path.stem])
    assert verify(tmp_path / "a") == []
    assert call("run", tmp_path / "a" / "resolved.yaml", "--out", tmp_path / "b", "--quiet") == 0
    assert hash_result(tmp_path / "a") == hash_result(tmp_path / "b")


def test_a_changed_table_is_named(tmp_path):
    call("run", "bone_komarova", "--out", tmp_path / "a", "--quiet")
    path = tmp_path / "a" / "course.csv"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert [problem.path for problem in verify(tmp_path / "a")] == ["course.csv"]
    with pytest.raises(InputError, match="course.csv"):
        hash_result(tmp_path / "a")
    with pytest.raises(InputError, match="tables of a sub-model"):
        load(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: populaton\nname: a\n", "2 'population'"),
        ("model: population\nname: a\nlength: 10\nevery: '1 d'\n", ":3:9: length: missing unit"),
        ("model: population\nname: a\nlength: '10 d'\nevery: '1 d'\nrate: {}\n", ":5:1: rate: unknown key"),
        ("model: pk\nname: a\nlength: '1 d'\nevery: '1 h'\nkinetics: {volume: '1 L'}\ndoses: []\n", "kinetics"),
        ("model: motility\nname: a\nvoxels: [4]\ncells: 9\nspeed: '1 um/h'\nlength: '1 d'\nevery: '1 h'\n", ":4:8: cells"),
        ("model: aspirate\nname: a\nparameters: {site_cvs: 1}\n", "did you mean 'aspirate.site_cv'"),
        ("model: aspirate\nname: a\nparameters: {site_cv: 9}\n", ":3:23: parameters.site_cv"),
        ("model: imaging\nname: a\nlength: 1 d\nlesions: [{time: 0 d, cells: 9}]\nimaging: {capacity: 1}\n", ":5:21"),
        ("model: bone_mean_field\nname: a\nsystem: lemaire\nparameters: {q: 1}\nlength: '1 d'\nevery: '1 d'\n", ":4:17"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(tmp_path, text, told):
    path = tmp_path / "model.yaml"
    path.write_text(text)
    said = "\n".join(map(str, check_submodel(str(path))))
    assert told.removeprefix("2 ") in said
    assert f"{path}:" in said
    assert call("check", path) == 2
    assert call("run", path, "--out", tmp_path / "out", "--quiet") == 2
    assert not (tmp_path / "out").exists()


def test_the_page_is_what_the_models_say():
    assert PAGE.read_text(encoding="utf-8") == write_page(), "run niche_sim.submodels.documentation"
