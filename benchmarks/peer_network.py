"""The network of `peers` as a torch module, for those peers that take one."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


def read(path: str) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Return inputs, outputs, flat weights and layer sizes, in single precision."""
    with np.load(path) as arrays:
        x, y, centre = (torch.from_numpy(arrays[name]).float() for name in ("x", "y", "centre"))
        return x, y, centre, [int(size) for size in arrays["sizes"]]


def network(centre: Tensor, sizes: list[int]) -> nn.Sequential:
    """Return the tanh network with these weights."""
    layers: list[nn.Module] = []
    at = 0
    for fan_in, fan_out in pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        layer.weight.data = centre[at : at + fan_in * fan_out].reshape(fan_in, fan_out).T.contiguous()
        at += fan_in * fan_out
        layer.bias.data = centre[at : at + fan_out].clone()
        at += fan_out
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def flat(model: nn.Module) -> Tensor:
    """Return the weights of a module as one vector."""
    return parameters_to_vector(model.parameters()).detach()
