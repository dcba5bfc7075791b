"""The objective of the golden tree: reports three steps, fails where x is large."""


def objective(x: float, kind: str = "a", report=None):
    if x > 0.6:
        raise ValueError(f"x {x:.1f} is too large")
    loss = (x - 0.3) ** 2 + (kind == "b")
    for step in range(4):
        report(step, {"loss": loss * (4 - step)})
    return {"loss": loss, "error": 2 * x, "seed": 7, "note": kind}
