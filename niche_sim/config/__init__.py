"""The gate: strict reading of experiments and of everything they name.

Each number passes here once, with its unit, range and source; inside, only floats in inside units exist.
"""

from niche_sim.config.drugs import DrugFile
from niche_sim.config.experiment import Arm, Experiment
from niche_sim.config.gate import (
    build_experiment,
    check_files,
    experiment_schema,
    load_drug,
    load_experiment,
    load_parameters,
)
from niche_sim.config.library import list_available
from niche_sim.config.patients import PatientFile
from niche_sim.config.problems import ConfigError, Problem
from niche_sim.config.schema import SWITCHES, SceneSpec

__all__ = [
    "SWITCHES",
    "Arm",
    "ConfigError",
    "DrugFile",
    "Experiment",
    "PatientFile",
    "Problem",
    "SceneSpec",
    "build_experiment",
    "check_files",
    "experiment_schema",
    "list_available",
    "load_drug",
    "load_experiment",
    "load_parameters",
]
