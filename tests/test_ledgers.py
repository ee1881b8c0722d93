"""The ledgers of a whole run: the entries of an item add up to nothing at every recorded time."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.kinds import FIELD_NAMES

EXACT = {"mineral": 0.0, "cells": 0.0, "drug": 1e-9, "field": 1e-6}


@pytest.fixture(scope="module")
def arms():
    mapping = {
        "name": "books", "seed": 11, "scene": "trabecula_small", "patient": "postmenopausal",
        "time": {"length": "60 d", "tick": "6 h", "spin_up": "200 d"},
        "population": {"dormant_dtc": 6, "cycling_dtc": 20},
        "arms": {"control": {}, "drug": {"regimen": "zoledronate_q4w"}},
        "record": {"series": "20 d", "ledgers": "10 d"},
    }  # fmt: skip
    return ns.run_experiment(ns.build_experiment(mapping)).arms


@pytest.mark.parametrize("arm", ["control", "drug"])
def test_every_ledger_closes_at_every_time(arms, arm):
    books = arms[arm].ledgers
    assert sorted(books["time_h"].unique()) == [240.0 * k for k in range(7)]
    assert set(books["item"]) == {*FIELD_NAMES, "zoledronate", "bone", "dtc", "bmu"}
    for (_, ledger, item), part in books.groupby(["step", "ledger", "item"]):
        turnover = part["amount"].abs().sum()
        assert abs(part["amount"].sum()) <= EXACT[ledger] * turnover, (item, part)


def test_what_must_have_moved_has_moved(arms):
    last = arms["drug"].ledgers.query("step == step.max()").set_index(["item", "entry"])["amount"]
    for item, entry in (
        ("tgf_beta", "released"), ("rankl", "secreted"), ("free_drug", "taken_up"), ("zoledronate", "buried"),
        ("zoledronate", "dosed"), ("zoledronate", "plasma"), ("zoledronate", "tissues"), ("zoledronate", "excreted"),
        ("zoledronate", "on_resting_surface"), ("zoledronate", "on_eroding_surface"), ("zoledronate", "swallowed"),
        ("zoledronate", "on_forming_surface"),
        ("bone", "formed"), ("dtc", "born"), ("dtc", "died"), ("bmu", "started"),
    ):  # fmt: skip
        assert abs(last[item, entry]) > 0, (item, entry)
    control = arms["control"].ledgers
    assert not control.loc[control["ledger"] == "drug", "amount"].any()


def test_ledgers_agree_with_the_series(arms):
    for arm in arms.values():
        living = arm.ledgers.query("item == 'dtc' and entry == 'living'").set_index("step")["amount"]
        for row in arm.series.itertuples():
            assert -living[row.step] == row.dormant + row.cycling
        assert np.isfinite(arm.ledgers["amount"]).all()
