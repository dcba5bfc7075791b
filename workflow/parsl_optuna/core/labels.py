"""Labels of problems that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of problems, by id; one that several have is followed by the id.

    Problems that differ in what a label leaves out, in an override or in the code of a function, would be one
    to everybody who groups by it.
    """
    counts = Counter(labels.values())
    return {pid: named(label, pid) if counts[label] > 1 else label for pid, label in labels.items()}


def named(label: str, pid: str) -> str:
    """Return a label with the problem's id behind it, once."""
    return label if label.endswith(f"({pid})") else f"{label} ({pid})"
