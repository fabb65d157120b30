"""Repeating measurements so that a noisy machine does not decide: every contender runs once a round,
in turn and in changing order, and what counts are medians of what happened within one round."""

import statistics
from dataclasses import dataclass
from typing import Callable


@dataclass
class Ratio:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f})"


def median_and_quartiles(values: list[float]) -> Ratio:
    if len(values) < 2:
        return Ratio(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(middle, low, high)


class Samples:
    """Values by what was measured and by contender, one a round."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, measure: str, contender: str, value: float) -> None:
        self.values.setdefault(measure, {}).setdefault(contender, []).append(value)

    def measures(self) -> list[str]:
        return list(self.values)

    def has(self, measure: str, contender: str) -> bool:
        return contender in self.values.get(measure, {})

    def all(self, measure: str, contender: str) -> list[float]:
        return self.values[measure][contender]

    def median(self, measure: str, contender: str) -> float:
        return statistics.median(self.values[measure][contender])

    def ratio(self, measure: str, contender: str, reference: str) -> Ratio:
        """The median over the rounds of contender / reference."""
        pairs = zip(self.values[measure][contender], self.values[measure][reference], strict=True)
        return median_and_quartiles([mine / other for mine, other in pairs])


def interleave(
    rounds: int, contenders: dict[str, Callable[[int], dict[str, float]]]
) -> Samples:
    """Each contender is called with the number of the round and returns its values by measure."""
    samples = Samples()
    names = list(contenders)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for measure, value in contenders[name](number).items():
                samples.add(measure, name, value)
    return samples
