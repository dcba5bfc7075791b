import pytest
import yaml
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.sweep.file import grid, random_points, read_sweep, sources


def written(folder, **keys):
    path = folder / "s.yaml"
    data = {"method": "grid", "program": "p.py", "parameters": {"a": {"values": [1, 2]}}} | keys
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))
    return path


def test_a_grid_goes_through_names_in_order_the_last_one_fastest(tmp_path):
    parameters = {"b": {"values": ["x", "y"]}, "a": {"min": 1, "max": 2}, "c": {"value": [1]}}
    sweep = read_sweep(written(tmp_path, parameters=parameters))

    assert [(p["a"], p["b"], p["c"]) for p in grid(sweep)] == [
        (1, "x", [1]),
        (1, "y", [1]),
        (2, "x", [1]),
        (2, "y", [1]),
    ]


def test_equal_points_of_a_grid_come_once(tmp_path):
    sweep = read_sweep(written(tmp_path, parameters={"a": {"values": [{"k": 1}, {"k": 1}, 3]}}))

    assert [p["a"] for p in grid(sweep)] == [{"k": 1}, 3]


def test_nested_parameters_get_flat_names(tmp_path):
    parameters = {"opt": {"parameters": {"lr": {"min": 0.1, "max": 1.0}, "name": {"value": "sgd"}}}}
    sweep = read_sweep(written(tmp_path, method="random", parameters=parameters))

    assert sweep.nested == {"opt": ["lr", "name"]}
    assert sweep.constants == {"opt.name": "sgd"}
    (point,) = random_points(sweep, 1, 0)
    assert 0.1 <= point["opt.lr"] <= 1.0


def test_random_points_do_not_depend_on_how_many_there_are(tmp_path):
    sweep = read_sweep(written(tmp_path, method="random", parameters={"a": {"min": 0.0, "max": 1.0}}))

    assert list(random_points(sweep, 9, 1))[:3] == list(random_points(sweep, 3, 1))
    assert list(random_points(sweep, 3, 1)) != list(random_points(sweep, 3, 2))


def test_values_come_from_the_winner_of_another_sweep(tmp_path):
    path = written(tmp_path, parameters={"a": {"from": "results/01"}, "b": {"values": [1]}})

    assert sources(path) == ["results/01"]
    assert read_sweep(path, {"results/01": {"a": 7}}).constants["a"] == 7
    with pytest.raises(SpecError, match=r"parameters\.a\.from: 'results/01' holds no finished runs"):
        read_sweep(path)
    with pytest.raises(SpecError, match="has no 'a'"):
        read_sweep(path, {"results/01": {"b": 7}})


def test_all_keys_of_the_service_are_taken(tmp_path):
    path = written(
        tmp_path,
        name="n",
        description="d",
        project="p",
        entity="e",
        controller={"type": "local"},
        kind="sweep",
        run_cap=3,
        metric={"name": "loss", "goal": "maximize", "target": 3, "impute": "latest"},
        early_terminate={"type": "hyperband", "max_iter": 27, "s": 2, "strict": True},
        command=["${env}", "python", "${program}", "${args_no_hyphens}"],
    )

    sweep = read_sweep(path)

    assert (sweep.run_cap, sweep.metric.target, sweep.bands.brackets(100)) == (3, 3.0, [3, 9])
    assert sweep.command[-1] == "${args_no_hyphens}"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "gird"}, r"s\.yaml \$\.method: unknown value 'gird'.*did you mean 'grid'"),
        ({"metod": "grid"}, r"\$\.metod: unknown key; did you mean 'method'"),
        ({"parameters": {}}, r"\$\.parameters: is empty"),
        ({"parameters": {"1a": {"value": 1}}}, r"\$\.parameters\.1a: a name has letters"),
        ({"run_cap": 0}, r"\$\.run_cap: 0 must be at least 1"),
        ({"method": "bayes"}, r"\$\.metric: is missing"),
        ({"early_terminate": {"type": "median"}}, r"early_terminate\.type: must be hyperband"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1}}, "needs a metric"),
    ],
)
def test_mistakes_have_their_place(tmp_path, keys, message):
    with pytest.raises(SpecError, match=message):
        read_sweep(written(tmp_path, **keys))


def test_all_mistakes_are_told_at_once(tmp_path):
    parameters = {"a": {"values": []}, "b": {"min": 2, "max": 1}, "c": {"min": 0.0, "max": 1.0}}
    with pytest.raises(SpecError) as caught:
        read_sweep(written(tmp_path, parameters=parameters, run_cap=0))

    assert len(str(caught.value).splitlines()) == 4
