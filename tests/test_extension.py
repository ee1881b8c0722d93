"""Parameter sets that extend others: what is inherited, replaced and multiplied, and what is refused."""

import textwrap

import pytest

from niche_sim.config import ConfigError, build_experiment, check_files, list_available, load_experiment, load_parameters

CHILD = """\
# A set for tests.
extends: human
dormancy:
  exit_rate: {value: "3e-4 /d", range: ["1e-4 /d", "1e-3 /d"], status: assumed, source: none, note: Faster.}
division:
  maximum_rate: {times: 0.5, range: [0.25, 1], status: assumed, source: none, note: Half.}
"""
EXPERIMENT = """\
name: small
scene: trabecula_small
patient: postmenopausal
time: {length: "1 d"}
arms: {control: {}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("child.yaml", CHILD)
    return tmp_path


def write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(textwrap.dedent(text))


def tell(*files):
    return [(p.file, p.line, p.column, p.path, p.message) for p in check_files(files)]


def test_a_set_holds_what_differs_and_inherits_the_rest(folder):
    assert tell("child.yaml") == []
    human, child = load_parameters("human"), load_parameters("./child.yaml")
    assert list(child) == list(human)
    assert {name for name in human if child[name] != human[name]} == {"dormancy.exit_rate", "division.maximum_rate"}
    assert child.value("dormancy.exit_rate") == pytest.approx(3e-4 / 24)
    assert child.name == "child"


def test_a_multiple_scales_value_and_range_and_says_so(folder):
    below, item = load_parameters("human")["division.maximum_rate"], load_parameters("./child.yaml")["division.maximum_rate"]
    assert item.value == pytest.approx(0.5 * below.value)
    assert item.range == pytest.approx((0.25 * below.range[0], below.range[1]))
    assert (item.status, item.source, item.note) == ("assumed", "none", f"0.5 x {below.written}. Half.")


def test_a_chain_multiplies_what_the_set_below_says(folder):
    write("grandchild.yaml", """\
        extends: ./child.yaml
        division:
          maximum_rate: {times: 3, range: [1, 4], status: assumed, source: none}
        dormancy:
          exit_rate: {times: 2, range: [1, 2], status: assumed, source: none}
        """)  # fmt: skip
    human, found = load_parameters("human"), load_parameters("./grandchild.yaml")
    assert found.value("division.maximum_rate") == pytest.approx(1.5 * human.value("division.maximum_rate"))
    assert found.value("dormancy.exit_rate") == pytest.approx(6e-4 / 24)


def test_an_experiment_takes_one_by_name_path_or_in_place_and_resolves_it_whole(folder):
    write("by_path.yaml", EXPERIMENT + "parameters: ./child.yaml\noverride: {division.maximum_rate: 0.05 /d}\n")
    by_path = load_experiment("by_path.yaml")
    resolved = by_path.resolved()
    assert set(resolved["parameters"]) == set(load_parameters("human").groups())
    assert "extends" not in resolved["parameters"] and resolved["parameters"]["dormancy"]["exit_rate"]["note"] == "Faster."
    assert build_experiment(resolved) == by_path
    assert by_path.parameters.value("division.maximum_rate") == pytest.approx(0.05 / 24)
    indented = textwrap.indent(CHILD, "  ")
    write("in_place.yaml", EXPERIMENT + f"parameters:\n{indented}override: {{division.maximum_rate: 0.05 /d}}\n")
    assert load_experiment("in_place.yaml").config_hash == by_path.config_hash
    leaf = {"times": 0.5, "range": [0.1, 1], "status": "assumed", "source": "none"}
    mapping = {key: resolved[key] for key in ("name", "scene", "patient", "time", "arms")}
    halved = build_experiment(mapping | {"parameters": {"extends": "human", "egress": {"rate": leaf}}}).parameters
    assert halved.value("egress.rate") == pytest.approx(load_parameters("human").value("egress.rate") / 2)


@pytest.mark.parametrize("given", ["./child.yaml", "{extends: ./child.yaml}"])
def test_set_reaches_what_is_inherited(folder, given):
    write("experiment.yaml", EXPERIMENT + f"parameters: {given}\n")
    found = load_experiment("experiment.yaml", sets={"parameters.egress.rate.value": "0.003 /d"}).parameters
    assert found.value("egress.rate") == pytest.approx(0.003 / 24)
    assert found.value("dormancy.exit_rate") == pytest.approx(3e-4 / 24)


@pytest.mark.parametrize(("old", "new", "place", "path", "said"), [
    ("extends: human", "extends: humn", (2, 10), "extends", "unknown parameter set 'humn'; did you mean 'human'?"),
    ("extends: human", "extends: ./gone.yaml", (2, 10), "extends", "'./gone.yaml' cannot be read"),
    ("extends: human", "extends: [human]", (2, 10), "extends", "expected the name or path of the parameter set"),
    ("extends: human", "extends: ./child.yaml", (2, 10), "extends", "extends itself: child.yaml -> child.yaml"),
    ("extends: human", "extends: ./list.yaml", (2, 10), "extends", "'./list.yaml' is not a parameter set"),
    ("exit_rate:", "exit_rat:", (4, 3), "dormancy.exit_rat", "unknown parameter; did you mean 'exit_rate'?"),
    ("dormancy:", "dormanc:", (3, 1), "dormanc", "unknown group of parameters; did you mean 'dormancy'?"),
    ("maximum_rate:", "maximum:", (6, 3), "division.maximum", "unknown parameter; did you mean 'maximum_rate'?"),
    ('"3e-4 /d"', '"3e-4 um"', (4, 22), "dormancy.exit_rate.value", "is a length; expected a rate"),
    ("status: assumed, source: none, note: Faster.", "source: none", (4, 3), "dormancy.exit_rate.status", "missing"),
    ("times: 0.5", "times: 5", (6, 25), "division.maximum_rate.times", "5 is outside the range 0.25 to 1"),
    ("times: 0.5", "times: 0.5 /d", (6, 25), "division.maximum_rate.times", "is a rate; expected a plain number"),
    ("[0.25, 1]", "[-1, 1]", (6, 38), "division.maximum_rate.range.0", "a multiple is not below 0"),
    ("[0.25, 1]", "0.25", (6, 37), "division.maximum_rate.range", "expected the lowest and the highest multiple"),
    ("times: 0.5", "times: 0.5, value: 1 /d", (6, 17), "division.maximum_rate", "a value or 'times', not both"),
])  # fmt: skip
def test_a_mistake_is_told_once_at_its_place(folder, old, new, place, path, said):
    assert old in CHILD
    write("child.yaml", CHILD.replace(old, new, 1))
    write("list.yaml", "[1, 2]")
    ((file, line, column, found, message),) = tell("child.yaml")
    assert (file, (line, column), found) == ("child.yaml", place, path)
    assert said in message
    write("experiment.yaml", EXPERIMENT + "parameters: ./child.yaml\n")
    ((file, line, column, found, _),) = tell("experiment.yaml")
    assert (file, (line, column), found) == ("child.yaml", place, f"parameters.{path}")


def test_a_cycle_of_two_is_told_where_it_closes(folder):
    write("other.yaml", "extends: ./child.yaml\n")
    write("child.yaml", CHILD.replace("human", "./other.yaml"))
    (problem,) = tell("child.yaml")
    assert problem == ("other.yaml", 1, 10, "extends", "the set extends itself: child.yaml -> other.yaml -> child.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load_parameters("./child.yaml")


def test_mistakes_of_the_set_below_have_its_place(folder):
    write("child.yaml", CHILD.replace('"3e-4 /d"', '"3e-4 um"'))
    write("grandchild.yaml", "extends: ./child.yaml\n")
    assert [problem[:4] for problem in tell("grandchild.yaml")] == [("child.yaml", 4, 22, "dormancy.exit_rate.value")]
    write("child.yaml", "a: b: c\n")
    assert [problem[:3] for problem in tell("grandchild.yaml")] == [("child.yaml", 1, 5)]
    write("child.yaml", CHILD + "egress: {}\negress: {}\n")
    assert [problem[:3] for problem in tell("grandchild.yaml")] == [("child.yaml", 8, 1)]


def test_the_first_set_has_nothing_to_multiply(folder):
    write("alone.yaml", "egress:\n  rate: {times: 2, range: [1, 3], status: assumed, source: none}\n")
    (problem,) = [problem for problem in tell("alone.yaml") if problem[3].startswith("egress")]
    assert problem[1:4] == (2, 10, "egress.rate.times") and "no set below to multiply" in problem[4]


@pytest.mark.parametrize("name", [name for name in list_available()["parameters"] if name != "human"])
def test_a_shipped_set_differs_from_human_and_stays_in_step_with_it(name):
    human, found = load_parameters("human"), load_parameters(name)
    changed = {key for key in human if found[key] != human[key]}
    assert list(found) == list(human) and 0 < len(changed) < 40
