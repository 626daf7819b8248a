"""Figures, their bounds, and the table that is made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number. Without a bound it is there to be read, and is never broken."""

    name: str
    measured: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    # Further words beside the number, such as what it is made of.
    detail: str = ""

    @property
    def is_bounded(self) -> bool:
        return self.most is not None or self.least is not None

    @property
    def is_kept(self) -> bool:
        above = self.most is not None and self.measured > self.most
        below = self.least is not None and self.measured < self.least
        # A figure that could not be taken is not a number, and keeps no bound.
        return not (above or below or (self.is_bounded and math.isnan(self.measured)))

    def row(self) -> str:
        bounds = [
            f"{sign} {number(bound)} {self.unit}".rstrip()
            for sign, bound in (("≤", self.most), ("≥", self.least))
            if bound is not None
        ]
        if self.most is not None and self.most == self.least:
            bounds = [f"= {number(self.most)} {self.unit}".rstrip()]
        measured = f"{number(self.measured)} {self.unit}".rstrip()
        if self.detail:
            measured += f" ({self.detail})"
        verdict = ("yes" if self.is_kept else "**NO**") if self.is_bounded else ""
        return f"| {self.name} | {measured} | {', '.join(bounds) or '–'} | {verdict} |"


@dataclass
class Report:
    """What one run has found."""

    figures: list[Figure] = field(default_factory=list)
    # What servers said on standard error beyond the usual, and how they ended.
    complaints: list[str] = field(default_factory=list)
    # What the figures are of, such as versions.
    notes: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        return all(figure.is_kept for figure in self.figures)

    def table(self) -> str:
        head = ["| figure | measured | bound | ok |", "|---|---|---|---|"]
        return "\n".join(head + [figure.row() for figure in self.figures])

    def close(self, json_file: Path | None) -> int:
        """Prints all of it, and writes it where it was asked for; the exit status of the whole."""
        for note in self.notes:
            print(f"{note}\n")
        print(self.table())
        if self.complaints:
            print("\nThe server said on standard error, or did:\n")
            print("\n".join(f"    {line}" for line in self.complaints))
        if json_file:
            self.write(json_file)
        return 0 if self.is_kept else 1

    def write(self, path: Path) -> None:
        figures = [asdict(figure) | {"ok": figure.is_kept} for figure in self.figures]
        for figure in figures:
            if not math.isfinite(figure["measured"]):
                figure["measured"] = None  # JSON has no word for it
        whole = {"ok": self.is_kept, "notes": self.notes, "figures": figures, "complaints": self.complaints}
        path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Short, and exact where it is a count."""
    if math.isfinite(value) and value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def percentile(values: Iterable[float], part: float) -> float:
    """The value that `part` of all are at or below; not a number when there are none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    rank = max(0, min(len(ordered) - 1, -(-int(part * len(ordered) * 1000) // 1000) - 1))
    return ordered[rank]
