"""Models of the kinds that people bring."""

import torch
from torch import nn
from torch.nn import functional


class Encoder(nn.Module):
    """Called as those of Hugging Face are, and returns a mapping."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 6), nn.Linear(6, 2)

    def forward(self, input_ids, attention_mask=None, labels=None, return_dict=True):
        mask = attention_mask[..., None].to(self.out.weight.dtype)
        logits = self.out((self.embedding(input_ids) * mask).sum(1) / mask.sum(1))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return {"logits": logits, "loss": loss}


class Causal(nn.Module):
    """A transformer block with a causal mask."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 6), nn.Linear(6, 11)
        self.block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x):
        dtype = self.out.weight.dtype
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=dtype)
        return self.out(self.block(self.embedding(x), src_mask=mask))


class Attention(nn.Module):
    """Self-attention over embeddings."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.embedding, self.out = nn.Embedding(11, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.embedding(x)
        return self.out(self.attention(h, h, h)[0].mean(1))


class Recurrent(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.out = kind(1, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.layer(x[..., None])[0][:, -1])


class WithHidden(nn.Module):
    """Returns outputs and more."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 1)

    def forward(self, x):
        return self.inner(x), x


class Counter(nn.Linear):
    """Changes a buffer in every forward pass, without using it."""

    def __init__(self):
        super().__init__(6, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Moving(nn.Linear):
    """Subtracts a running mean that it updates in evaluation mode too."""

    def __init__(self):
        super().__init__(6, 1)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return super().forward(x - self.mean)


class Shared(nn.Module):
    """Half of the parameters are shared."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


class LowRank(nn.Module):
    """A frozen layer with a low-rank adapter."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(6, 1).requires_grad_(requires_grad=False)
        self.down, self.up = nn.Parameter(0.3 * torch.ones(2, 6)), nn.Parameter(0.3 * torch.ones(1, 2))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s + x * s * (1 - s))


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round(decimals=1)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Smooth(nn.Module):
    """A custom autograd function."""

    function = _Swish

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(6, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.function.apply(self.inner(x)))


class Straight(Smooth):
    """A straight-through estimator."""

    function = _Rounded
