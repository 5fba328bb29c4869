"""Plots for the manual: SVG, the same bytes for the same figures."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.curves import Curve


def draw(
    path: Path, title: str, labels: tuple[str, str], curves: Sequence[Curve], *, from_zero: bool
) -> None:
    """Draw curves over a logarithmic x axis; the y axis is logarithmic too, or starts at 0."""
    with rc_context({"svg.hashsalt": "hacdbs-sim", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for curve in curves:
            axes.plot(curve.x, curve.y, marker="o", markersize=4, label=curve.name)
        axes.set_xscale("log", base=2)
        if from_zero:
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib ends lines of paths with a blank, and writes a minus sign that is not ASCII
    lines = path.read_text("utf-8").splitlines()
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    path.write_bytes(text.encode("ascii", "xmlcharrefreplace"))
