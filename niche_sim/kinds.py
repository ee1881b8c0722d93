"""The names that are numbers inside kernels: cells, phases, fields, events, streams, counters."""

# Cells of the table.
DTC, PRECURSOR, OSTEOCLAST, OSTEOBLAST, MACROPHAGE = 0, 1, 2, 3, 4
KIND_NAMES = ("dtc", "precursor", "osteoclast", "osteoblast", "macrophage")
DORMANT, CYCLING = 0, 1
MODE_NAMES = ("dormant", "cycling")
# Traits of a tumour cell and its daughters, bits of one number.
RESISTANT, ADAPTED, VASCULAR = 1, 2, 4
TRAIT_NAMES = {RESISTANT: "resistant", ADAPTED: "adapted", VASCULAR: "vascular"}

# Phases of a BMU; FREE marks an unused row of its table.
FREE, RECRUITING, RESORBING, REVERSAL, FORMING = 0, 1, 2, 3, 4
NO_SECTOR, VACANT, OCCUPIED, DONE = 0, 1, 2, 3
BMU_COMPLETED, BMU_ABORTED, BMU_UNUSED = 0, 1, 2
BMU_OUTCOMES = ("completed", "aborted", "no_osteoclast")
N_PHASES = 5
NEVER = -(2**31)  # the step of a phase that a BMU did not reach

# Diffusing fields.
TGF_BETA, IGF1, RANKL, OPG, PTHRP, CXCL12, FREE_DRUG = 0, 1, 2, 3, 4, 5, 6
FIELD_NAMES = ("tgf_beta", "igf1", "rankl", "opg", "pthrp", "cxcl12", "free_drug")
N_FIELDS = len(FIELD_NAMES)

# Terms of niche suitability, and the niches over which it is summed up: all marrow, at bone, beside vessels.
TERM_NAMES = ("contact", "cxcl12", "nourishment", "places", "macrophages")
NICHE_NAMES = ("marrow", "endosteal", "perivascular")
NO_TERM = -1

# Columns of the hazard table: the competing events of one cell, drawn once a tick.
(
    DIE_BASELINE, DIE_DEPRIVATION, DIE_CHEMOTHERAPY, DIE_DRUG, DIE_IMMUNE, DIE_PHAGOCYTOSIS, DIE_HYPOXIA,
    DIE_STARVATION, DIE_TGF_BETA, DIE_TUMOUR, DIE_AGE,
    WAKE_SPONTANEOUS, WAKE_FACTORS, WAKE_LINING, WAKE_SPROUTING,
    SLEEP, DIVIDE, EGRESS,
) = range(18)  # fmt: skip
N_OUTCOMES = 18
OUTCOME_NAMES = (
    "baseline", "deprivation", "chemotherapy", "drug", "immune", "phagocytosis", "hypoxia",
    "starvation", "tgf_beta", "tumour", "age",
    "spontaneous", "factors", "lining", "sprouting",
    "sleep", "divide", "egress",
)  # fmt: skip
N_DEATHS = 11
NOTHING = -1

# Rows of the event log.
(
    LOG_BIRTH, LOG_DEATH, LOG_WAKE, LOG_SLEEP, LOG_ARRIVAL, LOG_EGRESS, LOG_FUSION, LOG_BMU_START, LOG_BMU_END,
    LOG_SEED, LOG_MUTATION, LOG_SPROUT,
) = range(12)  # fmt: skip
LOG_NAMES = (
    "birth", "death", "wake", "sleep", "arrival", "egress", "fusion", "bmu_start", "bmu_end", "seed", "mutation", "sprout",
)  # fmt: skip
LOG_COLUMNS = ("step", "event", "cause", "kind", "ident", "parent", "clone", "voxel", "place", "tgf_beta", "suitability")
# What the log holds of a concentration (nmol/L) and of suitability: whole numbers of such a part.
TGF_BETA_PARTS, SUITABILITY_PARTS = 1e12, 1e6
KIND_BMU = 5

# Places of a cell: what bone it touches, plus BESIDE_VESSEL at a vessel; NO_PLACE of a BMU.
IN_MARROW, ON_LINING, ON_OPEN_BMU, ON_FORMING_BMU, BESIDE_VESSEL, NO_PLACE = 0, 1, 2, 3, 4, 8
PLACE_NAMES = (
    "marrow", "endosteal", "remodelling", "forming",
    "perivascular", "endosteal+perivascular", "remodelling+perivascular", "forming+perivascular", "",
)  # fmt: skip

# Random streams: adding one never reshuffles another.
(
    S_FATE, S_DAUGHTER_PLACE, S_DAUGHTER_RANK, S_DAUGHTER_IDENT, S_MOVE, S_MOVE_RANK, S_ARRIVAL, S_ARRIVAL_IDENT,
    S_BMU_START, S_BMU_IDENT, S_FUSION, S_LIFESPAN, S_OSTEOBLAST, S_OSTEOBLAST_IDENT, S_SEED_CELLS, S_STROMA,
    S_OSTEOCLAST_IDENT, S_PLACES, S_ADHERENCE, S_SCATTER, S_SPREAD, S_BOOTSTRAP,
    S_MUTATION, S_SPROUT,
) = range(24)  # fmt: skip

# Counters of State.tally (int64). Mineralising faces add up over ticks: faces from which mineral grew in each.
COUNTER_NAMES = (
    "dtc_births", "dtc_sleeps", "dtc_arrivals", "dtc_egress",
    "dtc_deaths_baseline", "dtc_deaths_deprivation", "dtc_deaths_chemotherapy", "dtc_deaths_drug",
    "dtc_deaths_immune", "dtc_deaths_phagocytosis", "dtc_deaths_hypoxia",
    "dtc_wakes_spontaneous", "dtc_wakes_factors", "dtc_wakes_lining", "dtc_wakes_sprouting",
    "osteoclast_fusions", "osteoclast_deaths_drug", "osteoclast_deaths_other",
    "bmu_started", "bmu_completed", "bmu_aborted", "bmu_unused", "bmu_refused",
    "mineral_removed", "mineral_formed", "mineral_start", "cells_entered", "cells_left", "cells_lost",
    "seeded", "bmu_perforated", "mineralising_faces", "dtc_mutations", "dtc_sprouts",
)  # fmt: skip
(
    N_BIRTHS, N_SLEEPS, N_ARRIVALS, N_EGRESS,
    N_DEATHS_FIRST, _1, _2, _3, _4, _5, _6,
    N_WAKES_FIRST, _7, _8, _9,
    N_FUSIONS, N_OSTEOCLAST_DRUG, N_OSTEOCLAST_OTHER,
    N_BMU_STARTED, N_BMU_COMPLETED, N_BMU_ABORTED, N_BMU_UNUSED, N_BMU_REFUSED,
    MINERAL_REMOVED, MINERAL_FORMED, MINERAL_START, CELLS_ENTERED, CELLS_LEFT, CELLS_LOST,
    N_SEEDED, N_BMU_PERFORATED, MINERALISING_FACES, N_MUTATIONS, N_SPROUTS,
) = range(34)  # fmt: skip

# Rows of State.risk: cells by mode (DORMANT, CYCLING), free places for growth, a row to work in.
GROWTH_RISK, SPARE_RISK = 2, 3

# Faults that a kernel cannot raise: it writes code, place and step, and Python raises.
FAULT_NONE, FAULT_CELLS_FULL, FAULT_LOG_FULL, FAULT_BMUS_FULL, FAULT_FIELD, FAULT_NOT_FINITE = range(6)
FAULT_TEXTS = (
    "no fault",
    "the table of cells is full",
    "the event log of one recording interval is full",
    "the table of BMUs is full",
    "a field did not reach its tolerance",
    "a field is not finite",
)

# What a laboratory and a densitometer find; NTX in bone collagen equivalents per creatinine, BMD in % of time 0.
MARKER_UNITS = {
    "ctx": "ng/mL", "ntx": "nmol/mmol", "p1np": "ug/L", "calcium": "mmol/L", "bmd_spine": "%", "bmd_trabecular": "%",
}  # fmt: skip

# Mineral is counted in whole quanta so that its ledger is exact: a voxel is full at FULL.
FULL = 1_000_000
HALF = FULL // 2

MOST_VOXELS = 64_000_000  # of a lattice
MOST_TISSUES = 3  # of a drug, beside plasma

# Rounds of hops in a tick, and hops that a cell tries in one, in mean: at 1 a walk would stay on one colour of the board.
MOST_ROUNDS = 64
MOST_HOPS = 0.5
