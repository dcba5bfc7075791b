"""The LLC problem as data: typed sections, presets, overrides. No torch, no files but the presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import read_yaml, structure, unstructure

PRESETS = Path(__file__).parents[1] / "conf"
SECTIONS = ("model", "data", "teacher", "training", "posterior")

Activation = Literal["relu", "tanh", "gelu", "identity"]
DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Mlp:
    """A multilayer perceptron of *depth* hidden layers with linear output.

    The hidden width is, in this order: *widths*, or the largest constant width with at most
    *target_params* parameters, or *hidden*.
    """

    in_dim: int
    out_dim: int
    depth: int
    kind: Literal["mlp"] = "mlp"
    activation: Activation = "relu"
    bias: bool = True
    target_params: int | None = None
    hidden: int = 32
    widths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _at_least("depth", self.depth, 0)
        for name, value in (("in_dim", self.in_dim), ("out_dim", self.out_dim)):
            _at_least(name, value, 1)
        if self.widths is not None and len(self.widths) != self.depth:
            raise SpecError(f"widths has {len(self.widths)} entries; depth {self.depth} needs as many")

    def layer_sizes(self) -> tuple[int, ...]:
        """Return the sizes of all layers, input and output included."""
        return (self.in_dim, *self._hidden_widths(), self.out_dim)

    def _hidden_widths(self) -> tuple[int, ...]:
        if self.widths is not None:
            return self.widths
        width = self.hidden
        if self.target_params is not None:
            width = width_for(self.target_params, self.in_dim, self.out_dim, self.depth)
        return (width,) * self.depth


@dataclass(frozen=True)
class DeepLinear:
    """K(W) = |W_L ... W_1 - diag(1_rank, 0)|_F^2, centred where every layer is diag(1_rank, 0).

    The population loss of a noise-free deep linear network with whitened inputs, summed over outputs.
    """

    widths: tuple[int, ...]
    rank: int = 0
    kind: Literal["dln"] = "dln"

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths, default=0) < 1:
            raise SpecError(f"widths {list(self.widths)} must be at least two sizes of at least 1")
        if not 0 <= self.rank <= min(self.widths):
            raise SpecError(f"rank {self.rank} must be between 0 and the smallest width {min(self.widths)}")


@dataclass(frozen=True)
class Quadratic:
    """K(w) = 1/2 sum_i h_i (w_i - offset)^2 - K(0), centred at 0: wrong when *offset* is not 0."""

    dim: int
    curvature: tuple[float, ...] = (1.0,)
    offset: float = 0.0
    kind: Literal["quadratic"] = "quadratic"

    def __post_init__(self) -> None:
        _at_least("dim", self.dim, 1)
        if len(self.curvature) not in (1, self.dim):
            raise SpecError(f"curvature has {len(self.curvature)} entries; give 1 or dim = {self.dim}")


@dataclass(frozen=True)
class Monomial:
    """K(w) = prod_i w_i^k_i with even exponents k_i, centred at the singular point 0."""

    exponents: tuple[int, ...]
    kind: Literal["monomial"] = "monomial"

    def __post_init__(self) -> None:
        if not self.exponents or any(k < 2 or k % 2 for k in self.exponents):
            raise SpecError(f"exponents {list(self.exponents)} must be even and at least 2")


@dataclass(frozen=True)
class Data:
    """How the regression data are drawn; see `data.generate` for each distribution."""

    n_data: int
    x_dist: Literal["gauss_iso", "gauss_aniso", "mixture", "lowdim_manifold", "heavy_tail"] = "gauss_iso"
    cov_decay: float = 0.95
    mixture_k: int = 4
    mixture_spread: float = 2.0
    x_dim_latent: int = 2
    noise_model: Literal["gauss", "hetero", "student_t", "outliers"] = "gauss"
    noise_scale: float = 0.1
    hetero_scale: float = 0.1
    student_df: float = 4.0
    outlier_frac: float = 0.05
    outlier_scale: float = 2.0

    def __post_init__(self) -> None:
        _at_least("n_data", self.n_data, 2)
        _at_least("noise_scale", self.noise_scale, 0)
        if not 0 <= self.outlier_frac <= 1:
            raise SpecError(f"outlier_frac {self.outlier_frac} must be between 0 and 1")


@dataclass(frozen=True)
class Size:
    """The sample size alone: all that a closed-form target takes from its data."""

    n_data: int


@dataclass(frozen=True)
class Student:
    """The teacher is a network like the student, with its own random weights."""

    kind: Literal["student"] = "student"


@dataclass(frozen=True)
class Teacher:
    """A teacher of another architecture; sized like `Mlp`, *target_params* and *hidden* exclusive."""

    kind: Literal["mlp"] = "mlp"
    depth: int = 2
    activation: Activation = "relu"
    dropout_rate: float = 0.0
    target_params: int | None = None
    hidden: int | None = None
    widths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.target_params is not None and self.hidden is not None:
            raise SpecError("target_params and hidden are both set; keep one")
        if not 0 <= self.dropout_rate < 1:
            raise SpecError(f"dropout_rate {self.dropout_rate} must be in [0, 1)")


@dataclass(frozen=True)
class Training:
    """How w* is found: Adam on the full data, then a second-order polish."""

    lr: float = 1e-3
    steps: int = 5000
    polish_steps: int = 200
    gradient_tolerance: float = 1e-8


@dataclass(frozen=True)
class Posterior:
    """The tempered, localised posterior exp(-n beta L_n(w) - gamma/2 |w - w*|^2).

    Args:
        loss: ``mse``, the mean over examples and outputs of the squared error (no 1/2, no 1/sigma^2).
        loss_scale: Factor on the loss.
        beta_mode: ``1_over_log_n`` gives beta = beta0 / ln(max(3, n)); ``fixed`` gives beta0.
        beta0: Inverse temperature, or factor on it.
        gamma: Precision of the localiser.
        prior_radius: r; overrides gamma with dim / r^2.
        precision: Arithmetic of the samplers. The target itself is always built in float64.
    """

    loss: Literal["mse"] = "mse"
    loss_scale: float = 1.0
    beta_mode: Literal["1_over_log_n", "fixed"] = "1_over_log_n"
    beta0: float = 1.0
    gamma: float = 1.0
    prior_radius: float | None = None
    precision: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        for name in ("loss_scale", "beta0", "gamma", "prior_radius"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SpecError(f"{name} {value} must be above 0")

    def beta(self, n: int) -> float:
        """Return the inverse temperature for *n* examples."""
        return self.beta0 / math.log(max(3, n)) if self.beta_mode == "1_over_log_n" else self.beta0

    def localiser(self, dim: int) -> float:
        """Return gamma for *dim* parameters."""
        return self.gamma if self.prior_radius is None else dim / self.prior_radius**2


@dataclass(frozen=True)
class Problem:
    """One target, resolved: presets expanded, overrides merged, defaults filled.

    Attributes:
        device: Where trials compute, several with commas; None is the CPU, and is no part of the identity.
    """

    model: Mlp | DeepLinear | Quadratic | Monomial
    data: Data | Size
    teacher: Teacher | Student | None
    training: Training | None
    posterior: Posterior
    seed: int
    device: str | None = None

    @property
    def is_closed_form(self) -> bool:
        """Whether the loss is given by a formula rather than by data and a network."""
        return not isinstance(self.model, Mlp)


@dataclass(frozen=True)
class _Request:
    """The keys a problem may have in the YAML; each section is a preset's name or a mapping.

    *device* is where trials compute, ``cpu``, ``cuda`` or ``mps``, or a list such as ``[cuda:0, cuda:1]``.
    The target is made on the CPU in any case.
    """

    model: Any
    data: Any = "small"
    teacher: Any = "_null"
    training: Any = "base"
    posterior: Any = "base"
    seed: int = 42
    overrides: dict[str, Any] = field(default_factory=dict)
    device: str | None = None


_MODELS = {"mlp": Mlp, "dln": DeepLinear, "quadratic": Quadratic, "monomial": Monomial}
_TEACHERS = {"student": Student, "mlp": Teacher}


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Expand presets and overrides into the resolved problem, as plain data.

    Args:
        raw: One entry of ``problems``.
        where: File and key of *raw*, for messages.

    Raises:
        SpecError: Unknown key or preset, wrong type, or an override that names nothing.
    """
    request = structure(_Request, {**raw, "device": joined(raw["device"])} if "device" in raw else raw, where)
    unknown = [key for key in request.overrides if key not in SECTIONS]
    if unknown:
        raise SpecError(f"{where}.overrides.{unknown[0]}: names nothing; {_hint(unknown[0])}")
    sections = {}
    for name in SECTIONS:
        base = _preset(name, getattr(request, name), f"{where}.{name}")
        override = request.overrides.get(name, {})
        if not isinstance(override, Mapping):
            raise SpecError(f"{where}.overrides.{name}: must be a mapping, got {override!r}")
        sections[name] = base | dict(override)
    try:
        problem = bind({**sections, "seed": request.seed, "device": request.device}, where)
    except SpecError as error:
        raise SpecError(_as_written(str(error), request.overrides, where)) from error
    idle = [name for name in ("teacher", "training") if name in request.overrides]
    if problem.is_closed_form and idle:
        raise SpecError(f"{where}.overrides.{idle[0]}: a closed-form target has no {idle[0]}; remove it")
    return plain(problem)


def plain(problem: Problem) -> dict[str, Any]:
    """Return a problem as plain data, the inverse of `bind`."""
    found = unstructure(problem)
    if problem.device is None:  # so that ids are those of before there were devices
        del found["device"]
    return found


def joined(device: Any) -> Any:
    """Return the name of a device, or of a list the names with commas between them; None as it is."""
    if isinstance(device, (list, tuple)):
        return ",".join(map(str, device))
    return device if device is None else str(device)


def check_device(names: str, precision: str, where: str = "") -> None:
    """Raise `SpecError` where no device has that name, or one cannot compute in a precision.

    Args:
        names: Of a device, or of several with commas between them.
        precision: What is to be computed in.
        where: File and key, for messages.
    """
    parts = [name.strip().partition(":") for name in names.split(",")]
    for kind, colon, index in parts:
        if kind not in DEVICES or (colon and not index.isdecimal()):
            raise SpecError(f"{where}device '{kind}{colon}{index}': {nearest(kind, DEVICES)}")
    kind = parts[0][0]
    if len({each for each, _, _ in parts}) > 1:
        raise SpecError(f"{where}device '{names}': several devices must be of one kind, as cuda:0,cuda:1 are")
    if len(parts) > 1 and kind != "cpu":  # which threads may share
        if not all(colon for _, colon, _ in parts):
            raise SpecError(f"{where}device '{names}': of several, each needs its number, such as {kind}:0")
        if len({int(index) for _, _, index in parts}) < len(parts):
            raise SpecError(f"{where}device '{names}': one is named twice; name each once")
    if kind == "mps" and precision == "float64":
        raise SpecError(f"{where}posterior.precision float64: device mps has none; set it to float32")


def _as_written(message: str, overrides: Mapping[str, Mapping[str, Any]], where: str) -> str:
    """Name the keys that came from *overrides* by the place where a person wrote them."""
    for section, changes in overrides.items():
        for key in changes:
            message = message.replace(f"{where}.{section}.{key}:", f"{where}.overrides.{section}.{key}:")
    return message


def bind(sections: Mapping[str, Any], where: str = "problem") -> Problem:
    """Turn plain sections into a typed `Problem`."""
    model = _variant(_MODELS, sections["model"], f"{where}.model")
    data = structure(Data, sections["data"], f"{where}.data")
    posterior = structure(Posterior, sections["posterior"], f"{where}.posterior")
    seed, device = structure(_Seed, {"seed": sections["seed"]}, where).seed, sections.get("device")
    if device is not None:
        check_device(device, posterior.precision, f"{where}: ")
    if not isinstance(model, Mlp):
        return Problem(model, Size(data.n_data), None, None, posterior, seed, device)
    teacher = _variant(_TEACHERS, sections["teacher"], f"{where}.teacher")
    training = structure(Training, sections["training"], f"{where}.training")
    return Problem(model, data, teacher, training, posterior, seed, device)


def width_for(target_params: int, in_dim: int, out_dim: int, depth: int) -> int:
    """Return the largest constant width whose biased MLP has at most *target_params* parameters."""
    if depth <= 0:
        return 1
    if depth == 1:
        return max(1, (target_params - out_dim) // (in_dim + 1 + out_dim))
    a, b = depth - 1, (in_dim + 1) + (depth - 1) + out_dim
    root = math.sqrt(b * b + 4 * a * (target_params - out_dim))
    return max(1, int((-b + root) / (2 * a)))


@dataclass(frozen=True)
class _Seed:
    seed: int


def preset_names(section: str) -> list[str]:
    """List the presets of a section."""
    return sorted(path.stem for path in (PRESETS / section).glob("*.yaml"))


def _preset(section: str, value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str) or value not in preset_names(section):
        raise SpecError(f"{where}: no preset '{value}'; {nearest(str(value), preset_names(section))}")
    return read_yaml(PRESETS / section / f"{value}.yaml")


def _variant(variants: Mapping[str, type[Any]], data: Mapping[str, Any], where: str) -> Any:
    kind = str(data.get("kind"))
    if kind not in variants:
        raise SpecError(f"{where}.kind: unknown kind '{kind}'; {nearest(kind, variants)}")
    return structure(variants[kind], data, where)


def _hint(name: str) -> str:
    section, dot, key = name.partition(".")
    if dot and section in SECTIONS:
        return f"nest it: {section}: {{{key}: …}}"
    return nearest(name, SECTIONS)


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise SpecError(f"{name} {value} must be at least {low}")
