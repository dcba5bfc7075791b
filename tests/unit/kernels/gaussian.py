"""A Gaussian potential with closed-form answers."""

import torch


def potential(precision):
    """Return U = 1/2 sum a w^2 for precisions ``(dim,)``."""

    def energy(w, generator):
        gradient = precision * w
        return 0.5 * (gradient * w).sum(-1), gradient

    return energy


def noisy(precision, noise_sd):
    """As `potential`, with independent Gaussian noise on the gradient."""

    def energy(w, generator):
        value, gradient = potential(precision)(w, generator)
        noise = torch.randn(w.shape, generator=generator, dtype=w.dtype)
        return value, gradient + noise_sd * noise

    return energy
