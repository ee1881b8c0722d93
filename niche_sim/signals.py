"""What processes share: how a concentration or a load becomes a response, and the ticks that begin a day."""

from niche_sim.kernel import kernel

DAY_H = 24.0


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


@kernel
def ticks_per_day(hours):
    """Return the ticks of `hours` that make a day: the nearest whole number, at least 1."""
    return max(int(round(DAY_H / hours)), 1)


@kernel
def begins_day(step, hours):
    """Tell whether tick `step` of `hours` begins a day: sources set once a day leave their fields alone in between."""
    return step % ticks_per_day(hours) == 0
