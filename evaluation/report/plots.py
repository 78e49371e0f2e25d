"""The plots of a comparison, drawn by matplotlib as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from evaluation.results import Estimate, Evaluation
from evaluation.tasks import CURVE
from evaluation.verdict import PRIMARY

# The colours of Okabe and Ito, which colour-blind readers can distinguish; each model also has its own marker.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw_plots(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """SVG elements by title, without plots that lack data."""
    drawn = {
        "Recall of exact pairs": _recall_curves,
        "P@10 by finding, image to image": _by_finding,
        "Speed and accuracy": _latency,
        "Cosines of related and unrelated pairs": _distributions,
    }
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cxr", "font.size": 9}):
        figures = {title: draw(evaluations) for title, draw in drawn.items()}
        return {title: _svg(figure, title) for title, figure in figures.items() if figure is not None}


def _recall_curves(evaluations: Sequence[Evaluation]) -> Figure | None:
    directions = {"image_to_report_strict": "image to report", "report_to_image_strict": "report to image"}
    if not any(each.row(task) for each in evaluations for task in directions):
        return None
    figure = _figure(8.4, 3.4)
    for axes, (task, title) in zip(figure.subplots(1, 2, sharey=True), directions.items(), strict=True):
        chance: list[float] = []
        for number, each in enumerate(evaluations):
            found = [each.estimate(task, f"R@{k}") for k in CURVE]
            known = [(k, one) for k, one in zip(CURVE, found, strict=True) if one and one.value is not None]
            if not known:
                continue
            ks = [k for k, _ in known]
            axes.plot(ks, [one.value for _, one in known], **_style(number), label=each.model)
            axes.fill_between(
                ks, [one.low for _, one in known], [one.high for _, one in known], color=_colour(number), alpha=0.18
            )
            chance = [one.chance or 0.0 for _, one in known]
        if chance:
            axes.plot(CURVE[: len(chance)], chance, color="black", linestyle=":", label="chance")
        axes.set(xscale="log", xlabel="K", title=f"{title}, strict", ylim=(0, 1))
        axes.set_xticks(CURVE, [str(k) for k in CURVE])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("R@K with 95 % interval")
    figure.axes[0].legend()
    return figure


def _by_finding(evaluations: Sequence[Evaluation]) -> Figure | None:
    first = evaluations[0].row("image_to_image")
    if first is None or not first.by_finding:
        return None
    names = list(first.by_finding)
    figure = _figure(8.4, 0.9 + 0.22 * len(names) * max(2, len(evaluations)))
    axes = figure.subplots()
    height = 0.8 / len(evaluations)
    for number, each in enumerate(evaluations):
        row = each.row("image_to_image")
        found = [(row.by_finding.get(name, {}) if row else {}).get("P@10") for name in names]
        places = np.arange(len(names)) + number * height
        values = [one.value or 0.0 if one else 0.0 for one in found]
        axes.barh(
            places, values, height, xerr=_errors(found), color=_colour(number), label=each.model, error_kw={"lw": 0.8}
        )
    middle = np.arange(len(names)) + 0.4 - height / 2
    chance = [each["P@10"].chance or 0.0 for each in first.by_finding.values()]
    axes.plot(chance, middle, "k|", markersize=10, label="chance")
    axes.set_yticks(middle, names)
    axes.invert_yaxis()
    axes.set(xlabel="P@10 with 95 % interval", xlim=(0, 1))
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    return figure


def _latency(evaluations: Sequence[Evaluation]) -> Figure | None:
    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    shown = False
    for number, each in enumerate(evaluations):
        cost, found = each.resources, each.estimate(*PRIMARY)
        if cost is None or cost.encode_image is None or cost.query is None or found is None or found.value is None:
            continue
        shown = True
        p50 = cost.encode_image.p50_ms + cost.query.p50_ms
        p95 = max(p50, cost.encode_image.p95_ms + cost.query.p95_ms)
        axes.errorbar(
            [p50], [found.value], xerr=np.array([[0.0], [p95 - p50]]), yerr=_errors([found]), capsize=3, **_style(number),
            label=each.model,
        )  # fmt: skip
    if not shown:
        return None
    axes.set(xlabel="ms from image to hits: median to 95th percentile", ylabel="P@10, image to image, macro")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _distributions(evaluations: Sequence[Evaluation]) -> Figure | None:
    kinds = list(dict.fromkeys(kind for each in evaluations for kind in each.distributions))
    if not kinds:
        return None
    figure = _figure(8.4, 1.9 * len(evaluations) + 0.4)
    grid = figure.subplots(len(evaluations), len(kinds), squeeze=False)
    for line, each in zip(grid, evaluations, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            axes.set_title(f"{each.model}: {kind}", fontsize=8)
            found = each.distributions.get(kind)
            if found is None:
                axes.set_axis_off()
                continue
            axes.stairs(found.unrelated, found.edges, fill=True, color="#999999", alpha=0.6, label="unrelated")
            axes.stairs(found.related, found.edges, color="#D55E00", linewidth=1.4, label="related")
            axes.set_yticks([])
    for axes in grid[-1]:
        axes.set_xlabel("cosine")
    grid[0][0].legend(fontsize=7)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _style(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "marker": _MARKERS[number % len(_MARKERS)], "markersize": 4}


def _errors(found: Sequence[Estimate | None]) -> Any:
    """Distances from each value to the ends of its interval, float [2, values]."""
    low, high = [], []
    for one in found:
        known = one is not None and one.value is not None and one.low is not None and one.high is not None
        low.append(max(0.0, one.value - one.low) if known else 0.0)  # type: ignore[union-attr, operator]
        high.append(max(0.0, one.high - one.value) if known else 0.0)  # type: ignore[union-attr, operator]
    return np.array([low, high])


def _svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element for a page with several plots."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    svg = buffer.getvalue()
    # The ids of several plots in one page must differ.
    prefix = re.sub(r"\W+", "", title)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", svg[svg.index("<svg") :])
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
