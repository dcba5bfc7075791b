"""Minibatch SGLD steps of posteriors on the network of `peers`; runs in an environment of its own."""

# pyright: reportMissingImports=false

import json
import sys
import time
import warnings
from itertools import pairwise

import numpy as np

warnings.filterwarnings("ignore")
import posteriors  # noqa: E402
import torch  # noqa: E402
from torch.func import functional_call, vmap  # noqa: E402

STEPS, WARM = 300, 30


def main(path: str, chains: int, batch: int) -> None:
    """Print chain-steps per second as JSON."""
    torch.set_num_threads(1)
    with np.load(path) as arrays:
        x, y = (torch.from_numpy(arrays[name]).float() for name in ("x", "y"))
        sizes = [int(size) for size in arrays["sizes"]]
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    start = {name: value.detach() for name, value in model.named_parameters()}
    t = len(x) / np.log(len(x))

    def log_posterior(weights, data):
        outputs = functional_call(model, weights, (data[0],))
        shift = sum((weights[name] - start[name]).square().sum() for name in weights)
        return -t * (outputs - data[1]).square().mean() - 0.5 * shift, torch.zeros(())

    transform = posteriors.sgmcmc.sgld.build(log_posterior, lr=5e-5)
    many = {name: value.expand(chains, *value.shape).clone() for name, value in start.items()}
    state = vmap(transform.init)(many)
    update = vmap(transform.update, randomness="different")
    begun = 0.0
    for step in range(WARM + STEPS):
        if step == WARM:
            begun = time.perf_counter()
        rows = torch.randint(len(x), (chains, batch))
        state, _ = update(state, (x[rows], y[rows]))
    print(json.dumps({"steps": chains * STEPS / (time.perf_counter() - begun)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
