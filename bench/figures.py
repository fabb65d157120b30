"""What a run comes to: figures with their targets, tables with the details."""

from dataclasses import dataclass, field


@dataclass
class Figure:
    what: str
    target: str
    measured: str
    reached: bool | None  # None: shown for comparison, nothing to reach


@dataclass
class Table:
    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass
class Row:
    """One line of the list of figures to reach."""

    number: int
    title: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: dict = field(default_factory=dict)
    failure: str = ""
    seconds: float = 0

    def add(self, what: str, target: str, measured: object, reached: bool | None) -> None:
        self.figures.append(Figure(what, target, str(measured), reached))


def rate(value: float) -> str:
    """Operations a second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def mebibytes(count: float) -> str:
    return f"{count / 2**20:.0f} MiB"
