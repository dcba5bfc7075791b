import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.load import structure
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.lvae import TASK
from parsl_optuna.tasks.lvae.model import Decoder, encoder
from parsl_optuna.tasks.lvae.params import Params
from parsl_optuna.tasks.lvae.train import Trainer, load_designs

SMALL = {"n_epochs": 60, "batch_size": 32, "lr": 5e-3, "latent_dim": 6, "pruning_epoch": 30,
         "polynomial_schedule_n": 10, "width": 16}  # fmt: skip


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("sheet"), problem_id="sheet", n_designs=200)


def prepared(folder, **raw):
    problem = TASK.resolve(raw, "p $")
    prepare_task(TASK, problem, folder)
    return problem, folder


def run(where, checkpoint=None, told=None, replicate=0, files=None, **params):
    problem, folder = where
    complete = TASK.complete(problem, "lvae", SMALL | params, "p $")
    told = [] if told is None else told
    return run_task(
        TASK,
        Work(
            problem,
            "lvae",
            complete,
            1,
            Deadline(60),
            folder,
            checkpoint or Checkpoint(),
            lambda step, metrics: told.append((step, metrics)),
            replicate,
            files,
        ),
    )


def plain(metrics):
    return {name: value for name, value in metrics.items() if name != "diagnostics"}


def test_a_sheet_is_learnt_and_flat_dimensions_go(sheet):
    told = []
    metrics = run(sheet, told=told, n_epochs=150, pruning_epoch=80, w_v=2.0)

    assert metrics["val_nmse"] < 0.05
    assert 2 <= metrics["active_dims"] < 6
    assert metrics["effective_dims"] <= metrics["active_dims"]
    back = sum(event["reason"] == "given_back" for event in metrics["pruning_events"])
    assert len(metrics["pruning_events"]) == 6 - metrics["active_dims"] + 2 * back
    assert metrics["lipschitz_norm"] <= 1.01
    assert [step for step, _ in told] == list(range(150))
    assert metrics["dim_error"] == abs(metrics["active_dims"] - 2)


def test_the_reported_error_is_that_of_the_network_that_was_trained(tmp_path):
    where = prepared(tmp_path, problem_id="disk2", resolution=16, n_designs=150)
    settings = {"pruning_strategy": "plummet", "w_v": 1.0, "lr": 4e-3, "latent_dim": 8}
    metrics = run(where, n_epochs=80, pruning_epoch=40, **settings)
    trained, refined = (metrics["diagnostics"][f"val_rec_{name}"] for name in ("trained", "refined"))

    assert refined > trained  # the right norms shrink every layer
    assert metrics["val_rec"] < refined
    assert metrics["val_rec"] < 1.1 * trained
    assert metrics["lipschitz_norm"] <= 1.0 + 1e-3


def test_a_weight_in_the_original_units_is_worth_what_the_first_batch_says(sheet):
    spread = run(sheet, n_epochs=1, w_v=3.0)["diagnostics"]["w_v_spread"]
    original = run(sheet, n_epochs=1, w_v=0.01, w_v_units="original")["diagnostics"]["w_v_spread"]

    assert spread == 3.0
    assert 0.02 < original < 20.0


class Interrupted(Exception):
    pass


class Stopping(Checkpoint):
    """Saves after every epoch and stops after *count* of them."""

    def __init__(self, folder, count):
        super().__init__(folder)
        self.left = count

    def due(self):
        return True

    def save(self, content):
        super().save(content)
        self.left -= 1
        if self.left == 0:
            raise Interrupted


@pytest.mark.parametrize("strategy", ["plummet", "probabilistic", "neighbours"])
def test_interrupted_is_uninterrupted_to_the_last_digit(sheet, tmp_path, strategy):
    settings = {"pruning_strategy": strategy, "k_consecutive": 2, "max_prune_per_epoch": 1}
    whole = run(sheet, **settings)
    for count in (7, 31):
        with pytest.raises(Interrupted):
            run(sheet, Stopping(tmp_path, count), **settings)

    assert plain(run(sheet, Checkpoint(tmp_path), **settings)) == plain(whole)


def test_equal_seeds_share_their_luck_and_others_do_not(sheet):
    first, second, other = [], [], []
    run(sheet, told=first, n_epochs=2, w_v=0.0)
    run(sheet, told=second, n_epochs=2, w_v=0.0, plummet_threshold=0.5)
    run(sheet, told=other, n_epochs=2, w_v=0.0, replicate=1)

    assert first == second != other


def test_a_loss_that_is_not_finite_ends_the_run_with_its_cause(sheet):
    metrics = run(sheet, lr=1e30)

    assert math.isnan(metrics["val_rec"])
    assert metrics["outcome"] == "divergence"
    assert "the loss is" in metrics["status_reason"]


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({"pruning_strategy": "plummet", "w_v": 0.0, "n_epochs": 40}, "no_pruning"),
        ({"lr": 1e-9}, "divergence"),
        ({"pruning_strategy": "probabilistic_original"}, "complete_pruning"),
    ],
)
def test_outcomes_have_names(sheet, settings, outcome):
    assert run(sheet, **settings)["outcome"] == outcome


def test_a_linear_set_comes_near_pca(tmp_path):
    where = prepared(tmp_path, problem_id="linear", resolution=8, n_designs=200)
    metrics = run(where, n_epochs=120, pruning_epoch=120, w_v=0.0, lr=3e-3)

    assert metrics["val_nmse"] < 0.01
    assert metrics["pca_nmse"] < 1e-6  # six components of four


def test_the_global_random_stream_is_left_alone(sheet):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(sheet, n_epochs=1)

    assert torch.equal(torch.get_rng_state(), before)


def test_every_epoch_tells_the_terms_of_the_loss(sheet):
    told = []
    settings = {"pruning_strategy": "plummet", "w_v": 2.0, "polynomial_schedule_n": 0}
    metrics = run(sheet, told=told, n_epochs=4, **settings)
    variance = float(load_designs(sheet[1], 0).train.var(dim=0).mean())

    for _, one in told:
        assert one["loss"] == pytest.approx(one["rec_loss"] / variance + 2.0 * one["vol_loss"], rel=1e-4)
    assert metrics["rec_loss"] < told[0][1]["rec_loss"]
    assert metrics["vol_loss"] > 0


def test_a_code_that_goes_at_the_end_is_told(sheet):
    assert run(sheet, n_epochs=10, pruning_epoch=9)["still_falling"]
    assert not run(sheet, n_epochs=30, pruning_epoch=1)["still_falling"]


def test_a_model_that_is_kept_gives_the_reported_error(tmp_path):
    where = prepared(tmp_path, problem_id="disk2", n_designs=40, resolution=8)
    metrics = run(where, files=tmp_path / "files", n_epochs=3, pruning_epoch=1, save_model=True)
    saved = torch.load(tmp_path / "files" / "model.pt", weights_only=True)
    designs, params = load_designs(tmp_path, 0), saved["params"]
    encode = encoder(params["latent_dim"], (1, 8, 8), params["width"])
    encode.load_state_dict(saved["encoder"])
    decode = Decoder(6, (1, 8, 8), 16, 1.0, bounded=True, unit_range=True, stream=torch.Generator())
    decode.load_state_dict(saved["decoder"])
    decode.eval()

    with torch.no_grad():
        codes = torch.where(saved["active"], encode(designs.val), saved["frozen_code"])
        error = float((decode(codes) - designs.val).square().mean())
    assert error == pytest.approx(metrics["val_rec"], rel=1e-5)
    run(where, files=tmp_path / "other", n_epochs=3, pruning_epoch=1)
    assert not (tmp_path / "other" / "model.pt").exists()


def test_where_the_dimension_is_known_the_volume_presses_no_harder_than_the_error_allows(sheet):
    """It has no weight while the error is large, and none once as many codes are left as designs need."""
    told = []
    metrics = run(sheet, told=told, n_epochs=80, pruning_epoch=68, w_v=2.0, polynomial_schedule_n=0)
    variance = float(load_designs(sheet[1], 0).train.var(dim=0).mean())
    shares = [(one["loss"] - one["rec_loss"] / variance) / one["vol_loss"] / 2.0 for _, one in told]

    assert metrics["active_dims"] == metrics["intrinsic_dims"] == 2
    assert shares[0] == pytest.approx(0.0, abs=1e-3)
    assert max(shares) > 0.1
    assert shares[-1] == pytest.approx(0.0, abs=1e-3)


def test_a_dimension_that_neighbours_do_not_tell_is_not_claimed(tmp_path):
    where = prepared(tmp_path, problem_id="sheet", n_designs=30)
    metrics = run(where, n_epochs=60)

    assert metrics["intrinsic_dims"] is None
    assert metrics["outcome"] in ("unknown_dimension", "instability", "divergence")


def at_pruning(where, strategy):
    """Return a trainer at its first epoch with pruning."""
    params = TASK.complete(where[0], "lvae", SMALL | {"pruning_strategy": strategy}, "p $")
    stream = torch.Generator().manual_seed(2)
    trainer = Trainer(load_designs(where[1], 0), structure(Params, params, "p"), stream, unit_range=False)
    trainer.train_epoch()
    trainer.epoch = trainer.params.pruning_epoch
    return trainer


def test_what_neighbours_prune_are_the_least_of_the_codes_principal_axes(sheet):
    trainer = at_pruning(sheet, "neighbours")
    codes = trainer.encoder(trainer.designs.train).detach()
    spectrum = torch.linalg.svdvals(codes - codes.mean(dim=0)) / (len(codes) - 1) ** 0.5
    trainer.prune(0.1)
    gone = [event["std"] for event in trainer.pruner.events]

    assert gone
    assert sorted(gone) == pytest.approx(sorted(spectrum.tolist())[: len(gone)], rel=1e-3)


def test_other_rules_take_the_codes_as_they_are(sheet):
    trainer = at_pruning(sheet, "plummet")
    before = trainer.encoder(trainer.designs.train)
    trainer.prune(0.1)

    assert torch.equal(trainer.encoder(trainer.designs.train), before)
