"""SGLD of devinterp 1.x on the network of `peers`; runs in an environment of its own."""

# pyright: reportMissingImports=false

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import torch  # noqa: E402
from devinterp.optim.sgld import SGLD  # noqa: E402
from devinterp.slt.sampler import estimate_learning_coeff_with_summary  # noqa: E402
from peer_network import network, read  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

CHAINS, DRAWS, BURN_IN, STEP = 4, 3000, 1000, 1e-4


def main(path: str, kept: str) -> None:
    """Write excess losses ``(chains, draws)`` times t to *kept*; print steps per second as JSON."""
    torch.set_num_threads(1)
    x, y, centre, sizes = read(path)
    model = network(centre, sizes)
    t = len(x) / np.log(len(x))
    loader = DataLoader(TensorDataset(x, y), batch_size=256, shuffle=True)
    start = float((model(x) - y).square().mean().detach())
    begun = time.perf_counter()
    found = estimate_learning_coeff_with_summary(
        model,
        loader,
        evaluate=lambda one, data: (one(data[0]) - data[1]).square().mean(),
        sampling_method=SGLD,
        optimizer_kwargs={"lr": STEP, "localization": 1.0, "nbeta": t},
        num_draws=DRAWS,
        num_chains=CHAINS,
        num_burnin_steps=BURN_IN,
        init_loss=start,
        seed=0,
        verbose=False,
    )
    took = time.perf_counter() - begun
    np.save(kept, t * (np.asarray(found["loss/trace"])[:, -DRAWS:] - start))
    print(json.dumps({"drawing": took, "steps": CHAINS * (DRAWS + BURN_IN) / took}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
