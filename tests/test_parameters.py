"""Parameter sets: values, groups, overrides, provenance; and the shipped human set."""

import math
import re

import pytest

from niche_sim.config import list_available, load_drug, load_parameters
from niche_sim.errors import InputError
from niche_sim.parameters import STATUSES, Parameter, ParameterSet
from niche_sim.resources import configs_dir


@pytest.fixture
def small():
    rate = Parameter(
        "dormancy.exit_rate", 1e-5, "2.4e-4 /d", (0.0, 1e-3), ("0 /d", "0.024 /d"), "derived", "willis2010", "n"
    )
    share = Parameter("death.share", 0.5, 0.5, (0.0, 1.0), (0.0, 1.0), "assumed", "none", "")
    return ParameterSet({item.name: item for item in (rate, share)}, "small")


def test_values_and_groups_are_in_inside_units(small):
    assert small.value("dormancy.exit_rate") == 1e-5
    assert small.group("death") == {"share": 0.5}
    assert small["dormancy.exit_rate"].unit == "/d"
    assert small["dormancy.exit_rate"].inside_unit == "1/h"


def test_unknown_names_are_refused_with_the_nearest(small):
    with pytest.raises(InputError, match="did you mean 'dormancy.exit_rate'"):
        small.value("dormancy.exit_rat")
    with pytest.raises(InputError, match="known: dormancy, death"):
        small.group("dormacy")


def test_override_makes_a_new_set_that_says_so(small):
    changed = small.override({"dormancy.exit_rate": "0.0024 /d", "death.share": 0.25})
    assert changed.value("dormancy.exit_rate") == 1e-4
    assert changed.value("death.share") == 0.25
    assert small.value("death.share") == 0.5
    assert changed["dormancy.exit_rate"].status == "assumed"
    assert "2.4e-4 /d" in changed["dormancy.exit_rate"].note
    assert changed["dormancy.exit_rate"].source == "none"


def test_override_with_the_same_value_keeps_its_paper(small):
    assert small.override({"dormancy.exit_rate": "1e-5 /h"}) == small


def test_override_reports_every_mistake_at_once(small):
    with pytest.raises(InputError) as caught:
        small.override({"dormancy.exit_rate": "3 /d", "death.share": "1 h", "death.shar": 1})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "outside the range 0 /d to 0.024 /d" in lines[0]
    assert "is a time; expected a plain number" in lines[1]
    assert "did you mean 'death.share'" in lines[2]


def test_a_bound_written_in_another_unit_is_the_same_bound(small):
    assert small.override({"dormancy.exit_rate": "8.766 /yr"}).value("dormancy.exit_rate") == pytest.approx(1e-3)


def test_provenance_counts_and_sources(small):
    table = small.provenance()
    assert list(table.index) == list(small)
    assert table.loc["dormancy.exit_rate", "source"] == "willis2010"
    assert small.count_by_status() == dict.fromkeys(STATUSES, 0) | {"derived": 1, "assumed": 1}
    assert small.sources() == {"willis2010": ["dormancy.exit_rate"]}


def test_human_set_covers_the_processes():
    human = load_parameters("human")
    needed = {"remodelling", "osteoclasts", "secretion", "dormancy", "death", "division", "migration", "arrival"}
    assert needed <= set(human.groups())
    assert 0 < human.value("dormancy.exit_rate") < 1e-4
    assert human.value("osteoclasts.lifespan") == 14 * 24
    assert all(item.range[0] <= item.value <= item.range[1] for item in human.values())


def _references():
    text = (configs_dir() / "references.bib").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^@\w+\{([^,\s]+),", text))


@pytest.mark.parametrize("name", list_available()["parameters"])
def test_every_source_of_a_set_is_in_the_references(name):
    assert set(load_parameters(name).sources()) - _references() == set()


def test_receptor_decides_pace_of_waking_and_growth():
    """Waking without receptor over that with it is the ratio of declines of recurrence, ln(11.5/1.3) / ln(9.9/2.9)."""
    human, positive, negative = (load_parameters(name) for name in ("human", "breast_er_positive", "breast_er_negative"))
    decline = math.log(11.5 / 1.3) / math.log(9.9 / 2.9)
    for name in ("dormancy.exit_rate", "dormancy.factor_rate", "dormancy.lining_rate", "dormancy.sprouting_rate"):
        p, n = (found.value(name) / human.value(name) for found in (positive, negative))
        assert n / p == pytest.approx(decline, rel=0.02) and p**0.75 * n**0.25 == pytest.approx(1, rel=0.01)
    for name in ("division.basal_rate", "division.maximum_rate", "death.cycling_baseline", "death.cycling_deprivation"):
        pace = [found.value(name) / human.value(name) for found in (positive, negative)]
        assert pace == pytest.approx([193 / 241, 193 / 127], rel=0.02)  # of doubling times


def test_receptor_decides_where_lesions_are_so_that_all_patients_have_the_published_share_in_bone():
    """38 % of metastases are in bone; bone alone relapses in 29.9 % of luminal and 11.4 % of other disease."""
    human, positive, negative = (load_parameters(name) for name in ("human", "breast_er_positive", "breast_er_negative"))
    bone = [1.0 / (1.0 + found.value("dissemination.outside_ratio")) for found in (human, positive, negative)]
    assert bone[0] == pytest.approx(0.38, abs=0.01) == 0.75 * bone[1] + 0.25 * bone[2]
    assert bone[1] / bone[2] == pytest.approx(29.9 / 11.4, rel=0.02)
    growing = [found.value("dissemination.growing_share") for found in (human, positive, negative)]
    assert growing[0] == pytest.approx(0.75 * growing[1] + 0.25 * growing[2])


@pytest.mark.parametrize("name", list_available()["drugs"])
def test_every_source_of_a_drug_is_in_the_references(name):
    def sources(node):
        if isinstance(node, dict):
            if "status" in node:
                yield from (key.strip() for key in node["source"].split(","))
            for inner in node.values():
                yield from sources(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from sources(inner)

    assert set(sources(load_drug(name).mapping)) - _references() - {"none"} == set()
