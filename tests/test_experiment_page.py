"""docs/experiments.md: its experiment runs as it stands there, its set is sound, no key is forgotten."""

import re

from pharmacokinetics import ROOT

import niche_sim as ns
from niche_sim.config import check_files
from niche_sim.config.schema import (
    ArmModel,
    ChangeModel,
    ExperimentModel,
    GeneratedScene,
    ImageScene,
    PopulationModel,
    RecordModel,
    TimeModel,
    list_keys,
)

PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
MODELS = (
    ExperimentModel, TimeModel, PopulationModel, RecordModel, ArmModel, ChangeModel, GeneratedScene, ImageScene,
)  # fmt: skip


def test_the_experiment_of_the_page_has_no_mistakes_and_runs(tmp_path):
    text, mine = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(mine, encoding="utf-8")
    assert check_files([tmp_path / "mine.yaml"]) == []
    file = tmp_path / "switched.yaml"
    file.write_text(text, encoding="utf-8")
    assert check_files([file]) == []
    short = {"time.spin_up": "6 h", "record.pictures": '["36 d"]'}
    run = ns.run_experiment(ns.load_experiment(file, length="36 d", sets=short))
    assert run.experiment.switches["immune_dormancy"] and run.arms["control"].series["time_h"].iloc[-1] == 864.0
    same = run.series.query("time_h <= 720").set_index(["arm", "time_h"])
    treated, changed = (same.loc[arm] for arm in ("zoledronate", "without_osteoclasts"))
    assert treated.equals(changed)


def test_the_page_names_every_key():
    for key in {key for model in MODELS for key in list_keys(model)}:
        assert f"`{key}`" in PAGE, key
