"""Models that others wrote in SBML (Levels 2 and 3): read as text of a stranger, solved in a process of their own.

Refused before any library sees them: more than 2 MB, document types and entities, nesting beyond 100, packages that change
the mathematics, delays, algebraic rules, fast reactions. Notes, annotations and packages that may be ignored are taken out,
so nothing is read but the text itself. A parameter or starting value that is replaced is written into the text, so that
initial assignments which depend on it follow. `worker.py` integrates with libRoadRunner (Somogyi et al. 2015,
Bioinformatics 31:3315; CVODE, relative tolerance 1e-10) within 60 s and 4 GB.
"""

from niche_sim.sbml.reading import Model, State, find_sbml, list_shipped, read_sbml
from niche_sim.sbml.solving import Answer, Pulse, Question, solve

__all__ = ["Answer", "Model", "Pulse", "Question", "State", "find_sbml", "list_shipped", "read_sbml", "solve"]
