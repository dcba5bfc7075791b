"""A file of a user's whose model is a line through the origin: weight 2 is at the minimum of a loss of 0."""

MODEL = """
import torch
from torch import nn

def parts():
    x = torch.linspace(-1, 1, 100)[:, None]
    return nn.Linear(1, 1, bias=False), nn.MSELoss(), (x, 2 * x)

def wrong():
    return nn.Linear(1, 1)
"""
