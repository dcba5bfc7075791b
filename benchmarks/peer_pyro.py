"""HMC of pyro, step size and mass matrix adapted, on the network of `peers`; in an environment of its own."""

# pyright: reportMissingImports=false

import json
import sys
import time

import numpy as np
import torch
from peer_network import flat, network, read
from pyro.infer import HMC, MCMC

WARM_UP, DRAWS, LEAPFROGS = 100, 200, 10


def main(path: str, kept: str) -> None:
    """Write excess losses ``(1, draws)`` times t to *kept*; print the time of drawing as JSON."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y, centre, sizes = read(path)
    model = network(centre, sizes)
    start, t = flat(model), len(x) / np.log(len(x))
    shapes = {name: one.shape for name, one in model.named_parameters()}

    def loss(w: torch.Tensor) -> torch.Tensor:
        parts = torch.split(w, [shape.numel() for shape in shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return (torch.func.functional_call(model, weights, (x,)) - y).square().mean()

    def potential(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return t * loss(given["w"]) + 0.5 * (given["w"] - start).square().sum()

    begun: list[float] = []

    def hook(kernel: object, samples: object, stage: str, number: int) -> None:
        del kernel, samples, number
        if stage == "Sample" and not begun:
            begun.append(time.perf_counter())

    kernel = HMC(potential_fn=potential, num_steps=LEAPFROGS, adapt_step_size=True, adapt_mass_matrix=True)
    sampling = MCMC(
        kernel, DRAWS, WARM_UP, initial_params={"w": start.clone()}, disable_progbar=True, hook_fn=hook
    )
    sampling.run()
    took = time.perf_counter() - begun[0]
    with torch.no_grad():
        first = loss(start)
        excess = torch.stack([t * (loss(w) - first) for w in sampling.get_samples()["w"]])
    np.save(kept, excess.numpy()[None])
    print(json.dumps({"drawing": took}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
