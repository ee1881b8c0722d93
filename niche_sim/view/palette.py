"""Colours that stay apart for colour-blind readers (after Okabe and Ito)."""

ARMS = ("#333333", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933")

CELLS = {  # label, colour, marker, size in points
    "precursor": ("osteoclast precursor", "#b7a3c7", ".", 2.5),
    "macrophage": ("macrophage", "#009E73", "s", 3.2),
    "osteoblast": ("osteoblast", "#56B4E9", "s", 3.6),
    "osteoclast": ("osteoclast", "#7b2d8b", "h", 7.5),
    "dormant": ("dormant DTC", "#E69F00", "o", 6.0),
    "cycling": ("cycling DTC", "#D62728", "o", 4.0),
}

MARROW = (0.99, 0.965, 0.94)
BONE = (0.80, 0.76, 0.68)
NEW_BONE = (0.66, 0.74, 0.66)
SINUSOID = (0.95, 0.72, 0.70)
DRUG = (0.0, 0.62, 0.95)
