"""Draws docs/benchmarks.svg from the rows of one run."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

from bench.figures import Row  # noqa: E402
from bench.filesystems import UMBRA  # noqa: E402

UMBRA_COLOUR = "#5b2a86"
OTHER_COLOURS = ["#b5b9c4", "#8d95a8", "#69738c", "#465069"]


def draw(path: str, rows: list[Row]) -> None:
    plots = {name: data for row in rows for name, data in row.plots.items()}
    # The same run gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "umbra"
    matplotlib.rcParams["font.size"] = 9
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7.5), width_ratios=[2, 1], constrained_layout=True)
    panels = [
        (axes[0][0], relative, ["relative"]),
        (axes[0][1], create, ["create", "create_files"]),
        (axes[1][0], overwrite, ["overwrite"]),
        (axes[1][1], delete, ["by_change", "by_size"]),
    ]
    for panel, drawer, needed in panels:
        if all(name in plots for name in needed):
            drawer(panel, *(plots[name] for name in needed))
        else:
            panel.set_title("not measured")
            panel.axis("off")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def relative(panel, data: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(data.values())))
    width = 0.8 / len(names)
    others = iter(OTHER_COLOURS)
    for place, name in enumerate(names):
        positions = [group - 0.4 + width * (place + 0.5) for group in range(len(data))]
        colour = UMBRA_COLOUR if name == UMBRA else next(others)
        panel.bar(positions, [values[name] for values in data.values()], width, label=name, color=colour)
    panel.set_xticks(range(len(data)), [measure.replace("iB ", "iB\n") for measure in data])
    panel.set_yscale("log")
    panel.axhline(1, color="black", linewidth=0.6)
    panel.set_title("No snapshot: speed, the plain filesystem being 1")
    panel.legend(ncol=3, frameon=False, fontsize=8)


def create(panel, data: dict[str, list[float]], files: list[int]) -> None:
    for name, seconds in data.items():
        ours = not name.startswith("btrfs")
        panel.plot(
            files,
            [1e3 * value for value in seconds],
            marker="o",
            linestyle="--" if "process" in name else "-",
            color=UMBRA_COLOUR if ours else OTHER_COLOURS[2],
            label=name.split(", the whole")[0],
        )
    panel.set_xscale("log")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("files in the share")
    panel.set_ylabel("ms")
    panel.set_title("Taking a snapshot")
    panel.legend(frameon=False, fontsize=7)


def overwrite(panel, data: dict[str, dict[str, float]]) -> None:
    for place, (which, colour) in enumerate((("first", UMBRA_COLOUR), ("later", OTHER_COLOURS[1]))):
        positions = [group - 0.2 + 0.4 * place for group in range(len(data))]
        panel.bar(positions, [values[which] for values in data.values()], 0.38, label=which, color=colour)
    panel.set_xticks(range(len(data)), [load.replace(", ", "\n") for load in data])
    panel.axhline(1, color="black", linewidth=0.6)
    panel.set_title("Overwriting after a snapshot: speed, without snapshots being 1")
    panel.legend(frameon=False)


def delete(panel, by_change: dict[int, float], by_size: dict[int, float]) -> None:
    panel.plot(
        list(by_change), [1e3 * s for s in by_change.values()], marker="o", color=UMBRA_COLOUR,
        label="by files changed",
    )
    panel.plot(
        list(by_size), [1e3 * s for s in by_size.values()], marker="s", color=OTHER_COLOURS[1],
        label="by files in the share,\nthe same number changed",
    )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylabel("ms")
    panel.set_title("Deleting a snapshot")
    panel.legend(frameon=False, fontsize=7)
