"""What is tuned: takes hyperparameters as flags and prints its metrics, one line of JSON per epoch."""

import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--momentum", type=float, default=0.0)
options = parser.parse_args()

x, velocity = 5.0, 0.0
for epoch in range(20):
    velocity = options.momentum * velocity - options.lr * 2 * x  # minimises x^2
    x += velocity
    print(json.dumps({"step": epoch, "loss": x * x}), flush=True)
