"""The program of the golden tree: a line of JSON per epoch, slow enough to be pruned."""

import argparse
import json
import time

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
for epoch in range(8):
    print(json.dumps({"epoch": epoch, "loss": lr / (epoch + 1), "seed": 3}), flush=True)
    time.sleep(0.4)
