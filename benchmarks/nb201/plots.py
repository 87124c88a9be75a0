"""The planner's figures as plots: regret by evaluations, and how often intervals hold."""

from __future__ import annotations

from pathlib import Path

from benchmarks.planner_parts.tables import searched
from llmastool.canonical import Json

COLOURS = {
    "planner": "#c0392b", "random": "#7f8c8d", "evolution 20/5": "#2980b9", "evolution 10/3": "#85c1e9",
    "local search": "#27ae60", "largest first": "#8e44ad", "tpe": "#e67e22",
}  # fmt: skip


def draw(results: Json, folder: Path) -> None:
    """Draw what is known."""
    import matplotlib as mpl

    mpl.use("Agg")
    if searched(results):
        _curves(results, folder)
    if "coverage" in results:
        _coverage(results["coverage"], folder)


def _curves(results: Json, folder: Path) -> None:
    """One picture for every data set and noise, one panel for every setting."""
    import matplotlib.pyplot as plt

    names = list(found := searched(results))
    for title in dict.fromkeys(name.rpartition(" ")[0] for name in names):
        members = [name for name in names if name.rpartition(" ")[0] == title]
        figure, panels = plt.subplots(1, len(members), figsize=(4.6 * len(members), 3.8), sharey=True, squeeze=False)
        for panel, name in zip(panels[0], members, strict=True):
            for method, row in found[name].items():
                curve = row["mean_curve"]
                width = 2.4 if method == "planner" else 1.2
                panel.plot(range(1, len(curve) + 1), curve, color=COLOURS[method], lw=width, label=method)
            panel.axhline(0.5, color="black", lw=0.6, ls=":")
            panel.set(xscale="log", yscale="log", ylim=(0.05, 20), title=name.rpartition(" ")[2])
            panel.set_xlabel("evaluations")
        panels[0][0].set_ylabel("mean regret, percentage points")
        panels[0][-1].legend(fontsize=7)
        figure.suptitle(f"NAS-Bench-201, {title}")
        figure.tight_layout()
        figure.savefig(folder / f"regret-{title.replace(' ', '-')}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _coverage(rows: Json, folder: Path) -> None:
    """Share of held-out cells inside an interval beside the share that there should be."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(4.4, 4.2))
    shares = ("50%", "80%", "90%", "95%")
    for name, row in rows.items():
        if "90%" in row:
            panel.plot([float(s[:-1]) for s in shares], [100 * row[s] for s in shares], "o-", ms=3, lw=1, label=name)
    panel.plot([45, 100], [45, 100], color="black", lw=0.6, ls=":")
    panel.set(xlabel="predictive interval, %", ylabel="held-out cells inside, %", title="Calibration")
    panel.legend(fontsize=7, title="data, observations", title_fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / "calibration.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
