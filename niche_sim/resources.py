"""Where the shipped configuration and experiment files are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _locate(name: str) -> Path:
    # A wheel carries the folders inside the package; a checkout keeps them beside it.
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def configs_dir() -> Path:
    """Folder of the shipped parameter sets, drugs, regimens, scenes and patients."""
    return _locate("configs")


def experiments_dir() -> Path:
    """Folder of the shipped experiments."""
    return _locate("experiments")
