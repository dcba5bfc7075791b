import pytest
import torch
from parsl_optuna.tasks.lvae.spectral import SpectralLinear, SpectralUpsampling
from torch import Generator


def dense(layer, shape):
    """Return the matrix of a layer without its bias."""
    size = int(torch.tensor(shape).prod())
    return layer.apply_map(torch.eye(size).view(size, *shape), layer.weight).flatten(1).T


def layers():
    stream = Generator().manual_seed(3)
    yield SpectralLinear(7, 12, stream, normalise=True), (7,)
    yield SpectralUpsampling(5, 3, 4, stream, normalise=True), (5, 4, 4)
    yield SpectralUpsampling(2, 1, 6, stream, normalise=True), (2, 6, 6)


@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_sigma_is_the_operator_norm_at_the_real_input_size(layer, shape):
    with torch.no_grad():
        layer.weight.mul_(torch.randn_like(layer.weight).abs() + 0.5)
        layer.refine(2000)
        exact = torch.linalg.matrix_norm(dense(layer, shape), ord=2)

    assert float(layer.sigma.detach()) == pytest.approx(float(exact), rel=1e-3)


@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_the_adjoint_is_the_transpose(layer, shape):
    matrix = dense(layer, shape)
    y = torch.randn(layer.u.shape)

    assert torch.allclose(layer.adjoint(y, layer.weight).flatten(), matrix.T @ y.flatten(), atol=1e-5)


def test_a_constant_kernel_has_a_norm_that_its_matrix_form_does_not_show():
    """The usual normalisation divides by the norm of the kernel as a matrix; overlaps add up to more."""
    layer = SpectralUpsampling(1, 1, 16, Generator().manual_seed(0), normalise=True)
    with torch.no_grad():
        layer.weight.fill_(0.25)  # of norm one as a matrix
        layer.refine(500)

    assert float(layer.sigma.detach()) == pytest.approx(2.0, rel=0.02)


def test_the_gradient_goes_through_sigma():
    layer = SpectralLinear(4, 4, Generator().manual_seed(0), normalise=True)
    layer.eval()
    layer.refine(500)

    # At unit norm, W / sigma does not change along W itself.
    layer(torch.ones(1, 4)).sum().backward()

    assert float((layer.weight.grad * layer.weight.detach()).sum()) == pytest.approx(0.0, abs=1e-5)


def test_without_normalisation_the_layer_is_a_plain_one():
    layer = SpectralLinear(3, 2, Generator().manual_seed(0), normalise=False)
    with torch.no_grad():
        layer.weight.mul_(5.0)
    x = torch.randn(4, 3)

    assert torch.allclose(layer(x), x @ layer.weight.T)


@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_a_new_layer_knows_its_norm(layer, shape):
    exact = torch.linalg.matrix_norm(dense(layer, shape).detach(), ord=2)

    assert float(layer.sigma.detach()) == pytest.approx(float(exact), rel=0.01)


def test_training_follows_the_weights_and_evaluation_leaves_the_estimate_alone():
    layer = SpectralUpsampling(2, 1, 6, Generator().manual_seed(3), normalise=True)
    x = torch.ones(1, 2, 6, 6)
    with torch.no_grad():
        layer.weight.mul_(torch.randn(layer.weight.shape, generator=Generator().manual_seed(1)))
        exact = float(torch.linalg.matrix_norm(dense(layer, (2, 6, 6)), ord=2))
        before = float(layer.sigma)
        layer.eval()
        layer(x)
        evaluated = float(layer.sigma)
        layer.train()
        for _ in range(100):
            layer(x)

    assert before == evaluated < 0.9 * exact
    assert float(layer.sigma.detach()) == pytest.approx(exact, rel=0.01)
