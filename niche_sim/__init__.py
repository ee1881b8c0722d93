"""Agent-based simulation of the bone-marrow metastatic niche under bisphosphonates."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are imported when first used: the command line must start without numba and pandas.
_HOMES = {
    "Simulation": "niche_sim.api",
    "NicheModel": "niche_sim.model",
    "run_experiment": "niche_sim.simulation",
    "load_experiment": "niche_sim.config",
    "build_experiment": "niche_sim.config",
    "load_parameters": "niche_sim.config",
    "load_drug": "niche_sim.config",
    "list_available": "niche_sim.config",
    "check_files": "niche_sim.config",
    "load": "niche_sim.store",
    "verify": "niche_sim.store",
    "hash_result": "niche_sim.store",
    "load_study": "niche_sim.study.gate",
    "run_study": "niche_sim.study.running",
    "load_study_results": "niche_sim.study.results",
    "follow": "niche_sim.lineage",
    "list_lesions": "niche_sim.lineage",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'niche_sim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
