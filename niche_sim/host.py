"""The patient around the niche: what her body does to it in each tick, from endocrine state and drugs.

Inside units: h, nmol/L, fmol/um2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from niche_sim.drugs import ENDOCRINE, Array, BoneLaws, CellLaws, Drug, read_bone_laws, read_cell_laws
from niche_sim.errors import InputError
from niche_sim.kinds import MOST_TISSUES
from niche_sim.pharmacokinetics import CENTRAL, Trajectory, follow, generator, mean_response, sum_over_ticks
from niche_sim.regimens import Dose, list_doses

FMOL_PER_NMOL = 1e6
_GAMMA_DELTA_STEP_H = 1.0  # longest step of the gamma-delta activity, whatever the tick


@dataclass(frozen=True)
class Patient:
    """Endocrine state over time: piecewise linear between `times_h`, constant outside them.

    `activation` is the activation frequency (1/h) and `bone_balance` the refilled share of a cavity while oestradiol
    is replete; `rankl_factor` multiplies RANKL secretion for other causes; `oestradiol` is in nmol/L, None where it
    stays replete. All tuples have one entry per time.
    """

    activation: tuple[float, ...]
    bone_balance: tuple[float, ...] = (1.0,)
    rankl_factor: tuple[float, ...] = (1.0,)
    oestradiol: tuple[float, ...] | None = None
    times_h: tuple[float, ...] = (0.0,)


class Endocrine(NamedTuple):
    """What lack of oestradiol does to bone; the group `endocrine` of a parameter set.

    With the lack w, 0 at `replete` and 1 without any oestradiol (`lack_of_oestradiol`), RANKL secretion is multiplied by
    1 + rankl_gain w, OPG secretion by 1 - opg_loss w, bone balance by 1 - balance_loss w.
    """

    replete: float = 0.367  # nmol/L
    half: float = 0.044  # nmol/L
    rankl_gain: float = 0.0
    opg_loss: float = 0.0
    balance_loss: float = 0.0
    extragonadal: float = 0.0  # nmol/L of oestradiol that is not from the ovary


def read_endocrine(parameters: Any) -> Endocrine:
    """Return the group `endocrine` of a parameter set."""
    group = parameters.group("endocrine")
    return Endocrine(**{name: float(group[name]) for name in Endocrine._fields})


def find_highest_activation(patient: Patient, endocrine: Endocrine) -> float:
    """Return the highest activation frequency (1/h) that patient and lack of oestradiol can come to."""
    # Free RANKL rises by at most what OPG held back, less than half of it at the surface of a resting bone.
    more = (1.0 + endocrine.rankl_gain) / (1.0 - endocrine.opg_loss / 2.0)
    return max(patient.activation) * max(patient.rankl_factor) * more


class Body(NamedTuple):
    """What the body of every patient shares.

    Response to oestradiol, bone surface that takes drug up (um2), rate at which gamma-delta T cells wake at saturation
    (1/h), the mean time for which they stay awake (h), and the share of the effect of endocrine therapy that her tumour
    cells respond with (`receptor`).
    """

    endocrine: Endocrine = Endocrine()
    surface_area: float = BoneLaws().surface_area
    gamma_delta_rate: float = CellLaws().gamma_delta_rate
    gamma_delta_decay_time: float = CellLaws().gamma_delta_decay_time
    receptor: float = 0.0


AVERAGE_BODY = Body()


def read_body(parameters: Any) -> Body:
    """Return the body that a parameter set describes."""
    cells = read_cell_laws(parameters)
    area, receptor = read_bone_laws(parameters).surface_area, float(parameters.value("hormone.receptor"))
    return Body(read_endocrine(parameters), area, cells.gamma_delta_rate, cells.gamma_delta_decay_time, receptor)


def lack_of_oestradiol(oestradiol: Array, endocrine: Endocrine) -> Array:
    """Return the lack of oestradiol, 0 when replete to 1 when there is none.

    Binding of oestradiol E to its receptor is E / (E + half); the lack is the binding lost of that at `replete`.
    """
    e = np.minimum(oestradiol, endocrine.replete)
    full = endocrine.replete / (endocrine.replete + endocrine.half)
    return np.asarray(1.0 - e / (e + endocrine.half) / full)


class Forcing(NamedTuple):
    """What the host does to the niche in each tick (first axis: ticks; float64, C-contiguous)."""

    uptake: Array  # (n_steps, n_drugs) fmol per um2 of bone surface deposited in the tick by doses
    plasma: Array  # (n_steps, n_drugs) mean free plasma concentration, nmol/L
    gamma_delta: Array  # (n_steps,) mean activity of gamma-delta T cells, 0-1
    rankl_block: Array  # (n_steps,) mean share of RANKL neutralised, 0-1
    chemotherapy: Array  # (n_steps,) mean kill hazard on fully exposed cycling cells, 1/h
    activation: Array  # (n_steps,) activation frequency, 1/h
    bone_balance: Array  # (n_steps,)
    rankl_factor: Array  # (n_steps,)
    opg_factor: Array  # (n_steps,)
    hormone_growth: Array  # (n_steps,) share of division that endocrine therapy leaves to the tumour cells of the patient
    hormone_waking: Array  # (n_steps,) share of waking that it leaves
    phagocytes: Array  # (n_steps,) mean kill hazard of macrophages by liposomes, 1/h
    osteoclast_lineage: Array  # (n_steps,) the same of osteoclasts and their precursors, 1/h
    circulation: Array  # (n_steps, but at least 2; n_drugs, MOST_TISSUES + 3, MOST_TISSUES + 1), the same in every tick


class _GammaDelta:
    """Activity A of gamma-delta T cells: dA/dt = r sum_i H(C_i) (1 - A) - A / decay_time, A(0) = 0, i the drugs.

    Solved exactly for the mean drive of steps that divide a tick.
    """

    def __init__(self, ticks: Array, body: Body) -> None:
        self.parts = max(1, int(np.ceil((ticks[1] - ticks[0]) / _GAMMA_DELTA_STEP_H - 1e-9)))
        share = np.arange(self.parts) / self.parts
        inner = ticks[:-1, None] + np.diff(ticks)[:, None] * share
        self.edges: Array = np.append(inner.ravel(), ticks[-1])
        self.drive: Array = np.zeros(self.edges.size - 1)
        self.rate, self.decay_time = body.gamma_delta_rate, body.gamma_delta_decay_time

    def add(self, drug: Drug, course: Trajectory) -> None:
        """Let one drug, followed over `edges`, drive the activity."""
        self.drive += self.rate * mean_response(drug, course, self.edges, drug.gamma_delta_ec50)

    def means(self) -> Array:
        """Return the mean activity of each tick, 0-1."""
        mean = np.zeros(self.drive.size)
        if self.drive.any():
            step = self.edges[1] - self.edges[0]
            rate = self.drive + 1.0 / self.decay_time
            goal, fade = self.drive / rate, np.exp(-rate * step)
            lag = (1.0 - fade) / (rate * step)
            activity = 0.0
            for i in range(mean.size):
                mean[i] = goal[i] + (activity - goal[i]) * lag[i]
                activity = goal[i] + (activity - goal[i]) * fade[i]
        return mean.reshape(-1, self.parts).mean(axis=1)


def build_circulation(drugs: Mapping[str, Drug], tick_h: float) -> Array:
    """Return what one tick does to drug that came back from bone to blood, (n_drugs, MOST_TISSUES + 3, MOST_TISSUES + 1).

    Columns are plasma and tissues at the start of the tick; rows are plasma and tissues at its end, what bone took up
    in it, what was excreted. Exact: a block of the matrix exponential of the drug's compartments.
    """
    from scipy.linalg import expm

    tables = np.zeros((max(1, len(drugs)), MOST_TISSUES + 3, MOST_TISSUES + 1))
    for table, drug in zip(tables, drugs.values()):
        if drug.has_kinetics:
            moving = np.arange(CENTRAL, CENTRAL + 1 + len(drug.peripheral))
            gained = np.arange(3 + len(drug.peripheral), 5 + len(drug.peripheral))  # skeleton, excreted
            step = expm(generator(drug) * tick_h)
            table[: moving.size, : moving.size] = step[np.ix_(moving, moving)]
            table[-2:, : moving.size] = step[np.ix_(gained, moving)]
    return tables


def _kill_hazard(decades: float, reference_mg: float, exposure_h: float, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick means of the hazard that removes `decades` a reference dose within the exposure of each dose, linear in dose."""
    integral = np.zeros(edges.size)
    for dose in doses:
        hazard = decades * dose.dose_mg / reference_mg * np.log(10.0) / exposure_h
        integral += hazard * np.clip(edges - dose.time_h, 0.0, exposure_h)
    return np.diff(integral) / np.diff(edges)


def _turnover_gain(drug: Drug, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick values of the added share of activation: `turnover_gain`, fading since the last course."""
    times = np.array(sorted(dose.time_h for dose in doses if dose.dose_mg > 0))
    middle = (edges[:-1] + edges[1:]) / 2.0
    last = np.searchsorted(times, middle, side="right") - 1
    since = middle - times[np.maximum(last, 0)] if times.size else np.full(middle.size, np.inf)
    fading = np.exp(-np.maximum(since, 0.0) / drug.turnover_decay_time)
    return np.where(last >= 0, drug.turnover_gain * fading, 0.0)


def _cover(doses: Sequence[Dose], edges: Array, most: float, duration: float, onset: float, recovery: float) -> Array:
    """Tick values of an effect that rises to `most` while a dose lasts, then returns.

    dS/dt = (most - S) / onset under cover of a dose, -S / recovery else; solved exactly tick by tick, the cover of a tick
    being that of its middle.
    """
    share = np.zeros(edges.size - 1)
    times = np.array(sorted(dose.time_h for dose in doses if dose.dose_mg > 0))
    if most <= 0.0 or not times.size:
        return share
    middle = (edges[:-1] + edges[1:]) / 2.0
    last = np.searchsorted(times, middle, side="right") - 1
    covered = (last >= 0) & (middle < times[np.maximum(last, 0)] + duration)
    step, now = edges[1] - edges[0], 0.0
    rise, fall = np.exp(-step / onset), np.exp(-step / recovery)
    for i in range(share.size):
        now = most + (now - most) * rise if covered[i] else now * fall
        share[i] = now
    return share


class _Hormones:
    """Oestradiol of the patient as bone feels it, and what endocrine therapy leaves of growth and waking, tick by tick."""

    def __init__(self, edges: Array) -> None:
        self.edges = edges
        self.ovary, self.elsewhere, self.growth, self.waking = np.ones((4, edges.size - 1))
        self.modulators: list[tuple[Array, float]] = []

    def add(self, drug: Drug, doses: Sequence[Dose]) -> None:
        """Let a drug act: on the ovary, and if it is an endocrine therapy on aromatase, bone and tumour cells."""
        lasts = drug.ovary_duration, drug.ovary_onset, drug.ovary_recovery
        self.ovary *= 1.0 - _cover(doses, self.edges, drug.ovary_suppression, *lasts)
        if drug.drug_class in ENDOCRINE:
            share = _cover(doses, self.edges, 1.0, drug.hormone_duration, drug.hormone_onset, drug.hormone_recovery)
            self.growth *= 1.0 - (1.0 - drug.hormone_growth) * share
            self.waking *= 1.0 - (1.0 - drug.hormone_waking) * share
            self.elsewhere *= 1.0 - drug.hormone_aromatase * share
            self.modulators.append((drug.hormone_bone_share * share, drug.hormone_bone_oestradiol))

    def left(self, oestradiol: Array, extragonadal: float) -> Array:
        """Return what bone feels of oestradiol E: E - ovarian part lost - part from elsewhere lost, then by modulators.

        A modulator that holds the share s of receptors is felt as the oestradiol A: E + s (A - E). So one and the same
        drug spares bone where E is below A and costs bone where it is above.
        """
        ovarian = np.maximum(oestradiol - extragonadal, 0.0)
        felt = oestradiol - ovarian * (1.0 - self.ovary) - (oestradiol - ovarian) * (1.0 - self.elsewhere)
        for share, agonist in self.modulators:
            felt = felt + share * (agonist - felt)
        return np.asarray(felt)


def _remember_block(bound: Array, ticks: float) -> Array:
    """Return the share of precursors and recycled osteoclasts held back by a block, at the middle of each tick.

    dm/dt = (bound - m) / memory, `ticks` being tick / memory: they gather under the block, and while it lifts they make
    more BMUs than before (McDonald et al. 2021, Cell 184:1330).
    """
    held, now, share = np.zeros(bound.size), 0.0, -np.expm1(-ticks)
    for i in range(bound.size):
        held[i] = now + 0.5 * share * (bound[i] - now)
        now += share * (bound[i] - now)
    return held


def build_forcing(
    regimen: Iterable[Any],
    drugs: Mapping[str, Drug],
    patient: Any,
    n_steps: int,
    tick_h: float,
    start_h: float = 0.0,
    body: Body = AVERAGE_BODY,
) -> Forcing:
    """What reaches the niche in each tick of a run.

    Parameters
    ----------
    regimen : iterable of Course
    drugs : mapping of name to Drug
        Its order is the order of the drug columns; without drugs there is one empty column.
    patient : Patient
    n_steps : int
    tick_h : float, h
    start_h : float, h
        Time of the first tick's start on the clock of the courses and the patient; doses given before it
        are followed up to it (a spin-up starts at a negative time).
    body : Body
        By default lack of oestradiol does nothing.

    Returns
    -------
    Forcing

    Raises
    ------
    InputError
        A course, the tick or the number of steps is not valid.
    """
    if n_steps < 1 or not tick_h > 0:
        raise InputError(f"forcing: needs at least one tick of positive length, not {n_steps} of {tick_h} h")
    edges = start_h + tick_h * np.arange(n_steps + 1)
    doses = list_doses(regimen, drugs, float(edges[-1]))
    uptake, plasma = np.zeros((2, n_steps, max(1, len(drugs))))
    unblocked, gamma_delta = np.ones(n_steps), _GammaDelta(edges, body)
    phagocytes, lineage = np.zeros((2, n_steps))
    hazard, gain, rebound, hormones = np.zeros(n_steps), np.zeros(n_steps), np.zeros(n_steps), _Hormones(edges)
    for column, (name, drug) in enumerate(drugs.items()):
        mine = [dose for dose in doses if dose.drug == name]
        if not mine:
            continue
        if not drug.has_kinetics:
            hazard += _kill_hazard(drug.log10_kill, drug.reference_dose_mg, drug.exposure_h, mine, edges)
            swallowed = _kill_hazard(
                drug.phagocyte_log10_kill, drug.phagocyte_reference_dose_mg, drug.phagocyte_exposure_h, mine, edges
            )
            phagocytes += swallowed
            lineage += drug.phagocyte_osteoclast_share * swallowed
            gain = np.maximum(gain, _turnover_gain(drug, mine, edges))
            hormones.add(drug, mine)
            continue
        wakes = body.gamma_delta_rate > 0 and np.isfinite(drug.gamma_delta_ec50)
        course = follow(drug, mine, gamma_delta.edges if wakes else edges)
        uptake[:, column] = sum_over_ticks(course, edges, "skeleton") * FMOL_PER_NMOL / body.surface_area
        plasma[:, column] = drug.free_fraction * sum_over_ticks(course, edges, "exposure") / tick_h
        if np.isfinite(drug.rankl_half_concentration):
            bound = mean_response(drug, course, edges, drug.rankl_half_concentration)
            unblocked *= 1.0 - bound
            rebound += drug.rankl_rebound_gain * _remember_block(bound, tick_h / drug.rankl_rebound_memory) * (1.0 - bound)
        if wakes:
            gamma_delta.add(drug, course)
    middle = (edges[:-1] + edges[1:]) / 2.0
    endocrine = body.endocrine
    curves = _follow(patient, middle, endocrine)
    # Two rows at least: one alone counts as contiguous, which to the compiler is another type, and so another engine.
    shape = (max(n_steps, 2), *uptake.shape[1:], MOST_TISSUES + 3, MOST_TISSUES + 1)
    lack = lack_of_oestradiol(hormones.left(curves["oestradiol"], endocrine.extragonadal), endocrine)
    return Forcing(
        uptake, plasma, gamma_delta.means(), 1.0 - unblocked, hazard, curves["activation"] * (1.0 + gain) * (1.0 + rebound),
        curves["bone_balance"] * (1.0 - endocrine.balance_loss * lack),
        curves["rankl_factor"] * (1.0 + endocrine.rankl_gain * lack), 1.0 - endocrine.opg_loss * lack,
        1.0 - body.receptor * (1.0 - hormones.growth), 1.0 - body.receptor * (1.0 - hormones.waking),
        phagocytes, lineage,
        np.broadcast_to(build_circulation(drugs, tick_h), shape),
    )  # fmt: skip


def _follow(patient: Any, times_h: Array, endocrine: Endocrine) -> dict[str, Array]:
    """Return the curves of a patient at the asked times; oestradiol is replete where nothing is said."""
    curves = {}
    for name in ("activation", "bone_balance", "rankl_factor", "oestradiol"):
        given = getattr(patient, name)
        values = np.atleast_1d(np.asarray(endocrine.replete if given is None else given, dtype=np.float64))
        knots = np.atleast_1d(np.asarray(patient.times_h, dtype=np.float64))
        if values.size not in (1, knots.size) or np.any(np.diff(knots) <= 0) or not np.all(values >= 0):
            raise InputError(f"patient: {name} needs a value >= 0 for each of {knots.size} rising times")
        curves[name] = np.interp(times_h, knots, np.broadcast_to(values, knots.shape))
    return curves
