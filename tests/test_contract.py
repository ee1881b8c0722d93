"""What every process owes: a text, what it touches, rates with units that the parameter set agrees with; and the ODD."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import schedule, units
from niche_sim.config import SWITCHES
from niche_sim.processes import diffusion, fates
from niche_sim.state import BMU, CELL, VOXEL, Fields, State

ROOT = Path(__file__).resolve().parent.parent
MODULES = [*schedule.PROCESSES.values(), fates]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rsplit(".", 1)[1])
def test_process_declares_itself(module):
    assert len(module.__doc__) > 60
    assert callable(module.run)
    known = set(State._fields) | {f"fields.{name}" for name in Fields._fields}
    for table, dtype in (("cells", CELL), ("voxels", VOXEL), ("bmus", BMU)):
        known |= {f"{table}.{name}" for name in dtype.names}
    for name in (*module.READS, *module.WRITES):
        assert name in known or name.startswith("host."), f"{module.__name__}: {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if hasattr(m, "UNITS")], ids=lambda m: m.__name__)
def test_units_match_the_parameter_set(module):
    assert set(module.UNITS) == set(module.Rates._fields)
    group = module.__name__.rsplit(".", 1)[1]
    human = ns.load_parameters("human")
    values = human.group(group)
    assert set(values) == set(module.Rates._fields)
    for name, unit in module.UNITS.items():
        parameter = human[f"{group}.{name}"]
        assert units.inside_unit(parameter.unit) == units.inside_unit("" if unit == "1" else unit), name
        assert np.isfinite(values[name])


def test_every_field_has_transport():
    values = ns.load_parameters("human").group("fields")
    assert len(values) == 2 * 7 + 2
    assert len(diffusion.Rates._fields) == 4


def test_switches_of_the_gate_are_those_of_the_engine():
    assert set(SWITCHES) == set(schedule.Switches._fields)


def test_odd_lists_the_schedule_verbatim():
    source = inspect.getsource(schedule)
    body = source[source.index("def step("):source.index("@kernel\ndef advance")].rstrip()
    assert body in (ROOT / "ODD.md").read_text()


def test_sources_of_parameters_are_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "configs" / "references.bib").read_text(), re.M))
    frame = ns.load_parameters("human").provenance()
    used = set(frame["source"]) - {"none", "", None}
    assert used <= keys
    assert len(used) > 5
