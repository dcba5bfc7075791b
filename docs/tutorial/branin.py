from math import cos, pi


def branin(x: float, y: float, report) -> dict:
    """Return the Branin function, whose least value is 0.397887."""
    value = (y - 5.1 / (4 * pi**2) * x**2 + 5 / pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * pi)) * cos(x) + 10
    report(1, {"loss": value})  # once per epoch, where there are any: pruning and curves live on it
    return {"loss": value, "distance": abs(value - 0.397887)}
