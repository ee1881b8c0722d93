"""Units: exact conversion, and refusal of everything that is not a quantity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from niche_sim.errors import InputError
from niche_sim.units import UNIT_NAMES, convert, inside_unit, split, write


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("6 h", "h", 6.0),
        ("1 d", "h", 24.0),
        ("15 min", "h", 0.25),
        ("2 weeks", "h", 336.0),
        ("1 month", "h", 730.5),
        ("6 months", "h", 4383.0),
        ("2 yr", "h", 17532.0),
        ("13 um2/s", "um**2/h", 46800.0),
        ("13 um**2/s", "um^2/h", 46800.0),
        ("0.24 /d", "1/h", 0.01),
        ("0.24 1/d", "1/h", 0.01),
        ("24/d", "1/h", 1.0),
        ("29 pmol/L", "nmol/L", 0.029),
        ("29 pM", "nmol/L", 0.029),
        ("1 umol/L", "nmol/L", 1000.0),
        ("1 fmol/um**3", "nmol/L", 1e9),
        ("8.5 m2", "um^2", 8.5e12),
        ("69 mL/min", "L/h", 4.14),
        ("4 mg", "mg", 4.0),
        ("1.6 g", "mg", 1600.0),
        ("1 pmol", "fmol", 1000.0),
        ("272.09 g/mol", "g/mol", 272.09),
        ("3 \u00b5m", "um", 3.0),
        ("30 %", "", 0.3),
        ("30 percent", "", 0.3),
        ("5 cells", "", 5.0),
        ("0.3", "", 0.3),
        (0.3, "", 0.3),
        (3, "", 3.0),
        ("-1 h", "h", -1.0),
        (" .5e1 um ", "um", 5.0),
    ],
)
def test_converts_to_inside_units(text, unit, expected):
    assert convert(text, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (6, "h", "missing unit"),
        ("6", "h", "missing unit"),
        ("28 mg", "h", "is a mass; expected a time"),
        ("3 um", "", "is a length; expected a plain number"),
        ("4 kgg", "mg", "did you mean 'kg'"),
        ("nan h", "h", "not a number"),
        ("inf h", "h", "not a number"),
        ("1e999 h", "h", "not finite"),
        (math.inf, "", "not finite"),
        (math.nan, "", "not finite"),
        pytest.param(10**5000, "", "not finite", id="huge"),
        (True, "", "expected a plain number"),
        (None, "h", "expected a time"),
        ([], "h", "expected a time"),
        ("", "h", "not a number"),
        ("h 6", "h", "not a number"),
        ("6 h h", "h", "expected a time"),
        ("6 h**99", "h", "not a unit"),
        ("6 (h)", "h", "not a unit"),
        ("6 /", "1/h", "ends too early"),
        ("6 __import__('os')", "h", "not a unit"),
        ("6 " + "h" * 100, "h", "not a number"),
        ("1_000 h", "h", "not a unit"),
        ("6 mM", "um", "is a concentration"),
    ],
)
def test_refuses_with_a_reason(value, unit, said):
    with pytest.raises(InputError, match="(?s)") as caught:
        convert(value, unit)
    assert said in str(caught.value)


@pytest.mark.parametrize("unit", ["h", "1/h", "um", "um**2/h", "nmol/L", "fmol/um**2/h", "g/mol", "L/h", "mg"])
@given(value=st.floats(1e-200, 1e200))
def test_written_value_reads_back_to_the_same_bits(unit, value):
    assert convert(write(value, unit), unit) == value


@given(st.text(max_size=90))
def test_any_text_converts_or_is_refused(text):
    try:
        assert math.isfinite(convert(text, "h"))
    except InputError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    ("unit", "inside"),
    [("pmol/L", "nmol/L"), ("/yr", "1/h"), ("mm", "um"), ("mL", "L"), ("um**3", "L"), ("percent", ""), ("cell", "")],
)
def test_inside_unit_follows_the_dimension(unit, inside):
    assert inside_unit(unit) == inside


def test_unit_of_no_quantity_of_the_model_is_refused():
    with pytest.raises(InputError, match="nothing here is measured in"):
        inside_unit("kg*h")


def test_prefixes_differ_by_case_only_where_they_are_units():
    assert {"mm", "mM", "M", "m", "month", "min", "mg"} <= set(UNIT_NAMES)
    assert split("1.6e-4 /d")[1] == "/d"


def test_what_is_no_number_is_answered_with_an_example_of_what_is_wanted():
    with pytest.raises(InputError, match=r"'' is not a number with a unit; write e\.g\. '[0-9.]+ mg'"):
        convert("", "mg")
