"""Models in SBML: published steady states to 1e-6, the course of the equations, strangers' files, a patient's bone."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from niche_sim.cli import main
from niche_sim.config import build_experiment, check_files
from niche_sim.errors import InputError, NumericalError
from niche_sim.sbml import Question, find_sbml, list_shipped, read_sbml, solving
from niche_sim.submodels import bone_mean_field, bone_sbml
from niche_sim.submodels.running import check_submodel

SYSTEMS = {"komarova2003": "komarova", "lemaire2004": "lemaire"}
TEXTS = {name: find_sbml(name, Path()).read_text("utf-8") for name in SYSTEMS}
GOOD = TEXTS["lemaire2004"]
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
LEVEL3 = '<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1">'


def solve(model, **keys):
    spec = model.Spec.model_validate({"model": model.MODEL, "name": "t", "length": "300 d", "every": "10 d"} | keys)
    assert model.check(spec) == []
    tables = model.run(spec, lambda fraction: None)
    return tables["course"], tables["steady_state"].set_index("variable")


def ask(model, times_h, outputs, **keys):
    return solving.solve(model, Question(tuple(float(t) for t in times_h), outputs, model.time_h, **keys))


def write(folder, text, **keys):
    (folder / "model.xml").write_text(text, encoding="utf-8")
    lines = {"model": "bone_sbml", "name": "t", "sbml": "model.xml", "length": "'300 d'", "every": "'10 d'"} | keys
    (folder / "model.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), encoding="utf-8")
    return folder / "model.yaml"


# ---------------------------------------------------------------- published models


def test_komarova_rests_at_its_closed_form():
    """x1 = 1.06, x2 = 212.13 in the paper; with its numbers 15 sqrt(0.005) and 15 / sqrt(0.005)."""
    course, steady = solve(bone_sbml, sbml="komarova2003")
    assert steady.loc["x1", "value"] == pytest.approx(15 * np.sqrt(0.005), rel=1e-12)
    assert steady.loc["x2", "value"] == pytest.approx(15 / np.sqrt(0.005), rel=1e-12)
    assert (round(steady.loc["x1", "value"], 2), round(steady.loc["x2", "value"], 2)) == (1.06, 212.13)
    assert np.abs(steady["residual_per_d"]).max() < 1e-12
    assert np.allclose(course["z"], 100.0, atol=1e-9)


def test_lemaire_rests_at_the_published_state():
    """R 7.734e-4, B 7.282e-4, C 9.127e-4 pmol/L, as printed; also from starting values that are rounded or wrong."""
    for initial in ({}, {"R": 7.734e-4, "B": 7.282e-4, "C": 9.127e-4}, {"R": 1e-2, "B": 1e-5, "C": 1e-3}):
        steady = solve(bone_sbml, sbml="lemaire2004", initial=initial)[1]["value"]
        assert steady.to_numpy() == pytest.approx([7.734e-4, 7.282e-4, 9.127e-4], rel=3e-4)
        exact = bone_mean_field.find_steady("lemaire", bone_mean_field.LEMAIRE)
        assert steady.to_numpy() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("komarova2003", {"initial": {"x1": 11.06}}),
        ("komarova2003", {"parameters": {"b1": 0.3, "g22": 0.1}, "initial": {"x1": 3.0}}),
        ("lemaire2004", {"pulses": [{"start": "20 d", "end": "91 d", "parameters": {"IP": 1e3}}]}),
        ("lemaire2004", {"parameters": {"kB": 0.3, "IL": 1e4}}),
    ],
)  # fmt: skip
def test_course_and_rest_are_those_of_the_equations(name, keys):
    course, steady = solve(bone_sbml, sbml=name, **keys)
    if "initial" not in keys and "parameters" in keys:  # the file starts at the rest of its own parameters
        keys = keys | {"initial": dict(course.iloc[0][["R", "B", "C"]])}
    expected, rest = solve(bone_mean_field, system=SYSTEMS[name], **keys)
    assert np.abs(course[expected.columns] / expected - 1).max().drop("time_d").max() < 1e-6
    assert steady["value"][rest.index].to_numpy() == pytest.approx(rest["value"].to_numpy(), rel=1e-6)


def test_shipped_files_say_units_and_papers():
    assert list_shipped() == sorted(SYSTEMS)
    for name, text in TEXTS.items():
        model = read_sbml(find_sbml(name, Path()))
        assert model.time_h == 24.0
        assert {"komarova2003": "PMID 14499354", "lemaire2004": "doi:10.1016/j.jtbi.2004.03.023"}[name] in text
        assert 'level="3"' in text
        assert all(state.unit for state in model.states.values())


def test_files_hold_no_error_of_sbml():
    libsbml = pytest.importorskip("libsbml")
    for text in TEXTS.values():
        document = libsbml.readSBMLFromString(text)
        assert document.checkConsistency() == 0, document.getErrorLog().toString()


# ---------------------------------------------------------------- strangers' files

DECAY = """<sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="decay">
<notes><body xmlns="http://www.w3.org/1999/xhtml"><p>Words.</p></body></notes>
<listOfFunctionDefinitions><functionDefinition id="first"><math xmlns="http://www.w3.org/1998/Math/MathML"><lambda>
<bvar><ci>p</ci></bvar><bvar><ci>q</ci></bvar><apply><times/><ci>p</ci><ci>q</ci></apply></lambda></math></functionDefinition>
</listOfFunctionDefinitions>
<listOfCompartments><compartment id="v" size="3"/></listOfCompartments>
<listOfSpecies><species id="A" compartment="v" initialConcentration="2"/><species id="k" compartment="v" initialAmount="6"/>
<species id="held" compartment="v" initialAmount="1" boundaryCondition="true"/></listOfSpecies>
<listOfParameters><parameter id="s" value="1"/></listOfParameters>
<listOfReactions><reaction id="loss" reversible="false"><listOfReactants><speciesReference species="A"/></listOfReactants>
<listOfProducts><speciesReference species="k"/><speciesReference species="held"/></listOfProducts>
<kineticLaw><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><times/><ci>s</ci><ci>v</ci>
<apply><ci>first</ci><ci>c</ci><ci>A</ci></apply></apply></math>
<listOfParameters><parameter id="c" value="0.25"/></listOfParameters></kineticLaw></reaction></listOfReactions>
<listOfEvents><event id="e"><trigger><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><geq/>
<csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/time">t</csymbol><cn>4</cn></apply></math></trigger>
<listOfEventAssignments><eventAssignment variable="A"><math xmlns="http://www.w3.org/1998/Math/MathML"><cn>8</cn></math>
</eventAssignment></listOfEventAssignments></event></listOfEvents></model></sbml>"""


def test_level_2_with_volumes_local_parameters_functions_and_events(tmp_path):
    (tmp_path / "decay.xml").write_text(DECAY)
    model = read_sbml(find_sbml("decay.xml", tmp_path))
    assert model.time_h == 1 / 3600  # seconds, unless a file of Level 2 says otherwise
    assert list(model.states) == ["A", "k"]
    times = np.array([0.0, 1.0, 3.0, 5.0])
    answer = ask(model, times / 3600, ("A", "k", "held"), steady=True)
    exact = np.where(times < 4, 2 * np.exp(-0.25 * times), 8 * np.exp(-0.25 * (times - 4)))
    assert answer.course[:, 0] == pytest.approx(exact, rel=1e-8)
    assert answer.course[:, 2] == pytest.approx(np.full(4, 1 / 3))
    # All of A becomes k, whose sum no rate tells: 2 + 2 before the event, what it adds to A after.
    assert answer.steady == pytest.approx([0.0, 4.0 - 2.0 * np.exp(-1.0) + 8.0], abs=1e-7)
    slower = ask(model, times / 3600, ("A",), parameters={"s": 0.5}, initial={"A": 3.0})
    assert slower.course[:3, 0] == pytest.approx(3 * np.exp(-0.125 * times[:3]), rel=1e-8)


RULES = """<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1"><model timeUnits="second">
<listOfCompartments><compartment id="v" size="3" constant="true" spatialDimensions="3"/></listOfCompartments><listOfSpecies>
<species id="S" compartment="v" initialConcentration="2" hasOnlySubstanceUnits="false" boundaryCondition="%s"
 constant="false"/>
<species id="A" compartment="v" initialAmount="6" hasOnlySubstanceUnits="true" boundaryCondition="%s" constant="false"/>
</listOfSpecies><listOfRules>
<rateRule variable="S"><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><cn>1</cn><ci>S</ci></apply></math></rateRule>
<rateRule variable="A"><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><minus/><cn>1</cn><ci>A</ci></apply></math></rateRule>
</listOfRules></model></sbml>"""


@pytest.mark.parametrize("boundary", ["true", "false"])
def test_rate_rules_of_species_are_of_concentrations_or_amounts(tmp_path, boundary):
    (tmp_path / "rules.xml").write_text(RULES % (boundary, boundary))
    model = read_sbml(tmp_path / "rules.xml")
    answer = ask(model, np.array([0.0, 1.0, 2.0]) / 3600, ("S", "A"), steady=True, initial={"S": 3.0})
    assert answer.course[1:, 0] == pytest.approx(1 + 2 * np.exp([-1.0, -2.0]), rel=1e-8)
    assert answer.course[1:, 1] == pytest.approx(1 + 5 * np.exp([-1.0, -2.0]), rel=1e-8)
    assert answer.steady == pytest.approx([1.0, 1.0], rel=1e-9)


def change(*pairs):
    text = GOOD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


BOMB = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
NEEDS = 'xmlns:comp="http://www.sbml.org/sbml/level3/version1/comp/version1" comp:required="true">'
DELAY = '<csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/delay">d</csymbol>'
BAD = {
    "no XML": ("hello", "model.xml:1:1: is not XML"),
    "nothing": ("", "is not XML"),
    "cut": (GOOD[:6000], "is not XML: unclosed token"),
    "an encoding": (GOOD.replace("UTF-8", "latin-77"), "unknown encoding"),
    "laughs": (change((HEAD, HEAD + BOMB)), "model.xml:1:51: a document type is refused"),
    "a file": (change((HEAD, HEAD + OUTSIDE)), "a document type is refused"),
    "depth": (change(("<apply>", "<apply>" * 200)), "more than 100 levels"),
    "size": (GOOD + " " * 2_000_000, "is larger than 2 MB"),
    "a page": ("<html/>", "begins with <html>"),
    "level 1": ('<sbml xmlns="http://www.sbml.org/sbml/level1"><model/></sbml>', "convert it to Level 3"),
    "no model": (LEVEL3 + "</sbml>", "holds no <model>"),
    "no rate": (LEVEL3 + '<model timeUnits="second"/></sbml>', "nothing moves in it"),
    "a package": (change((LEVEL3, LEVEL3[:-1] + " " + NEEDS)), "needs the SBML package 'comp'"),
    "a delay": (change(("<ci> SP </ci>", DELAY)), "has a delay"),
    "a fast reaction": (change(('fast="false"', 'fast="true"')), "is fast"),
    "an unknown name": (change(("<ci> pC </ci>", "<ci> pQ </ci>")), "uses 'pQ', which the model does not have"),
    "a name twice": (change(('id="DA"', 'id="Cs"')), "'Cs' is given twice"),
    "no formula": (change(("<listOfRules>", '<listOfRules><rateRule variable="P"/>')), "of 'P' has no mathematics"),
    "no unit of time": (change((' timeUnits="day"', "")), "write one, such as time_unit: '1 d'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_their_place(tmp_path, name):
    text, told = BAD[name]
    (problem,) = check_submodel(str(write(tmp_path, text)))
    assert told in problem.message
    assert (problem.path, problem.line) in {("sbml", 3), ("time_unit", 1)}


def test_what_only_the_library_finds_is_one_message(tmp_path, capsys):
    path = write(tmp_path, change(('value="0.005"', 'value="much"')))
    with pytest.raises(SystemExit) as end:
        main(["run", str(path), "--out", str(tmp_path / "out"), "--quiet"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "libRoadRunner does not read it" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_runaway_and_slow_models_end_with_a_message(tmp_path, monkeypatch):
    with pytest.raises(NumericalError, match="komarova2003.xml: the integration stopped"):
        solve(bone_sbml, sbml="komarova2003", parameters={"g11": 3.0}, initial={"x1": 50.0}, steady_state=False)
    with pytest.raises(NumericalError, match="no steady state was found"):
        solve(bone_sbml, sbml="komarova2003", parameters={"g11": 1.0, "g21": 0.0}, initial={"x1": 50.0, "x2": 1.0})
    monkeypatch.setattr(solving, "SECONDS", 0.01)
    with pytest.raises(NumericalError, match="was not solved within 0.01 s"):
        solve(bone_sbml, sbml="lemaire2004", every="7 d")


def test_a_model_may_not_take_all_memory(monkeypatch):
    monkeypatch.setattr(solving, "MEMORY", 2**25)
    with pytest.raises((NumericalError, InputError), match="lemaire2004.xml: "):
        solve(bone_sbml, sbml="lemaire2004", every="11 d")


def test_without_the_extra_the_remedy_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(solving, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        main(["run", "bone_sbml_lemaire", "--out", str(tmp_path / "out"), "--quiet"])
    assert end.value.code == 2
    assert 'pip install "niche-sim[sbml]"' in capsys.readouterr().err


def test_mistakes_of_keys_and_names(tmp_path):
    path = write(
        tmp_path, GOOD, parameters="{q: 1, P: 2}", initial="{pC: 2}", outputs="[zz]",
        pulses="[{start: '2 d', end: '1 d', parameters: {QQ: 1}}]",
    )  # fmt: skip
    found = {problem.path for problem in check_submodel(str(path))}
    assert found == {
        "parameters.q", "parameters.P", "initial.pC", "outputs.0", "pulses.0.parameters.QQ", "pulses.0.end"
    }  # fmt: skip
    (tmp_path / "link.xml").symlink_to(find_sbml("lemaire2004", Path()))
    for name, told in {"link.xml": "is a link", "gone.xml": "does not exist", "lemaire": "unknown model"}.items():
        with pytest.raises(InputError, match=told):
            find_sbml(name, tmp_path)
    (problem,) = check_submodel(str(write(tmp_path, GOOD, sbml="../model.xml")))
    assert problem.path == "sbml"


def test_a_file_of_ones_own_travels_with_the_result(tmp_path):
    path = write(tmp_path, GOOD)
    for source, target in ((path, "a"), (tmp_path / "a" / "resolved.yaml", "b")):
        with pytest.raises(SystemExit) as end:
            main(["run", str(source), "--out", str(tmp_path / target), "--quiet"])
        assert end.value.code == 0
    assert (tmp_path / "b" / "course.csv").read_bytes() == (tmp_path / "a" / "course.csv").read_bytes()
    assert (tmp_path / "b" / "model.xml").read_text("utf-8") == GOOD


# ---------------------------------------------------------------- a patient's bone


def assume(value, low, high):
    return {"value": value, "range": [low, high], "status": "assumed", "source": "none"}


def build(**bone):
    return build_experiment({
        "name": "t", "scene": "trabecula_small", "time": {"length": "200 d"}, "arms": {"a": {}},
        "patient": {
            "name": "pth", "activation_frequency": assume("0.3 /yr", "0.1 /yr", "0.5 /yr"),
            "bone_balance": assume(0.97, 0.9, 1.0), "rankl_factor": assume(1.0, 0.5, 2.0),
            "oestradiol": assume("367 pmol/L", "0 pmol/L", "500 pmol/L"),
            "bone_model": {"sbml": "lemaire2004", "activation": "C", "length": "200 d"} | bone,
        },
    })  # fmt: skip


PTH = [{"start": "20 d", "end": "90 d", "parameters": {"IP": 100.0}}]


def test_the_model_multiplies_activation_and_balance():
    host = build(balance="formation_per_resorption", pulses=PTH).host_patient()
    course, steady = solve(bone_sbml, sbml="lemaire2004", pulses=PTH, length="200 d", every="1 d")
    assert np.array(host.times_h) / 24 == pytest.approx(course["time_d"])
    ratio = course["C"] / steady.loc["C", "value"]
    assert ratio.max() > 1.3
    assert np.array(host.activation) * 8766 / 0.3 == pytest.approx(ratio.to_numpy(), rel=1e-6)
    balance = course["B"] / course["C"] / (course["B"][0] / course["C"][0])
    assert np.array(host.bone_balance) / 0.97 == pytest.approx(balance.to_numpy(), rel=1e-6)
    assert set(host.rankl_factor) == {1.0}


def test_at_rest_the_model_changes_nothing_whatever_its_parameters():
    host = build(parameters={"kB": 0.3}).host_patient()
    assert np.array(host.activation) * 8766 == pytest.approx(0.3, rel=1e-7)
    drifting = build(parameters={"kB": 0.3}, start="file").host_patient()
    assert np.ptp(drifting.activation) * 8766 > 0.01


def test_the_resolved_file_runs_again_and_knows_its_model(tmp_path):
    (tmp_path / "mine.xml").write_text(GOOD)
    first = build(sbml=str(tmp_path / "mine.xml"), pulses=PTH)
    resolved = first.resolved()
    assert resolved["patient"]["bone_model"]["sha256"] == hashlib.sha256(GOOD.encode()).hexdigest()
    assert build_experiment(resolved).config_hash == first.config_hash
    (tmp_path / "mine.xml").write_text(change(('value="0.7"', 'value="0.8"')))
    with pytest.raises(InputError, match="another SHA-256"):
        build_experiment(resolved)


@pytest.mark.parametrize(
    ("bone", "told"),
    [
        ({"activation": "CC"}, "bone_model.activation: no symbol"),
        ({"sbml": "gone.xml"}, "'gone.xml' does not exist"),
        ({"pulses": [{"start": "1 d", "end": "9 d", "parameters": {"IP": 1e4}}], "balance": "B"}, "possible is 0.5 to 1.2"),
        ({"parameters": {"zz": 1.0}}, "bone_model.parameters.zz: no constant parameter"),
        ({"activation": "IP"}, "'IP' becomes 0; expected above 0"),
        ({"length": 200}, "missing unit"),
        ({"colour": 1}, "unknown key"),
    ],
)  # fmt: skip
def test_mistakes_of_a_bone_model_are_told(bone, told):
    with pytest.raises(InputError) as error:
        build(**bone)
    assert told in str(error.value)


def test_a_patient_file_finds_its_model_beside_it(tmp_path):
    (tmp_path / "mine.xml").write_text(GOOD)
    leaf = "{value: %s, range: [%s, %s], status: assumed, source: none}"
    (tmp_path / "patient.yaml").write_text(
        "name: p\n"
        f"activation_frequency: {leaf % ('0.3 /yr', '0.1 /yr', '0.5 /yr')}\n"
        f"bone_balance: {leaf % (1.0, 0.9, 1.1)}\nrankl_factor: {leaf % (1.0, 0.9, 1.1)}\n"
        f"oestradiol: {leaf % ('367 pmol/L', '0 pmol/L', '500 pmol/L')}\n"
        "bone_model: {sbml: mine.xml, activation: C, length: 30 d}\n"
    )
    assert check_files([tmp_path / "patient.yaml"]) == []
