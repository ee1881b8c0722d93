"""The page that `niche-sim view` serves."""

import solara

from niche_sim.view.app import target


@solara.component
def Page() -> None:
    """Show the target."""
    shown = solara.use_memo(target.get, [])
    solara.Title(f"{shown.name} - niche_sim")
    solara.Text(shown.name, classes=["niche-target"])
