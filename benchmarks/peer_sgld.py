"""Peers that take steps of SGLD, on a target of `compare`; runs in an environment of its own.

``peer_sgld.py devinterp1|devinterp2|posteriors FILE SECONDS OUT SEED`` writes t (L - L0)
``(chains, draws)`` to OUT and prints the package's own numbers as JSON. Step size and number of chains are
those of devinterp's tests; the number of steps is what fits the seconds, of which the first fifth is burn-in.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import math
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import numpy as np  # noqa: E402
import torch  # noqa: E402
from peer_models import GAMMA, STEP, losses, read, split  # noqa: E402

CHAINS, TRIED = 4, 50


class Flat(torch.nn.Module):
    """All weights of a target as one parameter."""

    def __init__(self, kind, centre):
        super().__init__()
        self.kind, self.w = kind, torch.nn.Parameter(centre.clone())

    def forward(self, x):
        return x


def devinterp1(kind, x, y, centre, t, draws, burn_in, seed):
    """Return losses ``(chains, draws)``, and what the package says."""
    from devinterp.optim.sgld import SGLD  # noqa: PLC0415
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary  # noqa: PLC0415
    from torch.utils.data import DataLoader, TensorDataset  # noqa: PLC0415

    found = estimate_learning_coeff_with_summary(
        Flat(kind, centre),
        DataLoader(TensorDataset(x, y), batch_size=len(x), shuffle=True),
        evaluate=lambda one, data: losses(kind, split(kind, one.w), data[0], data[1], torch).mean(),
        sampling_method=SGLD,
        optimizer_kwargs={"lr": STEP.get(kind, 1e-4), "localization": GAMMA.get(kind, 1.0), "nbeta": t},
        num_draws=draws,
        num_chains=CHAINS,
        num_burnin_steps=burn_in,
        init_loss=float(losses(kind, split(kind, centre), x, y, torch).mean()),
        seed=seed,
        verbose=False,
    )
    said = {"llc": float(found["llc/mean"]), "spread": float(found["llc/std"])}
    return np.asarray(found["loss/trace"])[:, -draws:], said


def devinterp2(kind, x, y, centre, t, draws, burn_in, seed):
    """Return losses ``(chains, draws)``; examples go in as rows of their numbers."""
    from datasets import Dataset  # noqa: PLC0415
    from devinterp.slt.llc import compute_llc  # noqa: PLC0415
    from devinterp.slt.sampling import sample  # noqa: PLC0415

    rows = Dataset.from_dict({"input_ids": [[index, 0] for index in range(len(x))]}).with_format("torch")

    def of_rows(model, ids):
        return losses(kind, split(kind, model.w), x[ids[:, 0]], y[ids[:, 0]], torch)[:, None]

    tree = sample(
        Flat(kind, centre),
        rows,
        {},
        lr=STEP.get(kind, 1e-4),
        n_beta=t,
        localization=GAMMA.get(kind, 1.0),
        num_chains=CHAINS,
        num_draws=draws,
        num_burnin_steps=burn_in,
        batch_size=len(x),
        num_init_loss_batches=1,
        loss_fn=of_rows,
        init_seed=seed,
        device="cpu",
    )
    found = compute_llc(tree)
    said = {"llc": float(found.llc_mean), "spread": float(found.llc_std)}
    return np.asarray(found.loss_trace.transpose("chain", "step"))[:, -draws:], said


def posteriors(kind, x, y, centre, t, draws, burn_in, seed):
    """Return losses ``(chains, draws)``; the package has no LLC of its own."""
    import posteriors as package  # noqa: PLC0415
    from torch.func import vmap  # noqa: PLC0415

    torch.manual_seed(seed)
    gamma = GAMMA.get(kind, 1.0)

    def log_posterior(weights, data):
        loss = losses(kind, split(kind, weights["w"]), data[0], data[1], torch).mean()
        return -t * loss - 0.5 * gamma * (weights["w"] - centre).square().sum(), loss

    transform = package.sgmcmc.sgld.build(log_posterior, lr=STEP.get(kind, 1e-4) / 2.0)
    many = {"w": centre.expand(CHAINS, -1).clone()}
    state = vmap(transform.init)(many)
    update = vmap(transform.update, in_dims=(0, None), randomness="different")
    seen = []
    for step in range(burn_in + draws):
        state, loss = update(state, (x, y))
        if step >= burn_in:
            seen.append(loss.detach().numpy())
    return np.stack(seen, 1), {}


def main(package: str, path: str, seconds: float, kept: str, seed: int) -> None:
    """Find out how many steps fit, take them, write the trace."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    given = read(path)
    x, y, centre = (torch.from_numpy(given[name]).float() for name in ("x", "y", "centre"))
    t = len(x) / math.log(len(x))
    start = float(losses(given["kind"], split(given["kind"], centre), x, y, torch).mean())
    run = {"devinterp1": devinterp1, "devinterp2": devinterp2, "posteriors": posteriors}[package]
    run(given["kind"], x, y, centre, t, 2, 0, seed)  # imports
    begun = time.process_time()
    run(given["kind"], x, y, centre, t, TRIED, 0, seed)
    steps = max(TRIED, int(seconds / (time.process_time() - begun) * TRIED))
    begun = time.process_time()
    trace, said = run(given["kind"], x, y, centre, t, steps - steps // 5, steps // 5, seed)
    took = time.process_time() - begun
    np.save(kept, t * (trace - start))
    print(json.dumps(said | {"seconds": took, "drawing": 0.8 * took, "steps": steps}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
