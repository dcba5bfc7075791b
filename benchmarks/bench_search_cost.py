"""What a proposal of the default sampler costs: CPU seconds, with 32 trials running."""

from __future__ import annotations

import random
import statistics
import time

from parsl_optuna.core.space import Float, Space
from parsl_optuna.study.plan.plans import SearchSettings, StudyPlan
from parsl_optuna.study.search.search import Search

_RUNNING = 32
_SIZES = (100, 1_000, 10_000)
_REPEATS = 5


def main() -> None:
    """Print a row per number of trials."""
    print("| trials known | CPU s per proposal, new results each time | without new results |")
    print("|---|---|---|")
    for size in _SIZES:
        fresh, again = costs(size)
        print(f"| {size} | {statistics.median(fresh):.3f} | {statistics.median(again):.3f} |")


def costs(size: int) -> tuple[list[float], list[float]]:
    """Return times of proposals after a result, and of proposals that follow another one."""
    draw = random.Random(0)
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(8)})
    settings = SearchSettings(seed=1, sampler="rank_gp")
    search = Search(StudyPlan("p", "bench", "look", {}, 60.0, 10**6, _RUNNING, space, search=settings), 1)
    for _ in range(size):
        point = {name: draw.random() for name in space.dimensions}
        search.learn(point, sum((value - 0.4) ** 2 for value in point.values()))
    number, fresh, again = 0, [], []
    for number in range(_RUNNING):
        search.ask(number, at_random=True)
    search.ask(_RUNNING)  # imports
    for turn in range(_REPEATS):
        search.tell(turn, [draw.random()])
        for times in (fresh, again):
            number += 1
            begun = time.process_time()
            search.ask(number + _RUNNING)
            times.append(time.process_time() - begun)
    return fresh, again


if __name__ == "__main__":
    main()
