"""Live series: which of them, one line an arm, and where the time shown is."""

import json
from collections.abc import Callable, Mapping, Sequence

import reacton.ipyvuetify as v
import solara

from niche_sim.view.app.series_option import DEFAULT, Rows, build_option, measure_height
from niche_sim.view.series import SERIES


@solara.component_vue("series.vue", vuetify=False)
def _Chart(option: str, height: int, label: str) -> None: ...


@solara.component
def SeriesView(
    frames: Mapping[str, Rows], now_h: float, *, names: Sequence[str] = DEFAULT, columns: int = 1,
    end_h: float | None = None, arms: Sequence[str] | None = None, on_names: Callable[[list[str]], None] | None = None,
) -> None:  # fmt: skip
    """Show series of arms.

    Parameters
    ----------
    frames : mapping of arm to DataFrame or list of rows
    now_h : float
        Time shown, h.
    names : sequence of str
        Which series, at first.
    columns : int
        Panels beside each other.
    end_h : float, optional
        End of the time axis, h; without, as far as there are rows.
    arms : sequence of str, optional
        All arms, so that each keeps its colour where not all are shown.
    on_names : callable of list of str, optional
        Told when others are chosen.
    """
    chosen, set_chosen = solara.use_state(list(names))

    def choose(wanted: list[str] | None) -> None:
        kept = [entry[0] for entry in SERIES if entry[0] in (wanted or [])]
        set_chosen(kept)
        if on_names is not None:
            on_names(kept)

    items = [{"text": heading, "value": name} for name, heading, _ in SERIES]
    with v.Html(tag="div", class_="niche-series"):
        v.Select(
            label="Series", items=items, v_model=chosen, on_v_model=choose, multiple=True, small_chips=True,
            deletable_chips=True, dense=True, outlined=True, hide_details=True, class_="mb-3",
        )  # fmt: skip
        if chosen and frames:
            option = build_option(frames, chosen, now_h, columns=columns, end_h=end_h, arms=arms)
            headings = ", ".join(heading for name, heading, _ in SERIES if name in chosen)
            _Chart(
                option=json.dumps(option, allow_nan=False, separators=(",", ":")),
                height=measure_height(len(chosen), columns), label=f"Courses of {headings}, by arm",
            )  # fmt: skip
        else:
            v.Html(tag="div", children=["Choose a series."], style_="padding: 12px; color: #686d73")
