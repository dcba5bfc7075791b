"""What the documents say exists and works."""

import contextlib
import json
import re
import shlex

import numpy as np
import parsl_optuna
import pytest
import yaml
from click.testing import CliRunner
from parsl_optuna.cli.autoencoder import command as autoencoder
from parsl_optuna.cli.main import commands
from parsl_optuna.core.spec import SweepSpec
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.forecast import forecast
from parsl_optuna.study.plan.fixed import load_fixed, plan_fixed
from parsl_optuna.study.plan.sweep.file import read_sweep, sources
from parsl_optuna.study.plan.sweep.plan import plan_sweep
from parsl_optuna.study.plan.sweep.winners import Earlier, Winners
from parsl_optuna.study.plan.tuning import load_run, plan_run

from docs.generate import REFERENCES
from docs.messages import GROUPS, NO_MESSAGES, PACKAGE, group_of, messages
from tests.conftest import ROOT
from tests.e2e.command import run

OTHERS = {".venv", ".venv-wandb", ".pytest_cache", "build"}
DOCUMENTS = [path for path in ROOT.rglob("*.md") if not OTHERS & set(path.relative_to(ROOT).parts)]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_every_command_in_the_readme_exists():
    named = set(re.findall(r"^parsl-optuna ([a-z]+)", README, re.MULTILINE))

    assert named <= set(commands())


def test_every_public_name_is_in_the_reference_of_the_python_api():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^\.\. auto(?:class|function):: [\w.]*?(\w+)$", page, re.MULTILINE))

    assert set(parsl_optuna.__all__) - {"__version__"} <= listed


@pytest.mark.parametrize("name", REFERENCES)
def test_the_references_are_what_the_code_says(name):
    assert (ROOT / "docs" / name).read_text() == REFERENCES[name](), "run: make docs"


def test_every_message_has_a_group_that_says_what_to_do():
    found = messages()

    assert [one for one in found if group_of(one.file) is None] == [], "give it a group in docs/messages.py"
    assert {group_of(one.file).title for one in found} == {group.title for group in GROUPS}
    assert all(group.cure for group in GROUPS)


def test_the_groups_of_messages_name_files_that_exist():
    for name in [*(name for group in GROUPS for name in group.files), *NO_MESSAGES]:
        assert (PACKAGE / name).exists(), name


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("store/lease.py", "held by process"),  # raised
        ("execution/slurm.py", "the partition is down"),  # one of a table
        ("study/plan/sweep/early.py", "no run will be stopped early"),  # a note
        ("worker/supervise.py", "after its budget of"),  # why a trial ended
    ],
)
def test_messages_of_every_kind_are_found(file, words):
    assert any(one.file == file and words in one.text for one in messages())


def test_every_option_of_the_contract_is_documented():
    out, _ = run("parsl-optuna", "run", "--help")

    for option in re.findall(r"--[a-z][a-z-]+", GUIDE.split("## Tune")[1].split("## Where")[0]):
        assert option in out


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_binds(path, tmp_path):
    data = yaml.safe_load(path.read_text())
    if "samplers" in data:
        assert plan_fixed(load_fixed(path), str(path), {}).studies
    else:
        assert forecast(plan_run(load_run(path), str(path)), ArtifactStore(tmp_path))


@pytest.mark.parametrize("path", sorted((ROOT / "config/sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_every_sweep_binds(path, tmp_path):
    winner = {"pruning_strategy": "plummet", "plummet_threshold": 0.05, "cdf_threshold": 0.99,
              "percentile": 0.05, "alpha": 0.0, "temperature": 1.0}  # fmt: skip
    row = {
        "pid": "p",
        "problem": "any",
        "state": "ok",
        "objective": 1.0,
        "hyperparams_json": json.dumps(winner),
    }
    sweep = read_sweep(path)
    winners = Winners(dict.fromkeys(sources(sweep), Earlier([row])))
    np.save(tmp_path / "designs.npy", np.random.default_rng(0).random((10, 8, 8)))
    spec = SweepSpec(str(path), data={"photonics2d": str(tmp_path / "designs.npy")})
    bound = plan_sweep(sweep, spec, f"{path} $", winners)

    assert bound.plan.studies
    assert not any("no effect here" in note for note in bound.notes)
    said = re.search(r"(\d+) runs", path.read_text().partition("\n")[0])
    if path.name.startswith("full-") and said:
        runs = sum(study.max_trials for study in bound.plan.studies)
        assert runs == pytest.approx(int(said.group(1)), abs=2)  # a search per problem takes whole runs


def test_the_guide_s_configurations_bind(tmp_path):
    whole, cluster = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    path = tmp_path / "readme.yaml"
    path.write_text(whole + cluster)

    spec = load_run(path)

    assert len(plan_run(spec, str(path)).studies) == 3
    assert spec.cluster.workers_per_node == 4


def test_the_guides_of_tasks_show_yaml_that_binds(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    first, second = (
        re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "tasks" / name).read_text(), re.DOTALL)
        for name in ("function.md", "llc.md")
    )
    function = re.sub(r"^optuna: .*\n", "", first[0], flags=re.MULTILINE) + first[1]
    for text, n_studies in ((first[0], 1), (function, 1), (second[0] + "methods: [sgld]\n", 1)):
        path = tmp_path / "shown.yaml"
        path.write_text(text)

        assert len(plan_run(load_run(path), str(path)).studies) == n_studies


def test_commands_with_files_name_files_that_exist():
    for line in re.findall(r"^(?:parsl-optuna|parsl-llc) .*$", README, re.MULTILINE):
        for word in shlex.split(line, comments=True):
            if "/" in word and not word.startswith(("artifacts", "FILE", "sqlite:")):
                assert (ROOT / word).exists(), word


def test_what_the_troubleshooting_page_quotes_is_said():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    said = [" ".join(one.text.split()) for one in messages()]
    quoted = [
        quote
        for line in re.findall(r"\*\*You see\*\* (.*)", page)
        for quote in re.findall(r"`([^`]*…[^`]*)`", line)
    ]

    assert len(quoted) > 15
    assert [quote for quote in quoted if not any(quote in text for text in said)] == []


GUIDE_OF_LAYERS = (ROOT / "docs" / "tasks" / "autoencoder.md").read_text()
FEATURES = sorted(set(re.findall(r"\| `(--[^`]*)` \|", GUIDE_OF_LAYERS)) - {"--parsl-config slurm"})


def search_layers(folder, *words):
    """Run the command of the guide with more options, within this process; return what it prints."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(autoencoder, [*words, "--inline"], catch_exceptions=False).output


def problems(folder):
    store = ArtifactStore(folder / "artifacts")
    return [store.problem(pid) for pid in store.problem_ids()]


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """A folder in which the command of the guide ran, its arguments, and the id of its best trial."""
    folder = tmp_path_factory.mktemp("layers")
    words = re.search(r"^parsl-autoencoder (.* demo)$", GUIDE_OF_LAYERS, re.MULTILINE)[1].split()
    search_layers(folder, *words)
    found = json.loads((folder / "output" / "hyperparam_results_latent2.json").read_text())
    return folder, words, found["best_configuration"]["trial_id"]


@pytest.mark.system
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_of_the_autoencoder_has_a_command_that_works(layers, feature):
    folder, words, best = layers

    out = search_layers(folder, *words, *feature.replace("ID", best).split())

    assert "COMPLETED" in out
    assert {problem["label"] for problem in problems(folder)} == {"made-up class periods"}
    row = re.escape(f"`{feature}` | ")
    said = re.search(rf"{row}`(\d configurations|Ensemble of the best \d)", GUIDE_OF_LAYERS)
    assert said is None or said[1] in out


def test_the_guide_of_layers_has_a_row_for_every_option_that_shows_a_feature():
    assert len(FEATURES) >= 12
