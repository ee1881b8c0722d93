"""Run every process on saved niches in plain Python, tick by tick; print what each touches and what each changes.

`NUMBA_DISABLE_JIT=1 python probe.py EXPERIMENT TICKS STATE...`: each STATE is a checkpoint of a niche, EXPERIMENT a YAML
file; rates and doses are those of its last arm.
"""

import inspect
import json
import sys
from pathlib import Path

import numpy as np

from niche_sim import simulation as sim
from niche_sim.config import load_experiment
from niche_sim.host import build_forcing
from niche_sim.processes import fates
from niche_sim.schedule import PROCESSES, Tick
from niche_sim.schedule import step as schedule_step
from niche_sim.state import flatten, rebuild
from niche_sim.store.checkpoints import decode

TABLES = ("cells", "voxels", "bmus", "fields")


class Watch:
    """A tuple or table of arrays that notes which of them are asked for."""

    def __init__(self, thing, seen, name=""):
        self.__dict__.update(thing=thing, seen=seen, name=name)

    def __getattr__(self, key):
        part = getattr(self.thing, key)
        name = f"{self.name}.{key}" if self.name else key
        if name in TABLES:
            return Watch(part, self.seen, name)
        self.seen.add(name)
        return part

    def __len__(self):
        return len(self.thing)

    def __getitem__(self, row):  # a whole row: every column of the table
        self.seen.add(self.name)
        return self.thing[row]

    def __setitem__(self, row, value):
        self.seen.add(self.name)
        self.thing[row] = value


def find_changes(before, after):
    """Return the names of the arrays that differ in any bit."""
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def copy(state):
    return {name: array.copy() for name, array in flatten(state).items()}


def list_order():
    """Return the processes in the order in which the schedule calls them."""
    source = inspect.getsource(schedule_step)
    every = PROCESSES | {"fates": fates}
    return sorted(every.items(), key=lambda item: source.index(f" {item[0]}.run("))


def main(file, ticks, paths):
    plan = sim.make_plan(load_experiment(file))
    name = list(plan.experiment.arms)[-1]
    rates = sim.build_rates(plan.experiment.parameters, plan.drugs, plan.experiment.switches)
    forcing = build_forcing(plan.experiment.arms[name].regimen, plan.drugs, plan.patient, plan.steps, plan.hours)
    found = {name: {"touches": set(), "changes": set()} for name, _ in list_order()}
    for path in paths:
        arrays, header = decode(Path(path).read_bytes())
        state = rebuild(arrays)
        for step in range(header["step"], header["step"] + ticks):
            host, tick = sim.host_at(forcing, step), Tick(step, plan.hours, plan.key)
            fates.clear_hazards(state)
            for process, module in list_order():
                before = copy(state)
                module.run(Watch(state, found[process]["touches"]), rates, plan.world, host, tick)
                found[process]["changes"] |= find_changes(before, copy(state))
            assert state.fault[0] == 0
            state.log_count[0] = 0
    print(json.dumps({name: {key: sorted(names) for key, names in part.items()} for name, part in found.items()}))


if __name__ == "__main__":
    np.seterr(over="ignore")  # whole-number hashes wrap, as they do compiled
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
