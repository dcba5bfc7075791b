"""BlackJAX on the targets of `peers`; runs in an environment of its own (jax, blackjax, numpy).

Window adaptation as in its documentation, then blocks of draws until the wanted standard error.
"""

# pyright: reportMissingImports=false

import json
import sys
import time
from itertools import pairwise

BEGUN = time.time()

import blackjax  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from peer_models import GAMMA, losses, split  # noqa: E402

CHAINS, WARM_UP, BLOCK, LEAPFROGS = 4, 500, 50, 10
LONGEST = 120.0
"""CPU seconds after which it is what it is."""


def network(w, x, sizes):
    """Return outputs ``(n, 1)`` of the tanh network with flat weights."""
    at, hidden = 0, x
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight = w[at : at + fan_in * fan_out].reshape(fan_in, fan_out)
        at += fan_in * fan_out
        hidden = hidden @ weight + w[at : at + fan_out]
        at += fan_out
        if index < len(sizes) - 2:
            hidden = jnp.tanh(hidden)
    return hidden


def effective_size(trace):
    """Return the ESS of ``(draws, chains)`` by Geyer's initial positive sequence.

    In numpy, as the library's own is compiled anew for every length, which would count as sampling.
    """
    draws = len(trace)
    centred = trace - trace.mean(0)
    spectrum = np.fft.rfft(centred, 2 * draws, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:draws].mean(1) / draws
    total = covariance[0] * draws / (draws - 1) + trace.mean(0).var(ddof=1)
    pairs = 1.0 - (covariance[0] - covariance) / total
    pairs = pairs[: draws // 2 * 2].reshape(-1, 2).sum(1)
    ended = np.argmax(pairs < 0) if (pairs < 0).any() else len(pairs)
    return float(trace.size / max(2.0 * np.minimum.accumulate(pairs[:ended]).sum() - 1.0, 1e-3))


def loss_of(arrays):
    """Return the loss of a file of `peers` or `compare`, the number of examples, the centre and gamma."""
    centre = jnp.asarray(arrays["centre"], dtype=jnp.float32)
    if "kind" in arrays:
        kind, x, y = str(arrays["kind"]), jnp.asarray(arrays["x"]), jnp.asarray(arrays["y"])
        loss = lambda w: losses(kind, split(kind, w), x, y, jnp).mean()  # noqa: E731
        return loss, len(x), centre, GAMMA.get(kind, 1.0)
    if "curvature" in arrays:
        curvature = jnp.asarray(arrays["curvature"], dtype=jnp.float32)
        return lambda w: 0.5 * jnp.sum(curvature * (w - centre) ** 2), int(arrays["n"]), centre, 1.0
    x, y = (jnp.asarray(arrays[name], dtype=jnp.float32) for name in ("x", "y"))
    sizes = [int(size) for size in arrays["sizes"]]
    return lambda w: jnp.mean((network(w, x, sizes) - y) ** 2), len(x), centre, 1.0


def main(path: str, wanted: float, sampler: str, seed: int, longest: float = LONGEST) -> None:
    """Print LLC, standard error, ESS and times as JSON."""
    with np.load(path) as arrays:
        loss, n, centre, gamma = loss_of(dict(arrays))
    t = n / np.log(n)

    def log_density(w):
        return -t * loss(w) - 0.5 * gamma * jnp.sum((w - centre) ** 2)

    key = jax.random.key(seed)
    algorithm = getattr(blackjax, sampler)
    fixed = {"num_integration_steps": LEAPFROGS} if sampler == "hmc" else {}
    adaptation = blackjax.window_adaptation(algorithm, log_density, **fixed)
    key, warm_key, start_key = jax.random.split(key, 3)
    (state, parameters), _ = adaptation.run(warm_key, centre, num_steps=WARM_UP)
    kernel = algorithm(log_density, **parameters)
    starts = state.position + 0.01 * jax.random.normal(start_key, (CHAINS, len(centre)))
    states = jax.vmap(kernel.init)(starts)
    first = loss(centre)

    @jax.jit
    def block(key, states):
        def step(states, key):
            states, _ = jax.vmap(kernel.step)(jax.random.split(key, CHAINS), states)
            return states, t * (jax.vmap(loss)(states.position) - first)

        return jax.lax.scan(step, states, jax.random.split(key, BLOCK))

    key, block_key = jax.random.split(key)
    states, _ = block(block_key, states)  # burn-in
    drawn, begun, cpu = [], time.time(), time.process_time()
    while True:
        key, block_key = jax.random.split(key)
        states, excess = block(block_key, states)
        drawn.append(np.asarray(excess))
        trace = np.concatenate(drawn)
        size = effective_size(trace)
        error = float(trace.std() / np.sqrt(size))
        if error <= wanted * trace.mean() or time.process_time() > longest:
            break
    ended = time.time()
    found = {"llc": float(trace.mean()), "se": error, "ess": size}
    times = {"drawing": ended - begun, "inside": ended - BEGUN, "seconds": time.process_time()}
    times["drawing_cpu"] = times["seconds"] - cpu
    print(json.dumps(found | times))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *map(float, sys.argv[5:]))
