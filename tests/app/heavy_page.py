"""A page whose session holds much, for tests of what a closed tab leaves; it tells of sessions that end."""

import numpy as np
import solara

MB = 200


@solara.component
def Page() -> None:
    """Hold an array."""
    held = solara.use_memo(lambda: np.ones(MB << 17), [])
    solara.use_effect(lambda: lambda: print("session ended", flush=True), [])
    solara.Text(f"holds {held.nbytes >> 20} MB", classes=["holds"])
