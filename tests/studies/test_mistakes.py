"""Typical mistakes in a configuration, each one line with file, key and cure: what `tuning` refuses."""

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.tuning import load_run, plan_run

X = "{low: 0.0, high: 1.0}"
OPTUNA = "optuna: {max_trials: 5}"
CONFIG = f"""task: function
problems: [{{function: "f.py:f"}}]
search_space:
  function:
    x: {X}
{OPTUNA}
"""
FUNCTIONS = """
def f(x, y=1.0, kind="a"):
    return x

def positional(*values):
    return 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "f.py").write_text(FUNCTIONS)
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistake(folder, text, assignments=()):
    path = folder / "c.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        plan_run(load_run(path, assignments), "c.yaml")
    return str(caught.value)


def test_the_configuration_itself_is_right(folder):
    path = folder / "c.yaml"
    path.write_text(CONFIG)

    assert plan_run(load_run(path), "c.yaml").studies


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{choices: sgd}", ["x.choices", "must be a list", "'sgd'"]),
        ("{choices: {a: 1}}", ["x.choices", "must be a list"]),
        ("{choices: []}", ["x", "choices is empty"]),
        ("{choices: [[1, 2], [3]]}", ["x", "single value"]),
        ("{choices: [1, 1]}", ["x", "twice"]),
        ("[1, 2]", ["x", "a list is no value", "{choices: [1, 2]}"]),
        ("{values: [1, 2]}", ["x.values", "'choices'"]),
        ("{min: 0, max: 1}", ["x.min", "'low'"]),
        ("{distribution: uniform, low: 0.0, high: 1.0}", ["x.distribution", "'dist'"]),
        ("{low: 2.0, high: 1.0}", ["x", "low 2.0 is above high 1.0"]),
        ('{low: "0", high: 1.0}', ["x.low", "must be a number", "'0'"]),
        ("{low: 0.0, high: 1.0, log: true}", ["x", "log scale needs low above 0"]),
        ("{low: .nan, high: 1.0}", ["x", "finite"]),
        ("{low: 0.0, high: .inf}", ["x", "finite"]),
        ("{low: 0.0}", ["x", "needs low and high"]),
        ("{low: 0, high: 10, step: 0}", ["x", "step 0 must be at least 1"]),
        ("{low: 0, high: 10, step: -1}", ["x", "step -1 must be at least 1"]),
        ("{low: 0, high: 10, step: 20}", ["x", "step 20 is larger than the range"]),
        ("{low: 0.0, high: 1.0, log: yes}", ["x.log", "true or false"]),
        ("{dist: flaot, low: 0.0, high: 1.0}", ["x.dist", "'flaot'", "float"]),
        ("{dist: loguniform, low: 0.1, high: 1.0}", ["x.dist", "log: true"]),
        ("{lo: 0.0, high: 1.0}", ["x.lo", "did you mean 'low'"]),
        ("{type: float, low: 0.0, high: 1.0}", ["x.type", "here it is 'dist'"]),
        ("{low: 0.0, high: 1.0, step: 0}", ["x", "step 0.0 must be a number above 0"]),
        ("{low: 0.0, high: 1.0, step: 2.5}", ["x", "step 2.5 is larger than the range"]),
        ("{low: 0.0, high: 1.0, step: .nan}", ["x", "step nan must be a number above 0"]),
        ('{low: 0.0, high: 1.0, step: "0.1"}', ["x.step", "must be a number"]),
        ("{dist: int, low: 0, high: 9, step: 0.5}", ["x", "step 0.5 must be a whole number"]),
        ("{low: 0.25, high: 8.0, step: 0.1, log: true}", ["x", "low must be a multiple of step"]),
        ("{low: 0.0, high: 1.0, ordered: true}", ["x", "ordered goes with choices"]),
        ("{choices: [1, 2], ordered: 1}", ["x.ordered", "true or false"]),
        ("{choices: [1, 2], low: 0}", ["x", "low goes with a range"]),
        ("{choices: [1, 2], log: true}", ["x", "log goes with a range"]),
    ],
)
def test_a_dimension(folder, written, words):
    text = mistake(folder, CONFIG.replace(X, written))

    assert "c.yaml" in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("{kimd: a}", ["y.when.kimd", "did you mean 'kind'"]),
        ("{kind: A}", ["y.when.kind", "'A' is none of its values", "a"]),
        ("{kind: [a, c]}", ["y.when.kind", "'c' is none of its values"]),
        ("{kind: []}", ["y.when.kind", "names no value"]),
        ("{kind: {a: b}}", ["y.when.kind", "a value or a list of values"]),
        ("kind=a", ["y.when", "must be a mapping", "{optimizer: sgd}"]),
        ("{}", ["y.when", "must be a mapping"]),
        ("{x: 0.5}", ["y.when.x", "choices, steps or whole numbers"]),
        ("{y: 0.5}", ["y.when.y", "no other parameter"]),
        ("{z: a}", ["y.when.z", "unknown parameter"]),
    ],
)
def test_a_condition(folder, when, words):
    space = f"    x: {X}\n    kind: {{choices: [a, b]}}\n    y: {{low: 0.0, high: 1.0, when: {when}}}\n"

    text = mistake(folder, CONFIG.replace(f"    x: {X}\n", space))

    assert "c.yaml $.search_space.function.y.when" in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            "    kind: {choices: [a, b]}\n    x: {low: 0.0, high: 1.0, when: {kind: a}}\n",
            ["function.x.when", "no default", "give it one"],
        ),
        (
            f"    x: {X}\n    y: {{choices: [1, 2], when: {{kind: a}}}}\n"
            "    kind: {choices: [a, b], when: {y: 1}}\n",
            ["when", "in a circle"],
        ),
        (f"    x: {X}\n    y: {{low: 0.0, high: 1.0, when: {{kind: a}}}}\n", ["y.when.kind", "varies here"]),
    ],
)
def test_a_condition_among_others(folder, space, words):
    text = mistake(folder, CONFIG.replace(f"    x: {X}\n", space))

    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("optuna", "words"),
    [
        ("objectives: [loss, size]", ["warm_start", "several objectives"]),
        ("across: rank", ["warm_start", "across: rank"]),
    ],
)
def test_a_warm_start_that_would_teach_nothing(folder, optuna, words):
    text = mistake(folder, CONFIG.replace(OPTUNA, f"optuna: {{{optuna}}}\nwarm_start: [{{table: t.csv}}]"))

    assert all(word in text for word in words), text


def test_a_bound_without_quotes_on_a_line_of_its_own(folder):
    text = mistake(folder, CONFIG.replace(OPTUNA, "optuna:\n  constraints:\n    memory_gb: >= 16\n"))

    assert "line 8: not valid YAML" in text
    assert "quote the text" in text


def test_a_guess_of_an_inactive_value(folder):
    space = f"    x: {X}\n    kind: {{choices: [a, b]}}\n    y: {{low: 0.0, high: 1.0, when: {{kind: a}}}}\n"

    text = mistake(
        folder, CONFIG.replace(f"    x: {X}\n", space) + "enqueue: {function: [{kind: b, y: 0.5}]}\n"
    )

    assert "enqueue.function[0].y: is inactive at kind = b" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    x:", "    y:", ["search_space.function.x", "is missing"]),
        ("    x:", "    z:", ["search_space.function.z", "no such argument"]),
        (f"    x: {X}\n", "", ["search_space.function", "must be a mapping"]),
        ("    x:", "    1:", ["search_space.function", "in quotes"]),
        ("  function:", "  functoin:", ["search_space.functoin", "did you mean 'function'"]),
        ("task: function", "task: functon", ["$.task", "did you mean 'function'"]),
        ("f.py:f", "nowhere.py:f", ["problems[0].function", "no file 'nowhere.py'"]),
        ("f.py:f", "f.py:ff", ["problems[0].function", "did you mean 'f'"]),
        ("f.py:f", "f.py", ["problems[0].function", "FILE.py:NAME"]),
        ("f.py:f", "f.py:positional", ["problems[0].function", "positional"]),
        ("f.py:f", "broken.py:f", ["problems[0].function", "no Python"]),
        ('[{function: "f.py:f"}]', '{function: "f.py:f"}', ["$.problems", "must be a list"]),
        ('[{function: "f.py:f"}]', "f.py:f", ["$.problems", "must be a list"]),
        ('[{function: "f.py:f"}]', "[]", ["problems is empty"]),
        ('"f.py:f"}', '"f.py:f"}, {function: "f.py:f"}', ["problems[1]", "same problem as problems[0]"]),
        ('"f.py:f"}', '"f.py:f", args: {q: 1}}', ["args.q", "no such argument"]),
        ('"f.py:f"}', '"f.py:f", args: {x: 1}}', ["function.x", "constant in args"]),
        ('"f.py:f"}', '"f.py:f", arg: {x: 1}}', ["problems[0].arg", "did you mean 'args'"]),
        ("  function:", "\tfunction:", ["line 4", "not valid YAML"]),
        ("task: function", "task: function\ntask: command", ["'task' appears twice"]),
    ],
)
def test_problems_and_spaces(folder, old, new, words):
    text = mistake(folder, CONFIG.replace(old, new, 1))

    assert "c.yaml" in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('max_trials: "5"', ["optuna.max_trials", "whole number", "'5'"]),
        ("max_trials: 5.5", ["optuna.max_trials", "whole number"]),
        ("max_trials: 0", ["max_trials 0", "above 0"]),
        ("max_trials: -5", ["max_trials -5", "above 0"]),
        ("n_trials: 5", ["optuna.n_trials", "did you mean 'max_trials'"]),
        ("method_budget_sec: .inf", ["method_budget_sec", "finite"]),
        ("method_budget_sec: .nan", ["method_budget_sec", "above 0"]),
        ('method_budget_sec: "1h"', ["method_budget_sec", "must be a number"]),
        ("sampler: tpee", ["sampler", "did you mean 'tpe'"]),
        ("sampler: {nam: tpe}", ["sampler", "name is missing"]),
        ("sampler: 3", ["sampler", "must be a name"]),
        ("sampler: 'own:'", ["sampler", "module:Class"]),
        ("sampler: 'nowhere:Own'", ["optuna.sampler", "'nowhere' cannot be imported"]),
        ("sampler: 'nowhere.py:Own'", ["optuna.sampler", "no file or package 'nowhere.py'"]),
        ("sampler: 'broken.py:Own'", ["optuna.sampler", "'broken.py' cannot be imported: SyntaxError"]),
        ("sampler: 'f.py:f'", ["optuna.sampler", "no subclass of Optuna's BaseSampler"]),
        ("sampler: 'optuna.samplers:TPESampelr'", ["optuna.sampler", "did you mean 'TPESampler'"]),
        ("sampler: {name: tpe, multivariat: true}", ["sampler.multivariat", "did you mean 'multivariate'"]),
        ("sampler: {name: tpe, seed: 1}", ["sampler.seed", "set by the study"]),
        ("sampler: {name: 'optuna.samplers:TPESampler', seed: 1}", ["sampler.seed", "set by the study"]),
        ("sampler: {name: 'optuna.samplers:TPESampler', gama: 1}", ["sampler.gama", "did you mean 'gamma'"]),
        ("sampler: {name: partial_fixed, fixed_params: {z: 1}}", ["fixed_params.z", "does not vary"]),
        ("sampler: {name: partial_fixed, fixed_params: {x: 7}}", ["fixed_params.x", "outside"]),
        ("pruner: 'optuna.pruners:BasePruner'", ["optuna.pruner", "raised TypeError", "abstract"]),
        ("pruner: {name: median, n_warmup: 1}", ["pruner.n_warmup", "no such parameter"]),
        ("pruner: meadian", ["pruner", "did you mean 'median'"]),
        ("objective: absolute", ["objective", "did you mean 'abs'"]),
        ("replicates: 0", ["replicates 0", "above 0"]),
        ("patience: 0", ["patience 0", "above 0"]),
        ("across: mean", ["optuna.across", "two problems"]),
        ("confirm: -1", ["confirm -1", "at least 0"]),
        ("constraints: {memory_gb: 16}", ["optuna: constraints.memory_gb", "'<= 16'"]),
        ("constraints: {memory_gb: < 16}", ["constraints.memory_gb", "write <="]),
        ("constraints: {memory_gb: >= 16}", ["line 6", "not valid YAML", "quote the text"]),
        ("constraints: memory_gb <= 16", ["constraints", "must be a mapping"]),
        ("constraints: {m: <= 1}, sampler: cmaes", ["optuna.sampler", "knows no constraints"]),
        ("constraint: {memory_gb: <= 16}", ["optuna.constraint", "did you mean 'constraints'"]),
    ],
)
def test_the_block_optuna(folder, written, words):
    text = mistake(folder, CONFIG.replace(OPTUNA, f"optuna: {{{written}}}"))

    assert "c.yaml" in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("search-space: {}", ["$.search-space", "did you mean 'search_space'"]),
        ("constraints: {m: <= 1}", ["$.constraints", "belongs into the block 'optuna'"]),
        ("max_trials: 5", ["$.max_trials", "belongs into the block 'optuna'"]),
        ("walltime: 1", ["$.walltime", "belongs into the block 'cluster'"]),
        ("cluster: {partitoin: cpu}", ["cluster.partitoin", "did you mean 'partition'"]),
        ("cluster: {walltime: 4h}", ["cluster", "HH:MM:SS"]),
        ("cluster: {cores: all}", ["cluster.cores", "whole number"]),
        ("limits: {memory: 4}", ["limits.memory", "did you mean 'memory_gb'"]),
        ("enqueue: {function: [{x: 3}]}", ["enqueue.function[0].x", "outside the search space"]),
        ("enqueue: {function: {x: 0.5}}", ["enqueue.function", "must be a list"]),
        ("enqueue: [{x: 0.5}]", ["$.enqueue", "must be a mapping"]),
        ("warm_start: [{table: nowhere.parquet}]", ["warm_start[0].table", "no such file"]),
        ("enqueue: {function: [{x: .nan}]}", ["enqueue.function[0].x", "outside the search space"]),
        ("methods: [fun]", ["methods[0]", "did you mean 'function'"]),
        ("artifacts_dir: 5", ["artifacts_dir", "must be a string"]),
    ],
)
def test_other_blocks(folder, line, words):
    text = mistake(folder, f"{CONFIG}{line}\n")

    assert "c.yaml" in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("partitoin=cpu", ["partitoin", "did you mean 'partition'"]),
        ("optuna.max_trails=3", ["optuna.max_trails", "did you mean 'max_trials'"]),
        ("partition", ["KEY=VALUE"]),
        ("optuna.max_trials=many", ["optuna.max_trials", "whole number"]),
    ],
)
def test_an_assignment(folder, assignment, words):
    text = mistake(folder, CONFIG, [assignment])

    assert all(word in text for word in words), text
