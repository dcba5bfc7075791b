"""What training scripts do with wandb, against the stand-in and, where it is installed, against the real one.

All of it runs in one process for each: the real one takes seconds to start.
"""

import importlib.util
import json
import math
import os
import runpy
import subprocess
import sys

import pytest
from parsl_optuna.tasks.command.run import _STANDIN_INFO, _TEE

BASIC = "run = wandb.init(project='p')\n"

# name: (program, what is heard of it in the end); the sweep gives lr = 0.5
PROGRAMS = {
    "parsed arguments": (
        "import argparse\nargs = argparse.Namespace(lr=0.1, depth=3)\nwandb.init(project='p')\n"
        "wandb.config.update(args)\nwandb.log({'loss': wandb.config.lr, 'depth': wandb.config['depth']})",
        {"loss": 0.5, "depth": 3},
    ),
    "config as arguments": (
        "import argparse\nwandb.init(config=argparse.Namespace(lr=0.1, depth=2))\n"
        "wandb.log({'loss': wandb.config.lr * wandb.config.get('depth', 0)})",
        {"loss": 1.0},
    ),
    "config of a file": (
        "open('c.yaml', 'w').write('wandb_version: 1\\nlr:\\n  value: 0.1\\nwidth:\\n  value: 7\\n')\n"
        "wandb.init(config='c.yaml')\nwandb.log({'loss': wandb.config.lr, 'width': wandb.config.width})",
        {"loss": 0.5, "width": 7},
    ),
    "defaults": (
        BASIC + "wandb.config.setdefaults({'lr': 9, 'a': 1})\nwandb.config.setdefaults({'a': 2})\n"
        "wandb.log({'a': wandb.config.a, 'lr': wandb.config.lr})",
        {"a": 1, "lr": 0.5},
    ),
    "a value of the sweep stays": (
        BASIC + "wandb.config.lr = 3\nwandb.config.update({'lr': 4}, allow_val_change=True)\n"
        "run.config['lr'] = 5\nwandb.log({'lr': wandb.config.lr})",
        {"lr": 0.5},
    ),
    "a value changes only where it may": (
        BASIC + "wandb.config.a = 1\n"
        "try:\n    wandb.config.a = 2\nexcept wandb.Error:\n    wandb.log({'refused': 1})\n"
        "wandb.config.update({'a': 2}, allow_val_change=True)\nwandb.log({'a': wandb.config.a})",
        {"refused": 1, "a": 2},
    ),
    "config as mapping": (
        "wandb.init(config={'a': 1, 'net': {'depth': 2}})\n"
        "wandb.log({'n': len(dict(wandb.config)), 'has': 'a' in wandb.config.keys(), "
        "'depth': wandb.config.net['depth'], 'gone': hasattr(wandb.config, 'zzz'), "
        "'items': len(list(wandb.config.items())), 'plain': wandb.config.as_dict()['a']})",
        {"n": 3, "has": True, "depth": 2, "gone": False, "items": 3, "plain": 1},
    ),
    "steps": (
        BASIC + "for epoch in range(3):\n    wandb.log({'loss': 3 - epoch}, commit=False)\n"
        "    run.log({'acc': epoch}, step=epoch)\nwandb.log({'late': 1}, step=0)",
        {"loss": 1, "acc": 2},
    ),
    "nested": (
        BASIC + "wandb.log({'val': {'loss': 1.5, 'acc': {'top1': 2}}})",
        {"val.loss": 1.5, "val.acc.top1": 2},
    ),
    "numbers of numpy": (
        "import numpy as np\n" + BASIC +
        "wandb.log({'a': np.float32(0.5), 'b': np.int64(3), 'c': np.array(2.0)})",
        {"a": 0.5, "b": 3, "c": 2.0},
    ),
    "media": (
        "import numpy as np\n" + BASIC + "wandb.log({'h': wandb.Histogram([1, 2, 3]), "
        "'i': wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8), caption='x'), 'loss': 1})\n"
        "def show(picture: wandb.Image | None) -> None: ...\n"
        "assert isinstance(wandb.Histogram([1]), wandb.Histogram)",
        {"loss": 1},
    ),
    "tables": (
        BASIC + "table = wandb.Table(columns=['x', 'y'], data=[[1, 2]])\ntable.add_data(3, 4)\n"
        "wandb.log({'t': table, 'p': wandb.plot.line(table, 'x', 'y', title='t'), 'rows': len(table.data)})",
        {"rows": 2},
    ),
    "summary": (
        BASIC + "wandb.log({'loss': 2})\nrun.summary['best'] = 1\nwandb.summary['worst'] = 9\n"
        "wandb.run.summary.update({'mid': 5})\nwandb.log({'seen': run.summary['best']})",
        {"loss": 2, "best": 1, "worst": 9, "mid": 5, "seen": 1},
    ),
    "the best of a history": (
        BASIC + "wandb.define_metric('epoch')\n"
        "wandb.define_metric('loss', step_metric='epoch', summary='min')\n"
        "run.define_metric('acc', summary='max')\n"
        "for epoch, (loss, acc) in enumerate([(3, .1), (1, .9), (2, .5)]):\n"
        "    wandb.log({'epoch': epoch, 'loss': loss, 'acc': acc})",
        {"epoch": 2, "loss": 1, "loss.min": 1, "acc": 0.9, "acc.max": 0.9},
    ),
    "a summary of one's own": (
        BASIC + "run.define_metric('loss', summary='min')\nrun.define_metric('acc', summary='max')\n"
        "for v in (3, 1, 2):\n    run.log({'loss': v, 'acc': v})\n"
        "run.summary['loss'] = 0.5\nrun.summary['acc'] = 9\nrun.log({'acc': 4})",
        {"loss": 0.5, "acc": 4},
    ),
    "a name before its pattern": (
        BASIC + "run.define_metric('*', step_metric='epoch')\nrun.define_metric('val/*', summary='max')\n"
        "run.define_metric('val/loss', summary='min')\nrun.define_metric('val/lr', step_metric='epoch')\n"
        "for v in (1, 3, 2):\n    run.log({'val/loss': v, 'val/lr': v})",
        {"val/loss": 1, "val/loss.min": 1, "val/lr": 2},
    ),
    "definitions add up": (
        BASIC + "for kind in ('min', 'max'):\n    run.define_metric('a', summary=kind)\n"
        "    run.define_metric('b', summary=kind, overwrite=True)\nrun.define_metric('c', summary='min')\n"
        "run.define_metric('c', summary='none')\nfor v in (1, 3, 2):\n    run.log({'a': v, 'b': v, 'c': v})",
        {"a": 1, "a.min": 1, "a.max": 3, "b": 3, "b.max": 3, "c": 2},
    ),
    "inside of a summary": (
        BASIC + "run.log({'loss': 3})\nrun.summary['deep'] = {}\nrun.summary['deep']['a'] = {'b': 1}",
        {"loss": 3, "deep.a.b": 1},
    ),
    "online without an account": (
        "run = wandb.init(project='p', mode='online')\nrun.log({'loss': 4})",
        {"loss": 4},
    ),
    "all of a disabled run": (
        "run = wandb.init(settings=wandb.Settings(mode='disabled'))\nwandb.define_metric('loss', summary='min')\n"
        "for v in (1, 2):\n    wandb.log({'loss': v})\nrun.summary['a'] = 5\nwandb.summary.update({'b': 6})",
        {"loss": 1, "loss.min": 1, "a": 5, "b": 6},
    ),
    "a context": ("with wandb.init(project='p', mode='offline') as run:\n    run.log({'loss': 4})", {"loss": 4}),
    "disabled": ("run = wandb.init(mode='disabled')\nrun.log({'loss': 4})\nwandb.finish()", {"loss": 4}),
    "two runs": (
        "for k in range(2):\n    run = wandb.init(project='p', reinit=True)\n    run.log({'loss': k})\n    run.finish()",
        {"loss": 1},
    ),
    "finished": (
        BASIC + "wandb.log({'loss': 1})\nwandb.finish()\n"
        "try:\n    run.log({'loss': 2})\nexcept wandb.Error:\n    pass",
        {"loss": 1},
    ),
    "a run of a sweep": (
        "import os\nwandb.setup()\n" + BASIC + "wandb.log({'sweep': run.sweep_id, 'seen': os.environ['WANDB_SWEEP_ID'], "
        "'told': getattr(run._settings, 'sweep_id', None) is None if hasattr(run, '_settings') else True})",
        {"sweep": "s1", "seen": "s1", "told": True},
    ),
    "before init": (
        "caught = []\nfor call in (lambda: wandb.log({'a': 1}), lambda: wandb.config.a):\n"
        "    try:\n        call()\n    except wandb.Error:\n        caught.append(1)\n"
        "wandb.init()\nwandb.log({'caught': len(caught)})",
        {"caught": 2},
    ),
    "errors": (
        "from wandb.errors import CommError, UsageError\n"
        "assert issubclass(CommError, wandb.Error) and issubclass(UsageError, wandb.errors.Error)\n" + BASIC +
        "try:\n    run.log(3)\nexcept (TypeError, ValueError):\n    wandb.log({'loss': 1})",
        {"loss": 1},
    ),
    "no such name": (
        BASIC + "try:\n    wandb.lgo({'loss': 1})\nexcept AttributeError:\n    wandb.log({'loss': 2})",
        {"loss": 2},
    ),
    "artifacts": (
        BASIC + "open('m.txt', 'w').write('x')\nartifact = wandb.Artifact('model', type='model', metadata={'a': 1})\n"
        "artifact.add_file('m.txt')\nwith artifact.new_file('n.txt') as stream: stream.write('y')\n"
        "run.log_artifact(artifact, aliases=['best'])\nwandb.log({'loss': artifact.metadata['a']})",
        {"loss": 1},
    ),
    "artifacts of elsewhere": (
        BASIC + "try:\n    run.use_artifact('a/b/c:latest')\nexcept Exception:\n    wandb.log({'refused': 1})",
        {"refused": 1},
    ),
    "attributes of a run": (
        "run = wandb.init(project='p', name='n', group='g', job_type='j', tags=['t'], notes='x', id='abc123',"
        " save_code=False, resume='allow', anonymous=None, settings=wandb.Settings(console='off'))\n"
        "import os\nassert os.path.isdir(run.dir) and run.id == 'abc123' and run.name == 'n'\n"
        "assert (run.project, run.group, run.job_type, tuple(run.tags)) == ('p', 'g', 'j', ('t',))\n"
        "assert wandb.run is run and run.step == 0 and isinstance(run.start_time, float)\n"
        "run.notes = 'y'\nrun.tags = run.tags + ('u',)\nrun.name = 'm'\nwandb.log({'step': run.step})",
        {"step": 0},
    ),
    "classes below wandb": (
        "from wandb.sdk.wandb_run import Run\nimport wandb.sdk\nfrom wandb.wandb_run import Run as Old\n"
        "from wandb.sdk.lib import RunDisabled\n" + BASIC +
        "assert isinstance(run, Run) and isinstance(run, wandb.sdk.wandb_run.Run) and isinstance(run, wandb.Run)\n"
        "wandb.log({'loss': isinstance(run, (Old, RunDisabled))})",
        {"loss": True},
    ),
    "helpers": (
        "wandb.login()\n" + BASIC + "wandb.watch([])\nwandb.save('*.nothing')\n"
        "wandb.termlog('x')\nwandb.termwarn('y')\nrun.alert('t', 'x', level=wandb.AlertLevel.INFO)\n"
        "wandb.require('core')\nrun.log_code('.')\nwandb.log({'loss': 1})",
        {"loss": 1},
    ),
    "an agent": (
        "def train():\n    with wandb.init() as run:\n        run.log({'loss': run.config.lr})\n"
        "sweep = wandb.sweep({'method': 'grid', 'parameters': {'lr': {'values': [1]}}}, project='p')\n"
        "wandb.agent(sweep, function=train, count=5)",
        {"loss": 0.5},
    ),
    "texts and truth": (BASIC + "wandb.log({'t': 'abc', 'b': True, 'none': None, 'list': [1]})", {"t": "abc", "b": True}),
    "not finished": (BASIC + "wandb.log({'loss': 1}, commit=False)", {"loss": 1}),
}  # fmt: skip

DRIVER = """
import json, os, sys, traceback
import wandb
wrong = {}
for name, text in json.load(open('programs.json')).items():
    os.environ['PARSL_OPTUNA_WANDB_LOG'] = os.path.abspath(name.replace(' ', '_') + '.jsonl')
    try:
        exec(text, {'wandb': wandb, '__name__': '__main__'})
    except BaseException:
        wrong[name] = traceback.format_exc()
    wandb.finish()
json.dump({'wrong': wrong, 'version': wandb.__version__}, open('report.json', 'w'))
"""


def heard(path):
    """Return the metrics as the program's task takes them in: the last value of each, summaries after all."""
    metrics = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        data = json.loads(line)
        data.pop("_step", None)
        data.pop("_disabled", None)
        metrics |= data.pop("_summary", data)
    return metrics


def test_a_minimum_is_no_number_once_a_value_is_none(monkeypatch):
    monkeypatch.delenv("PARSL_OPTUNA_WANDB_LOG", raising=False)
    recorder = runpy.run_path(str(_TEE.parent / "standin/wandb/_record.py"))["Recorder"]()
    recorder.define("loss", "min", None)
    for value in (3.0, float("nan"), 1.0):
        recorder.log({"loss": value}, None, None)
    recorder.finish()

    assert math.isnan(recorder.summary["loss"])


def carried_out(folder, paths):
    (folder / "programs.json").write_text(json.dumps({name: text for name, (text, _) in PROGRAMS.items()}))
    (folder / "p.py").write_text(DRIVER)
    (folder / "sweep.json").write_text(json.dumps({"wandb_version": 1, "lr": {"value": 0.5}}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "WANDB_SWEEP_PARAM_PATH": str(folder / "sweep.json"),
        "PARSL_OPTUNA_SCRATCH": str(folder),
        "NETRC": str(folder / "none"),
        "WANDB_SILENT": "true",
        "WANDB_SWEEP_ID": "s1",
    }
    subprocess.run([sys.executable, "p.py"], cwd=folder, env=environment, check=True)
    return folder, json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin")
    return carried_out(folder, [_TEE.parent / "standin", _STANDIN_INFO])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    return carried_out(tmp_path_factory.mktemp("real"), [_TEE])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("backend", ["standin", "real"])
def test_a_program_is_heard_alike(request, backend, name):
    folder, report = request.getfixturevalue(backend)

    assert report["wrong"].get(name) is None, report["wrong"][name]
    assert heard(folder / f"{name.replace(' ', '_')}.jsonl") == PROGRAMS[name][1]


def test_the_stand_in_has_a_version_that_packages_can_ask_for(standin, tmp_path):
    text = "from importlib.metadata import version\nprint(version('wandb'))"
    environment = os.environ | {"PYTHONPATH": str(_STANDIN_INFO)}
    found = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "0.31.0"
    assert standin[1]["version"].startswith("0.31.0")


def test_the_real_one_leaves_its_folder_for_wandb_sync(real):
    assert list(real[0].glob("wandb/offline-run-*/*.wandb"))
