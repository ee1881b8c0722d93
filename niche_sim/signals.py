"""How a concentration or a load becomes a response: the saturating laws that processes share."""

from niche_sim.kernel import kernel


@kernel
def saturate(amount, half):
    """Return amount / (amount + half): fractional occupancy, 0 to 1."""
    return amount / (amount + half)


@kernel
def hill(amount, half, exponent):
    """Return amount^n / (amount^n + half^n), 0 to 1."""
    if amount <= 0.0:
        return 0.0
    ratio = (amount / half) ** exponent
    return ratio / (1.0 + ratio)


@kernel
def free_rankl(rankl, opg, opg_half, blocked):
    """Return RANKL left free by OPG and by an antibody, nmol/L.

    Competitive binding at equilibrium, rankl (1 - blocked) / (1 + opg / opg_half); Lemaire et al. 2004
    (doi:10.1016/j.jtbi.2004.03.023) give a dissociation constant of 1000 pmol/L for RANKL and OPG.
    """
    return rankl * (1.0 - blocked) / (1.0 + opg / opg_half)
