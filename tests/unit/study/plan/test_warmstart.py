"""Stop rules, and what a search learns from elsewhere."""

import pytest
from parsl_optuna.core.constraint import parse_all
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.core.spec import WarmStart
from parsl_optuna.report import tables as aggregate
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.warmstart import read_points

from tests.toyrun import drive, rows, toy_plan

GUESSES = {"guess": [{"x": x, "k": 1, "kind": "plain"} for x in (0.5, 0.1, 1.0, 1.1, 1.2, 1.3, 0.0)]}


def test_a_target_ends_a_study_and_a_second_run_asks_for_nothing(tmp_path):
    plan = toy_plan(enqueue=GUESSES, max_trials=7, batch_size=1, target=0.1)

    trials = drive(plan, tmp_path).studies[0]

    assert len(trials.ended) == 2
    assert "reached its target" in trials.stopped
    assert drive(plan, tmp_path).n_started == 0


def test_patience_ends_a_study_and_a_second_run_asks_for_nothing(tmp_path):
    plan = toy_plan(enqueue=GUESSES, max_trials=7, batch_size=1, patience=3)

    trials = drive(plan, tmp_path).studies[0]

    assert len(trials.ended) == 5
    assert "no improvement in its last 3" in trials.stopped
    assert drive(plan, tmp_path).n_started == 0


def test_the_hours_of_a_run_end_it_and_the_next_run_goes_on(tmp_path):
    problem = {"truth": 1.0, "sleep_sec": 0.1}
    plan = toy_plan(problem, batch_size=1, max_trials=20, max_hours=0.5 / 3600)

    first = drive(plan, tmp_path)
    second = drive(plan, tmp_path)

    assert 0 < len(first.studies[0].ended) < 20
    assert "hours of this invocation are over" in first.studies[0].stopped
    assert not first.interrupted
    assert len(second.studies[0].ended) > len(first.studies[0].ended)


@pytest.mark.filterwarnings("ignore")
def test_the_terminator_ends_a_study(tmp_path):
    plan = toy_plan(max_trials=60, batch_size=1, terminator=True)

    trials = drive(plan, tmp_path).studies[0]

    assert 20 <= len(trials.ended) < 60
    assert "terminator" in trials.stopped


@pytest.fixture
def tables(tmp_path):
    """A finished study as parquet, and its points as CSV."""
    plan = toy_plan(max_trials=8)
    drive(plan, tmp_path / "old")
    rows = aggregate.table(aggregate.collect(ArtifactStore(tmp_path / "old"), plan.task.name), plan.task)
    aggregate.write(rows, tmp_path / "t.parquet")
    frame = rows.to_pandas()
    points = frame["hyperparams"].apply(dict).apply(__import__("pandas").Series)
    points.assign(loss=frame["objective"]).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(("name", "objective"), [("t.parquet", "objective"), ("t.csv", "loss")])
def test_a_table_teaches_the_search_and_adds_no_row(tables, name, objective):
    taught = toy_plan(warm_start=[{"table": str(tables / name), "objective": objective}], batch_size=1)
    plain = toy_plan(batch_size=1)

    new, old = drive(taught, tables / "new"), drive(plain, tables / "plain")

    assert len(taught.studies[0].search.learned) == 8
    assert len(new.studies[0].ended) == 6
    assert rows(new) != rows(old)  # 8 known points: TPE models from the first trial on


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (WarmStart("none.parquet"), "no such file"),
        (WarmStart("t.parquet", "objektive"), "did you mean 'objective'"),
        (WarmStart(__file__), "neither CSV nor parquet"),
    ],
)
def test_bad_tables_are_one_line(tables, monkeypatch, entry, words):
    monkeypatch.chdir(tables)
    space = toy_plan().studies[0].space

    with pytest.raises(SpecError) as caught:
        read_points(entry, "guess", space, "f.yaml $.warm_start[0]")

    assert words in str(caught.value)
    assert "f.yaml $.warm_start[0]" in str(caught.value)


def test_a_table_without_one_point_of_the_space_is_told(tables):
    space = toy_plan(search_space={"guess": {"x": {"low": 1.99, "high": 2.0}}}).studies[0].space

    with pytest.raises(SpecError, match="no point of the search space"):
        list(read_points(WarmStart(str(tables / "t.parquet")), "guess", space, "f $"))


def test_rows_that_a_search_cannot_learn_from_are_counted_by_reason(tmp_path):
    lines = [
        "x,k,kind,loss,state",
        "0.5,1,plain,0.1,ok",
        "0.5,2,plain,0.2,pruned",
        "0.5,2,plain,nan,ok",
        "5.0,2,plain,0.2,ok",
        "0.5,,plain,0.2,ok",
        "0.5,2,odd,0.2,ok",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    plan = toy_plan(warm_start=[{"table": str(tmp_path / "t.csv"), "objective": "loss"}])

    assert plan.studies[0].search.learned == (({"x": 0.5, "k": 1, "kind": "plain"}, 0.1, {}),)
    (note,) = plan.notes
    for reason in (
        "of 6 rows of",
        "1 (state pruned)",
        "1 (loss is not finite)",
        "1 (x is none of its values)",
        "1 (k is none of its values)",
        "1 (kind is none of its values)",
    ):
        assert reason in note


def test_a_table_of_no_points_says_why(tmp_path):
    (tmp_path / "t.csv").write_text("x,k,kind,loss\n0.5,1,plain,0.1\nabc,1,plain,0.1\n")

    with pytest.raises(SpecError, match=r"left out are 2 \(x is none of its values\)"):
        toy_plan(warm_start=[{"table": str(tmp_path / "t.csv"), "objective": "loss"}])


@pytest.mark.parametrize(
    ("optuna", "words"),
    [({"objectives": ["error", "cost"]}, "several objectives"), ({"across": "rank"}, "across: rank")],
)
def test_a_table_of_one_objective_goes_with_one(optuna, words):
    with pytest.raises(SpecError, match=f"warm_start has one objective.*{words}"):
        toy_plan(1.0, 2.0, warm_start=[{"table": "t.csv"}], **optuna)


CONDITIONAL = Space(
    {"x": Float(0.0, 1.0, step=0.1), "kind": Categorical(("a", "b")), "n": Int(1, 9)},
    {},
    {"n": {"kind": ("b",)}},
)
POINTS = """x,kind,n,loss,memory_gb
0.30000000000000004,a,,0.1,1
0.4,b,2.0,0.2,20
0.5,b,,0.3,1
0.6,a,3,0.4,
"""


def test_a_csv_has_steps_and_what_is_inactive_in_its_own_way(tmp_path):
    (tmp_path / "points.csv").write_text(POINTS)
    entry = WarmStart(str(tmp_path / "points.csv"), "loss")

    found, _ = read_points(entry, "function", CONDITIONAL, "f $")

    assert [(one.point, one.value) for one in found] == [
        ({"x": 0.3, "kind": "a"}, 0.1),
        ({"x": 0.4, "kind": "b", "n": 2}, 0.2),
        ({"x": 0.6, "kind": "a"}, 0.4),
    ]


def test_with_constraints_a_row_that_tells_nothing_of_them_teaches_nothing(tmp_path):
    (tmp_path / "points.csv").write_text(POINTS)
    entry, bound = WarmStart(str(tmp_path / "points.csv"), "loss"), parse_all({"memory_gb": "<= 16"})

    found, left_out = read_points(entry, "function", CONDITIONAL, "f $", bound)

    assert [dict(one.violations) for one in found] == [{"memory_gb <= 16": -15}, {"memory_gb <= 16": 4}]
    assert "1 (no memory_gb)" in str(left_out)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("sampler", ["rank_gp", "tpe", "nsgaii", "gp"])
def test_a_search_with_constraints_learns_from_a_table(tmp_path, sampler):
    lines = ["x,k,kind,estimate,objective"] + [f"{x / 10},1,plain,{x / 10},{x / 10}" for x in range(5)]
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n")
    plan = toy_plan(
        sampler=sampler,
        max_trials=4,
        n_startup_trials=2,
        batch_size=1,
        confirm=0,
        constraints={"estimate": "<= 0.5"},
        warm_start=[{"table": str(tmp_path / "points.csv")}],
    )

    assert len(drive(plan, tmp_path).studies[0].ended) == 4
