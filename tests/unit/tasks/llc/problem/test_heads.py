import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.heads import head_masks
from parsl_optuna.tasks.llc.problem.selection import select
from torch import Tensor, nn
from torch.nn import functional

HEADS, SIZE = 3, 2
WIDTH = HEADS * SIZE


class Turned(nn.Module):
    """A linear layer with its weight transposed, as in GPT-2."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.nf = outputs
        self.weight, self.bias = (
            nn.Parameter(torch.randn(inputs, outputs)),
            nn.Parameter(torch.randn(outputs)),
        )

    def forward(self, x):
        return x @ self.weight + self.bias


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    parts = [each.unflatten(-1, (-1, SIZE)).transpose(1, 2) for each in (queries, keys, values)]
    return functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


class Fused(nn.Module):
    def __init__(self, layer=nn.Linear):
        super().__init__()
        self.n_head = HEADS
        self.c_attn, self.c_proj = layer(WIDTH, 3 * WIDTH), layer(WIDTH, WIDTH)

    def forward(self, x):
        return self.c_proj(attended(*self.c_attn(x).split(WIDTH, -1)))


class Apart(nn.Module):
    def __init__(self, kept=WIDTH):
        super().__init__()
        self.num_heads = HEADS
        self.q_proj, self.o_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj, self.v_proj = nn.Linear(WIDTH, kept), nn.Linear(WIDTH, kept)

    def forward(self, x):
        return self.o_proj(attended(self.q_proj(x), self.k_proj(x), self.v_proj(x)))


class Torch(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Fused(), ""),
        (Fused(Turned), ""),
        (Apart(), ""),
        (Torch(), "inner."),
        (Torch(kdim=WIDTH, vdim=WIDTH, bias=False), "inner."),
    ],
    ids=["fused", "GPT-2", "apart", "torch", "torch without bias"],
)
def test_what_is_not_of_a_head_does_not_depend_on_it(model, name, generator):
    """With the output of a head cut off, its queries, keys and values do not matter, those of others do."""
    x = torch.randn(2, 4, WIDTH, generator=generator)
    masks = head_masks(model, f"{name}heads[1]")
    weights = dict(model.named_parameters())
    out = [key for key in masks if "out_proj" in key or "o_proj" in key or "c_proj" in key]
    assert len(out) == 1
    with torch.no_grad():
        weights[out[0]][masks[out[0]]] = 0.0
        before = model(x)
        for key in masks.keys() - set(out):
            weights[key][masks[key]] += 1.0
        assert torch.allclose(model(x), before, atol=1e-5)
        for key in masks.keys() - set(out):
            weights[key][~masks[key]] *= 2.0
        assert not torch.allclose(model(x), before, atol=1e-2)


def test_heads_are_selected_by_name_and_add_up():
    model = nn.ModuleDict({"layer": Torch()})

    one, two = (
        select(model, "layer.inner.heads[0]"),
        select(model, [f"layer.inner.heads[{i}]" for i in (0, 2)]),
    )

    assert one.dim == 3 * SIZE * (WIDTH + 1) + WIDTH * SIZE
    assert two.dim == 2 * one.dim
    assert select(model, ["layer.inner.heads[0]", "layer.inner.in_proj_weight"]).dim == (
        3 * WIDTH * WIDTH + 3 * SIZE + WIDTH * SIZE
    )


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        (Torch(), "inner.heads[3]", r"heads 0 to 2"),
        (Torch(), "outer.heads[0]", "no module 'outer'"),
        (Apart(kept=HEADS), "heads[0]", "heads of a Apart are not known; give masks"),
        (nn.Linear(6, 6), "heads[0]", "are not known"),
    ],
)
def test_heads_that_are_not_known_are_refused(model, text, said):
    with pytest.raises(SpecError, match=said):
        select(model, text)
