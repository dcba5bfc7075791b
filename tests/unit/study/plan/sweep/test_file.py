import pytest
import yaml
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.sweep.file import Metric, read_sweep, sources


def written(folder, **keys):
    path = folder / "s.yaml"
    data = {"method": "grid", "program": "p.py", "parameters": {"a": {"values": [1, 2]}}} | keys
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))
    return path


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
        metric={"name": "loss", "goal": "maximize", "target": 3},
        early_terminate={"type": "hyperband", "max_iter": 27, "s": 2, "strict": True},
        command=["${env}", "python", "${program}", "${args_no_hyphens}"],
    )

    sweep = read_sweep(path)

    assert (sweep.run_cap, sweep.metric.target, sweep.bands.brackets(100)) == (3, 3.0, [3, 9])
    assert sweep.command[-1] == "${args_no_hyphens}"
    assert sweep.notes == ()


def test_files_are_yaml_1_1_as_at_wandb(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("""
x-lr: &lr {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-2}
method: random
metric: {name: loss}
parameters:
  flag: {values: [yes, no]}
  steps: {value: 1_000}
  octal: {value: 010}
  rate: {values: [1e-4, 1.0e-4]}
  low: {distribution: uniform, min: 1e-4, max: 1.0}
  lr_b: {<<: *lr, max: 1.0e-3}
""")

    sweep = read_sweep(path)

    assert sweep.parameters["flag"].values == (True, False)
    assert sweep.constants == {"steps": 1000, "octal": 8}
    assert sweep.parameters["rate"].values == ("1e-4", 1.0e-4)
    assert sweep.parameters["low"].numbers["min"] == 1e-4
    assert sweep.parameters["lr_b"].numbers == {"min": 1e-5, "max": 1e-3}
    assert sweep.notes == (
        "x-lr: no key of a sweep, without effect",
        "parameters.low.min: '1e-4' is text in YAML 1.1, which W&B refuses; read as the number 0.0001",
        "rate: a number such as 1e-3 without a point is text in YAML 1.1; programs get the text, as at W&B "
        "(1.0e-3 is a number)",
    )


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"metod": "x"}, "metod: no key of a sweep, without effect; did you mean 'method'?"),
        ({"settings": 1}, "settings: no key of a sweep, without effect"),
        ({"metric": {"name": "a", "impute": "best"}},
         "metric.impute: without effect: a failed run has no value here"),
        ({"method": "custom", "scheduler": {"engine": "optuna"}, "metric": {"name": "a"}},
         "method custom: a search by Optuna, as method bayes is here"),
        ({"scheduler": {"engine": "wandb", "source": "s.py"}},
         "scheduler: no effect: source (--sampler chooses the search)"),
        ({"parameters": {"+a": {"value": 1}}}, "W&B warns of the names +a; they are passed on as they are"),
        ({"parameters": {"a": {"distribution": "log_uniform", "min": 0.01, "max": 0.1}}, "method": "random"},
         "a: log_uniform takes exponents, so it lies in [1.01, 1.105]; "
         "log_uniform_values takes the values themselves"),
    ],
)  # fmt: skip
def test_what_wandb_only_warns_of_is_a_note(tmp_path, keys, note):
    assert note in read_sweep(written(tmp_path, **keys)).notes


def test_several_metrics_lead_with_the_first(tmp_path):
    metrics = [{"name": "loss"}, {"name": "acc", "goal": "maximize"}]
    sweep = read_sweep(written(tmp_path, method="custom", metrics=metrics))

    assert (sweep.metric, sweep.others) == (Metric("loss"), (Metric("acc", "maximize"),))


def test_values_of_another_sweep_are_named_by_its_folder(tmp_path):
    parameters = {"a": {"from": "results/01"}, "o": {"parameters": {"b": {"from": "results/02"}}}}

    assert sources(read_sweep(written(tmp_path, parameters=parameters))) == ["results/01", "results/02"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "gird"}, r"s\.yaml \$\.method: unknown value 'gird'.*did you mean 'grid'"),
        ({"method": None}, r"\$\.method: is missing; it is grid"),
        ({"parameters": {}}, r"\$\.parameters: must be a mapping with at least one"),
        ({"parameters": None}, r"\$\.parameters: is missing"),
        (
            {"parameters": None, "scheduler": {"engine": "optuna", "search_space": "f", "source": "s.py"}},
            "the search space of scheduler.source cannot be read",
        ),
        ({"run_cap": 0}, r"\$\.run_cap: 0 must be a whole number of at least 1"),
        ({"run_cap": "20"}, r"\$\.run_cap: '20' must be a whole number"),
        ({"method": "bayes"}, r"\$\.metric: is missing"),
        ({"metric": "loss"}, r"\$\.metric: must be a mapping such as \{name: val_loss"),
        ({"metric": {"name": "loss", "goal": "max"}}, r"\$\.metric\.goal: unknown value 'max'.*'maximize'"),
        ({"metric": {"name": "a"}, "metrics": [{"name": "a"}]}, r"\$\.metrics: goes without metric"),
        ({"metrics": []}, "must be a list of mappings such as"),
        ({"command": "python train.py"}, r"\$\.command: must be a list of words"),
        ({"command": ["python", {"--lr": 3}]}, r"\$\.command\[1\]: must be a word"),
        ({"program": ["a.py"]}, r"\$\.program: must be the path of a script"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}, "metric": {"name": "a"}},
            r"early_terminate.*eta 1.0 must be above 1",
        ),
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
