import pytest
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import TaskError
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.varmix import TASK
from parsl_optuna.tasks.varmix.params import irrelevant

SMALL = {"n_latent": 8, "n_clusters": 10, "n_steps": 300, "kl_warmup_steps": 100, "lr_warmup_steps": 20}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    problem = TASK.resolve({}, "p $")
    prepare_task(TASK, problem, folder)
    return problem, folder


def run(where, checkpoint=None, told=None, **params):
    problem, folder = where
    complete = TASK.complete(problem, "varmix", SMALL | params, "p $")
    told = [] if told is None else told
    return run_task(
        TASK,
        Work(problem, "varmix", complete, 1, Deadline(100), folder, checkpoint or Checkpoint(),
             lambda *one: told.append(one)),
    )  # fmt: skip


def test_clusters_of_digits_are_found(digits):
    told = []
    metrics = run(digits, told=told)

    assert metrics["nmi"] > 0.6
    assert metrics["active"] >= 6
    assert metrics["nmi_loss"] == 1 - metrics["nmi"]
    assert metrics["kmeans_nmi"] > 0.6
    assert [step for step, _ in told] == list(range(15, 301, 15))


@pytest.mark.slow
def test_a_faster_rho_conjugates_and_without_the_penalty_nothing_does(digits):
    slow, fast, free = (
        run(digits, n_steps=400, rho_lr=rho_lr, conj_weight=weight)["r2"]
        for rho_lr, weight in ((1.0, 0.1), (30.0, 0.1), (30.0, 0.0))
    )

    assert fast > slow + 0.3
    assert fast > free + 0.3


class Interrupted(Exception):
    pass


class Stopping(Checkpoint):
    def __init__(self, folder, count):
        super().__init__(folder)
        self.left = count

    def due(self):
        self.left -= 1
        return self.left == 0

    def save(self, content):
        super().save(content)
        raise Interrupted


@pytest.mark.parametrize("mode", ["gradient", "analytical"])
def test_interrupted_is_uninterrupted_to_the_last_digit(digits, tmp_path, mode):
    settings = {"n_steps": 60, "mode": mode}
    whole = run(digits, **settings)
    with pytest.raises(Interrupted):
        run(digits, Stopping(tmp_path, 37), **settings)

    assert run(digits, Checkpoint(tmp_path), **settings) == whole


@pytest.mark.parametrize("settings", [{"interaction": "hierarchical"}, {"mode": "analytical"}])
def test_the_other_forms_train_too(digits, settings):
    assert run(digits, **settings)["nmi"] > 0.3


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        ({"conj_weight": 0.0}, {"conj_warmup_steps": 7, "prior_samples": 9}),
        ({"mode": "analytical"}, {"rho_lr": 30.0}),
    ],
)
def test_what_is_called_irrelevant_changes_nothing(digits, settings, others):
    assert irrelevant("varmix", settings) == set(others)
    assert run(digits, n_steps=20, **settings, **others) == run(digits, n_steps=20, **settings)
    assert run(digits, n_steps=20, **others) != run(digits, n_steps=20)


def test_a_loss_that_is_not_finite_is_an_error(digits):
    with pytest.raises(TaskError, match="a smaller learning_rate may help"):
        run(digits, learning_rate=1e30)
