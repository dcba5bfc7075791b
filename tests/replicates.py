"""Fresh replicates of a study's points, without a run: what they would come to is drawn."""

from dataclasses import replace

from parsl_optuna.study.search.confirm import recommend

from tests.toyrun import toy_plan


def with_values(entry, values):
    """Return a trial that came to these values; one number is that of all objectives, None a failure."""
    names = entry.objectives
    is_one = values is None or isinstance(values, float)
    return replace(
        entry, objectives=dict.fromkeys(names, values) if is_one else dict(zip(names, values, strict=True))
    )


def points_of(searched, values, **optuna):
    """Return the plan of a study of two fresh replicates, points with these values, and the best one."""
    points = [with_values(e, v) for e, v in zip(searched.successes, values, strict=False)]
    study = toy_plan(max_trials=100, confirm=2, **optuna).studies[0]
    return study, points, min(points, key=lambda one: (one.values, one.age))


def played(study, points, best, draw, generator=None):
    """Run what is missing until nothing is; return the recommendation and all replicates."""
    confirmed = []
    while missing := recommend(study, points, best, confirmed).missing:
        for point, seed in missing if generator is None else generator.sample(missing, len(missing)):
            fresh = with_values(point, draw(point, seed))
            confirmed.append(replace(fresh, manifest=replace(point.manifest, seed=seed)))
    return recommend(study, points, best, confirmed), confirmed
