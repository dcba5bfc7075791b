"""What is tuned: a program that logs to W&B; no account and no network are needed."""

import argparse

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--momentum", type=float, default=0.0)
run = wandb.init(config=parser.parse_args())

x, velocity = 5.0, 0.0
for _ in range(20):
    velocity = run.config.momentum * velocity - run.config.lr * 2 * x  # minimises x^2
    x += velocity
    run.log({"loss": x * x})
run.finish()
