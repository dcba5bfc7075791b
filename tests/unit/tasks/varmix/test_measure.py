import math

import pytest
import torch
from parsl_optuna.tasks.varmix.images import Images
from parsl_optuna.tasks.varmix.measure import baselines, clusters, conjugation
from parsl_optuna.tasks.varmix.model import Mixture
from torch import Generator


def test_clusters_that_are_the_labels_are_perfect_whatever_their_names():
    labels = torch.tensor([0, 1, 2] * 20)
    found = clusters((labels + 1) % 3, labels, 5)

    assert found["nmi"] == pytest.approx(1.0)
    assert found["ari"] == pytest.approx(1.0)
    assert found["purity"] == 1.0
    assert found["active"] == 3
    assert found["perplexity"] == pytest.approx(3.0)


def test_information_is_shared_by_hand():
    labels, assigned = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    h_c = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    mutual = math.log(2) + h_c - (0.5 * math.log(2) + 2 * 0.25 * math.log(4))

    assert clusters(assigned, labels, 2)["nmi"] == pytest.approx(2 * mutual / (math.log(2) + h_c))


def test_a_cluster_with_fewer_than_one_per_cent_is_not_active():
    assigned = torch.cat([torch.zeros(199), torch.ones(1)]).long()

    assert clusters(assigned, torch.zeros(200).long(), 4)["active"] == 1


def model():
    made = Mixture(torch.full((4,), 8.0), 2, 2, full=True, stream=Generator().manual_seed(1))
    with torch.no_grad():
        made.w.normal_(0, 1.0, generator=Generator().manual_seed(2))
    return made


def test_r2_is_one_for_a_linear_log_partition_and_zero_without_rho(monkeypatch):
    slope = torch.tensor([3.0, -1.0])
    monkeypatch.setattr(Mixture, "psi", lambda self, y, k: y @ slope)

    assert conjugation(model(), slope, 2000, Generator())["r2"] == pytest.approx(1.0)
    assert conjugation(model(), torch.zeros(2), 2000, Generator())["r2"] == pytest.approx(0.0, abs=1e-5)
    assert conjugation(model(), 100 * slope, 2000, Generator())["r2"] == -10.0


def test_the_best_r2_is_never_below_that_of_rho():
    found = conjugation(model(), torch.tensor([2.0, 1.0]), 4000, Generator())

    assert found["r2_best"] >= found["r2"] - 1e-3
    assert found["rho_norm"] == pytest.approx(5**0.5)


def test_r2_is_no_number_where_nothing_varies(monkeypatch):
    monkeypatch.setattr(Mixture, "psi", lambda self, y, k: torch.ones(len(y)))

    assert math.isnan(conjugation(model(), torch.zeros(2), 100, Generator())["r2"])


def test_simpler_models_find_clusters_that_are_there():
    stream = Generator().manual_seed(0)
    labels = torch.arange(3).repeat(60)
    centres = torch.tensor([[2.0, 14, 2, 2], [2, 2, 14, 2], [14, 2, 2, 14]])
    x = torch.binomial(torch.full((180, 4), 16.0), centres[labels] / 16, generator=stream)
    found = baselines(Images(x, x, labels), 3, 0)

    assert found["kmeans_nmi"] > 0.95
    assert found["mixture_nmi"] > 0.95
