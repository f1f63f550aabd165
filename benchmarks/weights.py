"""Uniqueness and the sequential bootstrap, against the book's own snippets (4.1, 4.2, 4.5)."""

import time

import numpy as np
from measure import best_of, report

from pipeline.models.sequential_bootstrap import sequential_bootstrap
from pipeline.models.weights import average_uniqueness

ROWS, HORIZON = 100_000, 288


def spans(rows: int) -> np.ndarray:
    """A label a bar, of up to HORIZON bars."""
    length = np.random.default_rng(0).integers(1, HORIZON, rows)
    return np.column_stack([np.arange(rows), np.arange(rows) + length])


def book_uniqueness(labels: np.ndarray) -> np.ndarray:
    """Snippets 4.1 and 4.2: count the labels of each bar, then average over each label."""
    count = np.zeros(labels[:, 1].max())
    for first, stop in labels:
        count[first:stop] += 1
    return np.array([(1.0 / count[first:stop]).mean() for first, stop in labels])


def book_bootstrap(labels: np.ndarray, draws: int) -> list[int]:
    """Snippet 4.5: the uniqueness of every label beside those drawn, anew for each draw."""
    rng, drawn = np.random.default_rng(0), []
    count = np.zeros(labels[:, 1].max())
    for _ in range(draws):
        unique = np.array([(1.0 / (count[first:stop] + 1)).mean() for first, stop in labels])
        chosen = int(rng.choice(len(labels), p=unique / unique.sum()))
        count[slice(*labels[chosen])] += 1
        drawn.append(chosen)
    return drawn


def main() -> None:
    """Time both, print the ratios."""
    labels = spans(ROWS)
    ours = best_of(lambda: average_uniqueness(labels), 5)
    start = time.perf_counter()
    theirs = book_uniqueness(labels)
    peer = time.perf_counter() - start
    print(f"largest difference {np.abs(average_uniqueness(labels) - theirs).max():.1e}")
    report(f"uniqueness of {ROWS:,} labels", ours, peer, 1 / 20, of="loop over labels")
    few = labels[:5000]
    sequential_bootstrap(few, 10, 0)
    ours = best_of(lambda: sequential_bootstrap(few, len(few), 0), 3)
    start = time.perf_counter()
    book_bootstrap(few, 20)
    peer = (time.perf_counter() - start) / 20 * len(few)
    report("sequential bootstrap, 5,000 draws", ours, peer, 1 / 100, of="the book's, from 20 draws")
    start = time.perf_counter()
    sequential_bootstrap(labels, len(labels), 0)
    print(f"{ROWS:,} draws of {ROWS:,} labels: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
