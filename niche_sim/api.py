"""What a scientist types: one niche, one regimen, one line to run it."""

from typing import Any

from niche_sim.config import build_experiment
from niche_sim.parameters import ParameterSet
from niche_sim.simulation import Run, run_experiment


class Simulation:
    """One arm of one niche.

    Parameters
    ----------
    parameters : ParameterSet or str
        A parameter set, as `load_parameters` returns it, or its name.
    scene : str or dict
        Name of a scene, path of a scene file, or the mapping itself.
    regimen : str or list of dict, optional
        Name of a regimen or its courses; no drug without.
    patient : str or dict
        Endocrine state.
    seed : int
    tick, spin_up : str
        With units.
    dormant_dtc, cycling_dtc : int
        Tumour cells at time 0.
    switches : dict of str to bool, optional
        Processes and effects that differ from on.

    Examples
    --------
    >>> run = Simulation("human", scene="trabecula_small", dormant_dtc=4).run("30 d")  # doctest: +SKIP
    """

    def __init__(
        self, parameters: ParameterSet | str = "human", *, scene: str | dict = "trabecula_postmenopausal",
        regimen: str | list | None = None, patient: str | dict = "postmenopausal", seed: int = 0, tick: str = "6 h",
        spin_up: str = "1 yr", dormant_dtc: int = 48, cycling_dtc: int = 0, switches: dict[str, bool] | None = None,
    ):  # fmt: skip
        written = parameters.plain() if isinstance(parameters, ParameterSet) else parameters
        self._mapping: dict[str, Any] = {
            "name": "simulation", "seed": seed, "parameters": written, "scene": scene, "patient": patient,
            "population": {"dormant_dtc": dormant_dtc, "cycling_dtc": cycling_dtc},
            "arms": {"simulation": {"regimen": regimen} if regimen else {}},
            "switches": switches or {}, "time": {"tick": tick, "spin_up": spin_up},
        }  # fmt: skip

    def run(self, length: str, *, threads: int = 1) -> Run:
        """Run for `length`, a time with its unit such as "5 yr".

        Returns
        -------
        Run
            `run.series` is a data frame; `run.arms` holds the events, cells, fields and maps.

        Raises
        ------
        InputError
            Something that was given is not valid; the message names it.
        """
        mapping = self._mapping | {"time": self._mapping["time"] | {"length": length}}
        return run_experiment(build_experiment(mapping), threads=threads)
