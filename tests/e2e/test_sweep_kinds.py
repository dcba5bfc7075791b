"""Sweep files of the kinds that people have: each is planned, or refused in one line for a right reason."""

import pytest
import yaml
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.study.plan.sweep.file import read_sweep
from parsl_optuna.study.plan.sweep.plan import plan_sweep
from parsl_optuna.tasks.command.run import assembled

HEAD = "program: train.py\nmethod: random\nrun_cap: 3\nmetric: {name: loss, goal: minimize}\n"
ONE = HEAD + "parameters: {lr: {values: [1, 2]}}\n"
BAYES = HEAD.replace("random", "bayes")

PLANNED = {
    "lightning": HEAD + "parameters:\n  model.init_args.lr: {min: 0.001, max: 0.1}\n"
    "command: ['${env}', python, '${program}', fit, --config, c.yaml, '${args}']\n",
    "torchrun": ONE + "command:\n  - torchrun\n  - --nproc_per_node=2\n  - ${program}\n  - ${args}\n",
    "accelerate": ONE
    + "command: [accelerate, launch, --num_processes, 2, '${program}', '${args_no_hyphens}']\n",
    "a module": "method: grid\nparameters: {lr: {values: [1, 2]}}\ncommand: [python, -m, p.train, '${args}']\n",
    "hydra": ONE.replace("lr:", "+optim/lr:") + "command: [python, '${program}', '${args_override_hydra}', "
    "'hydra.run.dir=runs/${now:%Y}/${hydra.job.num}']\n",
    "names with hyphens": HEAD + "parameters: {--lr: {values: [1, 2]}, 'a b': {value: 1}}\n",
    "a byte order mark": "\ufeff" + ONE,
    "infinite values": HEAD + "parameters: {tol: {values: [.inf, 0.1]}}\n",
    "sixty levels": HEAD + "parameters: " + "{a: {parameters: " * 60 + "{x: {value: 1}}" + "}}" * 60 + "\n",
    "values of every type": BAYES + "parameters: {a: {values: [{x: 1}, [1, 2], null, true, 1, 1.0, text]}}\n",
    "a whole number as a real": ONE + "early_terminate: {type: hyperband, max_iter: 27, s: 2.0}\n",
    "a fine step": BAYES + "parameters: {a: {distribution: q_uniform, min: 0, max: 1, q: 0.00001}}\n",
    "no command": ONE + "command:\n",
}
REFUSED = {
    "two documents": (ONE + "---\na: 1\n", "another document"),
    "tabs": (HEAD + "parameters:\n\tlr: {values: [1]}\n", "indent with blanks, not tabs"),
    "nothing": ("", "method: is missing; it is grid, random or bayes"),
    "a list": ("- a\n", "the top level is a list"),
    "a bare value": (HEAD + "parameters: {lr: 0.1}\n", r"lr: must be a mapping such as {value: 0.1}"),
    "a bare list": (HEAD + "parameters: {lr: [1, 2]}\n", r"lr: must be a mapping such as {values: \[1, 2\]}"),
    "an empty parameter": (HEAD + "parameters:\n  lr:\n", "lr: must be a mapping such as {value: 1} or"),
    "a mapping of values": (HEAD + "parameters: {lr: {values: {a: 1}}}\n", "must be a list with at least one"),
    "yes as a name": (HEAD + "parameters: {yes: {value: 1}}\n", "a name is True in YAML 1.1; quote it"),
    "a date": (HEAD + "parameters: {d: {values: [2020-01-01]}}\n", "holds a date, which is no JSON; quote it"),
    "an object": (HEAD + "parameters: {a: !!python/tuple [1]}\n", "not valid YAML: could not determine"),
    "a loop": (HEAD + "parameters: {a: &a {value: [*a]}}\n", "recursive"),
    "bounds beyond 2**53": (HEAD + "parameters: {a: {min: 0, max: 99999999999999999999999}}\n",
                            "below 2[*][*]53 exactly; bounds such as 0.0 make it a real one"),
    "arguments of a program": (ONE.replace("train.py", "train.py --epochs 3"),
                               r"program: no file 'train.py --epochs 3' in .*; give train.py alone"),
    "an infinite bound": (HEAD + "parameters: {a: {min: 0.0, max: .inf}}\n", "its numbers must be finite"),
    "a list of metrics": (ONE.replace("{name: loss, goal: minimize}", "[{name: loss}]"), "metric: must be a mapping"),
    "capitals": (ONE.replace("random", "Random"), "did you mean 'random'"),
    "a launch job": (ONE.replace("program: train.py", "job: a/b/c:latest"), "program: is missing; name the script"),
    "a typing slip in a macro": (ONE + "command: [python, '${program}', '${arg}']\n", "did you mean 'args'"),
    "a real range in a grid": (ONE.replace("random", "grid").replace("values: [1, 2]", "min: 0.0, max: 1.0"),
                               "a grid cannot list 'uniform'"),
    "a sweep that has not run": (ONE.replace("values: [1, 2]", "from: results/x"), "run that sweep first"),
}  # fmt: skip
NOTED = {
    "a macro inside of a word": (
        ONE + "command: [sh, -c, 'python ${program} ${args}']\n",
        "a macro is a word of its own",
    ),
    "a script of the shell": (ONE.replace("train.py", "run.sh"), "write command: [bash, "),
    "nothing to search": (
        BAYES + "parameters: {a: {value: 1}, b: {values: [2], probabilities: [1]}}\n",
        "nothing varies, which is one run",
    ),
    "a number without a point": (HEAD + "parameters: {a: {values: [1e-3]}}\n", "is text in YAML 1.1"),
}
VALUES = (
    [{"x": 1}, [1, 2], None, True, 1, 1.5, "text", "[3]", "5"],
    [float("inf"), 10**20, "a"],
    ["1e-3", "1", 2],
)


def planned(folder, text):
    for name in ("train.py", "run.sh"):
        (folder / name).write_text("")
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return plan_sweep(read_sweep(path), SweepSpec("s.yaml"), "s.yaml $")


@pytest.mark.parametrize("kind", PLANNED)
def test_it_is_planned(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)

    assert planned(tmp_path, PLANNED[kind]).plan.studies[0].max_trials >= 1


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_for_its_reason(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    text, reason = REFUSED[kind]

    with pytest.raises(SpecError, match=reason):
        planned(tmp_path, text)


@pytest.mark.parametrize("kind", NOTED)
def test_it_is_planned_with_a_note(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    text, note = NOTED[kind]

    assert any(note in line for line in planned(tmp_path, text).notes)


def test_a_number_in_quotes_is_no_slip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert planned(tmp_path, HEAD + "parameters: {a: {values: ['1', '-2.5', 'true']}}\n").notes == ()


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("method", ["grid", "bayes"])
def test_a_program_gets_every_value_as_it_is_written(tmp_path, monkeypatch, method, values):
    """Lists beside texts, texts that look like lists, and numbers that JSON does not hold included."""
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump({"method": method, "program": "train.py", "run_cap": 99, "metric": {"name": "loss"},
                           "parameters": {"p": {"values": values}}})  # fmt: skip

    plan = planned(tmp_path, text).plan
    study, problem = plan.studies[0], plan.problems[0].problem
    given = (
        [point.hyperparams["p"] for point in study.points]
        if study.points
        else study.space.dimensions["p"].choices
    )

    assert [assembled(problem, {"p": one})["p"] for one in given] == values
