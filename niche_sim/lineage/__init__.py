"""Lineages: the life of one tumour cell or clone from its arrival to its lesion, read from the events of a run."""

from niche_sim.lineage.following import Lineage, follow, list_lesions
from niche_sim.lineage.writing import encode_lineages

__all__ = ["Lineage", "encode_lineages", "follow", "list_lesions"]
