"""A training step of the variational mixture: draws grouped by cluster, and weights gathered for every draw.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.mixture_step [STEPS] [RECIPE ...]

Random counts in the place of images; CPU time per step of one run, the two ways in turn.
"""

from __future__ import annotations

import sys
import time

import torch
from parsl_optuna.tasks.varmix.images import TRIALS, Images
from parsl_optuna.tasks.varmix.model import Mixture
from parsl_optuna.tasks.varmix.params import Params
from parsl_optuna.tasks.varmix.train import Trainer
from torch import Generator, Tensor
from torch.nn.functional import softplus

_DRAWS = {"samples": 10, "prior_samples": 1024}
RECIPES: dict[str, tuple[int, dict[str, int]]] = {
    "the document's, 28 x 28": (784, {"n_latent": 128, "n_clusters": 30, "batch_size": 512, **_DRAWS}),
    "that, 8 x 8": (64, {"n_latent": 32, "n_clusters": 30, "batch_size": 128, **_DRAWS}),
    "the defaults, 8 x 8": (64, {"n_clusters": 30}),
}


def gathered(model: Mixture, y: Tensor, k: Tensor) -> Tensor:
    """Return what `Mixture.psi` does."""
    eta = model.biases[k] + torch.bmm(model.weights[k], y[:, :, None])[:, :, 0]
    return TRIALS * softplus(eta).sum(-1)


def main() -> None:
    """Print CPU seconds per step."""
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    grouped = Mixture.psi
    chosen = sys.argv[2:] or list(RECIPES)
    for name in chosen:
        pixels, recipe = RECIPES[name]
        stream = Generator().manual_seed(0)
        counts = torch.randint(0, TRIALS + 1, (2000, pixels), generator=stream).float()
        params = Params(**recipe)  # type: ignore[arg-type]
        trainer = Trainer(Images(counts, counts, torch.zeros(len(counts))), params, stream)
        trainer.advance()  # Adam's buffers
        spent = {}
        for way, psi in (("gathered", gathered), ("grouped", grouped)):
            Mixture.psi = psi  # type: ignore[method-assign]
            begun = time.process_time()
            for _ in range(steps):
                trainer.advance()
            spent[way] = (time.process_time() - begun) / steps
        ratio = spent["gathered"] / spent["grouped"]
        print(f"{name}: {spent['gathered']:.4f} s gathered, {spent['grouped']:.4f} s grouped: {ratio:.1f}")


if __name__ == "__main__":
    main()
