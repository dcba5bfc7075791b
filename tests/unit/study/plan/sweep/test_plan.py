"""Sweeps bound to tasks, with the original programme's own files where their sizes are known."""

import json
import time

import numpy as np
import pytest
import yaml
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Categorical, Float, Int
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.study.plan.sweep.file import read_sweep
from parsl_optuna.study.plan.sweep.plan import plan_sweep
from parsl_optuna.study.plan.sweep.winners import Earlier, Winners

PROGRAM = "engiopt/lvae_2d/lvae_2d.py"
NO_HYPHENS = ["${env}", "python", "${program}", "${args_no_hyphens}"]


def values(*listed):
    return {"values": list(listed)}


def value(one):
    return {"value": one}


COMMON = {"n_epochs": value(2500), "batch_size": value(128), "lr": value(1e-4), "latent_dim": value(250),
          "pruning_epoch": value(500)}  # fmt: skip
STRATEGIES = COMMON | {
    "problem_id": values("beams2d", "heatconduction2d", "disk2"),
    "pruning_strategy": values("plummet", "pca_cdf", "lognorm", "probabilistic"),
    "plummet_threshold": values(0.01, 0.02, 0.05, 0.1),
    "cdf_threshold": values(0.90, 0.93, 0.95, 0.97, 0.99),
    "percentile": values(0.01, 0.02, 0.05, 0.10),
    "alpha": values(0.0, 0.05, 0.10),
    "temperature": values(0.5, 1.0, 1.5, 2.0),
    "seed": values(1, 2, 3),
}
GUIDE = COMMON | {
    "problem_id": value("heatconduction2d"),
    "w_v": value(0.01),
    "eta": value(1e-4),
    "resize_dimensions": value([100, 100]),
    "pruning_strategy": values("plummet", "lognorm"),
    "plummet_threshold": values(0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    "alpha": values(0.0, 0.1, 0.2, 0.3, 0.5),
    "percentile": values(0.01, 0.02, 0.05, 0.1, 0.15, 0.2),
    "use_spectral_norm": values(False, True),
    "track": value(True),
    "wandb_entity": value(None),
    "seed": values(1, 2, 3),
}
PROFILES = [
    {"name": "none", "min_active_dims": 0, "max_prune_per_epoch": None, "recon_tol": float("inf")},
    {"name": "all", "min_active_dims": 10, "max_prune_per_epoch": 10, "recon_tol": 0.05},
]


def bound(
    folder,
    parameters,
    *,
    method="grid",
    command=None,
    program=PROGRAM,
    task="lvae",
    file=None,
    winners=None,
    **spec,
):
    path = folder / "s.yaml"
    data = {"program": program, "method": method, "parameters": parameters,
            "metric": {"name": "val_rec", "goal": "minimize"}} | (file or {})  # fmt: skip
    if command:
        data["command"] = command
    path.write_text(yaml.safe_dump(data))
    return plan_sweep(read_sweep(path), SweepSpec(str(path), task, **spec), f"{path} $", winners)


def test_the_first_phase_has_225_runs_that_differ_of_34560(tmp_path):
    found = bound(tmp_path, STRATEGIES, command=NO_HYPHENS)

    assert (found.n_written, found.n_points) == (34560, 225)
    assert [study.max_trials for study in found.plan.studies] == [75, 75, 75]


def test_the_guides_grid_has_216_of_2160_and_what_means_nothing_here_is_said(tmp_path):
    found = bound(tmp_path, GUIDE)

    assert (found.n_written, found.n_points) == (2160, 216)
    assert "no effect here: resize_dimensions, track, wandb_entity" in found.notes


def test_folding_can_be_forbidden(tmp_path):
    parameters = GUIDE | {"alpha": values(0.0, 0.1), "percentile": values(0.01), "seed": values(1)}

    assert bound(tmp_path, parameters).n_points < bound(tmp_path, parameters, fold=False).n_points == 48


def test_a_mapping_stands_for_several_parameters(tmp_path):
    found = bound(
        tmp_path, COMMON | {"problem_id": value("disk2"), "safeguard_profile": {"values": PROFILES}}
    )

    points = [point.hyperparams for point in found.plan.studies[0].points]
    assert [(one["min_active_dims"], one["max_prune_per_epoch"], one["recon_tol"]) for one in points] == [
        (0, None, None),
        (10, 10, 0.05),
    ]


def test_a_search_leaves_out_what_has_no_effect_and_takes_problems_apart(tmp_path):
    parameters = COMMON | {
        "problem_id": values("disk2", "disk3"),
        "pruning_strategy": value("plummet"),
        "plummet_threshold": {"distribution": "log_uniform_values", "min": 0.003, "max": 0.3},
        "alpha": {"min": 0.0, "max": 0.6},
        "latent_dim": {"min": 4, "max": 32},
        "use_spectral_norm": values(True, False),
    }
    hyperband = {"early_terminate": {"type": "hyperband", "max_iter": 2500, "s": 2}}
    found = bound(tmp_path, parameters, method="bayes", file=hyperband, count=50)

    assert [study.max_trials for study in found.plan.studies] == [25, 25]
    study = found.plan.studies[0]
    assert study.space.dimensions == {
        "latent_dim": Int(4, 32),
        "plummet_threshold": Float(0.003, 0.3, log=True),
        "use_spectral_norm": Categorical((True, False)),
    }
    assert (study.search.pruner, study.search.pruner_params["max_iter"]) == ("wandb_hyperband", 2500)
    assert any("not searched: alpha" in note for note in found.notes)
    assert study.point_of(
        study.hyperparams({"latent_dim": 5, "plummet_threshold": 0.1, "use_spectral_norm": True})
    )


def test_objectives_are_the_tasks_unless_said_otherwise(tmp_path):
    parameters = COMMON | {"problem_id": value("disk2")}

    assert bound(tmp_path, parameters).plan.scoring.names == ("error", "active_dims")
    assert bound(tmp_path, parameters, objectives=("val_rec",)).plan.scoring.names == ("error",)
    other = bound(tmp_path, parameters, file={"metric": {"name": "val_nmse", "goal": "maximize"}}).plan
    assert other.scoring.names == ("error",)
    assert (other.scoring.first.metric, other.scoring.first.goal) == ("val_nmse", "maximize")


def test_a_program_gets_its_parameters_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("")
    parameters = {"lr": values(0.1, 0.2), "net": {"parameters": {"depth": value(2)}}, "sizes": value([1, 2])}
    found = bound(tmp_path, parameters, program="p.py", task=None, command=NO_HYPHENS)

    study = found.plan.studies[0]
    assert found.plan.task.name == "command"
    assert [point.hyperparams for point in study.points] == [
        {"lr": 0.1, "net.depth": 2, "sizes": "[1, 2]"},
        {"lr": 0.2, "net.depth": 2, "sizes": "[1, 2]"},
    ]
    problem = found.plan.problems[0].problem
    assert problem["command"] == ["${env}", "python", "p.py", "${args_no_hyphens}"]
    assert (problem["nested"], problem["json"]) == ({"net": ["depth"]}, ["sizes"])
    assert study.varied == ("lr",)


def values_of(found, name):
    return [point.hyperparams[name] for study in found.plan.studies for point in study.points]


def test_each_problem_takes_its_own_winner(tmp_path):
    wide = bound(tmp_path, COMMON | {"problem_id": values("disk2", "disk3")})
    rows = [
        {"pid": study.pid, "problem": study.label, "state": "ok", "objective": 1.0,
         "hyperparams_json": json.dumps({"plummet_threshold": threshold, "seed": 1})}
        for study, threshold in zip(wide.plan.studies, (0.01, 0.02), strict=True)
    ]  # fmt: skip
    parameters = COMMON | {"problem_id": values("disk2", "disk3"), "plummet_threshold": {"from": "results/x"}}

    found = bound(tmp_path, parameters, winners=Winners({"results/x": Earlier(rows)}))

    assert values_of(found, "plummet_threshold") == [0.01, 0.02]
    with pytest.raises(SpecError, match=r"plummet_threshold\.from: 'results/x' holds no finished runs yet"):
        bound(tmp_path, parameters)


def test_the_problem_itself_is_taken_from_nowhere(tmp_path):
    with pytest.raises(SpecError, match="problem_id: belongs to the problem; give its value"):
        bound(tmp_path, COMMON | {"problem_id": {"from": "results/x"}})


def test_a_file_of_another_program_gets_that_programs_units_and_says_so(tmp_path):
    found = bound(tmp_path, COMMON | {"problem_id": value("disk2"), "w_v": value(0.01)})
    own = bound(tmp_path, COMMON | {"problem_id": value("disk2")}, program="lvae")
    smaller = bound(tmp_path, COMMON | {"problem_id": value("disk2")}, params={"resolution": 8})

    assert values_of(found, "w_v_units") == ["original"]
    assert found.plan.problems[0].problem["resolution"] == 128
    note = f"{PROGRAM} is another program: lvae takes w_v_units=original, resolution=128, width=64"
    assert any(note in one for one in found.notes)
    assert values_of(own, "w_v_units") == ["spread"]
    assert smaller.plan.problems[0].problem["resolution"] == 8


def test_each_problem_has_its_own_file_of_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("b", "p")):
        np.save(f"{name}.npy", np.random.default_rng(seed).random((10, 8, 8)))
    parameters = COMMON | {"problem_id": values("beams2d", "photonics2d", "disk2")}
    found = bound(tmp_path, parameters, data={"beams2d": "b.npy", "photonics2d": "p.npy"})

    files = {one.problem["problem_id"]: one.problem["file"] for one in found.plan.problems}
    assert {name: file and file["path"] for name, file in files.items()} == {
        "beams2d": "b.npy",
        "photonics2d": "p.npy",
        "disk2": None,
    }
    with pytest.raises(SpecError, match=r"of a sweep: --data photonics2d=FILE"):
        bound(tmp_path, parameters)


def test_numbers_that_yaml_1_1_takes_for_text_are_numbers_to_a_task(tmp_path):
    found = bound(tmp_path, COMMON | {"problem_id": value("disk2"), "lr": values("1e-4", "2e-4")})

    assert values_of(found, "lr") == [1e-4, 2e-4]


@pytest.mark.parametrize(
    ("file", "spec", "head"),
    [
        ({"method": "grid"}, {}, "6 points"),
        ({"method": "grid"}, {"count": 4}, "the first 4 of 6 points (--count 4)"),
        ({"method": "grid", "run_cap": 2}, {}, "the first 2 of 6 points (run_cap 2)"),
        ({"method": "grid", "run_cap": 6}, {}, "6 points"),
        ({"method": "random", "run_cap": 20}, {}, "20 random draws, 5 distinct (equal draws are one run)"),
        ({"method": "random", "run_cap": 20}, {"count": 1}, "1 random draw"),
        ({"method": "grid", "run_cap": 2.0}, {}, "the first 2 of 6 points (run_cap 2)"),
        ({"method": "bayes"}, {"count": 5}, "5 runs by search (sampler auto)"),
    ],
)
def test_the_head_says_what_was_cut_and_why(tmp_path, monkeypatch, file, spec, head):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("")
    parameters = {"a": values(1, 2, 3), "b": values(1, 2)}

    assert bound(tmp_path, parameters, program="p.py", task=None, file=file, **spec).head == head


def test_the_head_says_what_has_no_effect(tmp_path):
    parameters = COMMON | {
        "problem_id": value("disk2"),
        "lr": values(0.1, 0.2),
        "percentile": values(0.1, 0.2),
    }
    left_out = "once parameters without effect are left out (--no-fold keeps them)"

    assert bound(tmp_path, parameters).head == f"4 points, 2 {left_out}"
    assert (
        bound(tmp_path, parameters, count=2).head
        == f"the first 2 of 4 points (--count 2); 3 looked at, 2 {left_out}"
    )


def test_a_grid_of_ten_million_points_with_a_cap_is_planned_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("")
    parameters = {name: values(*range(10)) for name in "abcdefg"}
    began = time.process_time()

    found = bound(tmp_path, parameters, program="p.py", task=None, file={"run_cap": 10})

    assert (found.n_written, found.n_points) == (10**7, 10)
    assert time.process_time() - began < 2
    with pytest.raises(SpecError, match=r"a grid of 1,000,000 points; say how many to run: .* --count 1000"):
        bound(tmp_path, {name: values(*range(10)) for name in "abcdef"}, program="p.py", task=None)


def test_runs_of_a_program_without_a_metric_are_compared_by_their_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("")
    found = bound(tmp_path, {"a": value(1)}, program="p.py", task=None, file={"metric": None})

    assert found.plan.scoring.leading == "runtime_sec"
    assert any("names no metric" in note for note in found.notes)


def test_several_metrics_have_each_their_direction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text("")
    metrics = {"metric": None, "metrics": [{"name": "loss"}, {"name": "acc", "goal": "maximize"}]}
    scoring = bound(tmp_path, {"a": value(1)}, program="p.py", task=None, file=metrics).plan.scoring

    assert (scoring.leading, scoring.names[1:], scoring.is_maximised("acc")) == ("loss", ("acc",), True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": "random"},
            "random never ends; give --count N, as in parsl-optuna sweep .*s.yaml --count 50",
        ),
        ({"file": {"metric": {"name": "val_rec", "summary": "best"}}}, "task 'lvae' gives one value per run"),
        ({"method": "bayes"}, "bayes never ends"),
        ({"task": "lvea"}, "no task 'lvea'; did you mean 'lvae'"),
        ({"task": "llc"}, "has several methods"),
        ({"file": {"metric": {"name": "val_recc"}}}, "has no 'val_recc'; did you mean 'val_rec'"),
        ({"task": None}, "no file 'engiopt"),
        ({"task": None, "program": None}, r"\$\.program: is missing"),
        ({"parameters": {"problem_id": value("disk2"), "lrr": value(1)}}, "did you mean 'lr'"),
        ({"parameters": {"problem_id": {"min": 1, "max": 2}}, "method": "bayes", "count": 3}, "give values"),
    ],
)
def test_mistakes_have_their_place(tmp_path, changes, message):
    parameters = changes.pop("parameters", COMMON | {"problem_id": value("disk2")})

    with pytest.raises(SpecError, match=message):
        bound(tmp_path, parameters, **changes)


MODULE = ["${env}", "python", "-m", "${program}", "${args}"]


@pytest.mark.parametrize("file", ["pkg/train.py", "pkg/train/__main__.py"])
def test_a_program_behind_m_is_a_module(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("")
    plan = bound(tmp_path, {"a": value(1)}, program="pkg.train", task=None, file={"command": MODULE}).plan

    assert list(plan.problems[0].problem["files"]) == [file]
    assert plan.problems[0].problem["command"] == ["${env}", "python", "-m", "pkg.train", "${args}"]


def test_a_module_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SpecError, match=r"no module 'pkg.train' in .*where pkg/train.py is"):
        bound(tmp_path, {"a": value(1)}, program="pkg.train", task=None, file={"command": MODULE})
