from collections import namedtuple

import numpy as np
import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Examples, axes, named, read
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
Pair = namedtuple("Pair", "x y")


class Rows(Dataset):
    """A map-style data set of anything."""

    def __init__(self, make, n=10):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.make(index)


class Duck:
    """Behaves like a data set, without being one."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"x": X[index].numpy(), "y": int(Y[index])}


class Stream(IterableDataset):
    """Yields examples, *n* or for ever."""

    def __init__(self, n=None):
        self.n = n

    def __iter__(self):
        index = 0
        while self.n is None or index < self.n:
            yield X[index % 10], Y[index % 10]
            index += 1


PAIRS = {
    "tensors": lambda: (X, Y),
    "list": lambda: [X, Y],
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "reversed arrays": lambda: (X.flip(0).numpy()[::-1], Y.flip(0).numpy()[::-1]),
    "big-endian arrays": lambda: (X.numpy().astype(">f4"), Y.numpy().astype(">i8")),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "Dataset": lambda: Rows(lambda i: (X[i], Y[i])),
    "list of examples": lambda: [(X[i], int(Y[i])) for i in range(10)],
    "DataLoader": lambda: DataLoader(TensorDataset(X, Y), batch_size=4),
    "IterableDataset": lambda: Stream(10),
    "DataLoader of a stream": lambda: DataLoader(Stream(10), batch_size=3),
    "DataLoader of batches": lambda: DataLoader(
        Rows(lambda i: (X[2 * i : 2 * i + 2], Y[2 * i : 2 * i + 2]), 5), batch_size=None
    ),
}


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_every_kind_of_pair_is_read_to_the_same_rows(make):
    found = read(make())

    assert found.n == 10
    assert found.is_pair
    assert torch.equal(found.batch[0], X)
    assert torch.equal(found.batch[1], Y)
    assert found.notes == ()


def test_a_shuffled_loader_gives_every_row_once():
    found = read(DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True))

    assert sorted(found.batch[1].tolist()) == list(range(10))


@pytest.mark.parametrize(
    "data", [Rows(lambda i: {"x": X[i], "y": Y[i]}), Duck(), [Duck()[i] for i in range(10)]]
)
def test_examples_that_are_mappings_become_columns(data):
    found = read(data)

    assert torch.equal(found.batch["x"], X)
    assert torch.equal(found.batch["y"], Y)


def test_nesting_and_constants_are_kept():
    batch = {"inputs": (X, {"mask": Y > 3}), "flag": True, "scale": torch.tensor(2.0), "none": None}

    found = read(batch)
    few = found.rows(torch.tensor([1, 4]))

    assert torch.equal(few["inputs"][0], X[[1, 4]])
    assert few["inputs"][1]["mask"].tolist() == [False, True]
    assert (few["flag"], float(few["scale"]), few["none"]) == (True, 2.0, None)
    assert axes(found.batch) == {"inputs": (0, {"mask": 0}), "flag": None, "scale": None, "none": None}


def test_a_named_tuple_stays_one():
    assert read(Pair(X, Y)).rows(slice(0, 2)).y.tolist() == [0, 1]


def test_inputs_alone_are_data():
    found = read(X)

    assert (found.n, found.is_pair) == (10, False)


def test_floating_point_numbers_get_the_precision_and_integers_stay():
    found = read((X.half(), Y)).to(torch.device("cpu"), torch.float64)

    assert [tensor.dtype for _, tensor in named(found.batch)] == [torch.float64, torch.int64]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_labels_become_indices_and_pixels_stay_small(dtype):
    found = read((np.zeros((4, 2), dtype=np.uint8), np.arange(4, dtype=dtype)))

    assert [tensor.dtype for _, tensor in named(found.batch)] == [torch.uint8, torch.int64]


def test_unsigned_integers_become_such_that_torch_computes_with():
    assert read(np.arange(4, dtype=np.uint16)).batch.dtype == torch.int64


def test_what_a_loader_leaves_out_is_told():
    found = read(DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True))

    assert found.n == 8
    assert found.notes == ("drop_last=True leaves 2 of 10 examples out of the data",)


def test_examples_that_change_when_read_again_are_told():
    found = read(Rows(lambda i: (torch.randn(2), Y[i])))

    assert "differ each time" in found.notes[0]


def padded(parts):
    """Collate to the longest of a batch only."""
    longest = max(len(part) for part in parts)
    return default_collate([torch.nn.functional.pad(part, (0, longest - len(part))) for part in parts])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((X, Y[:9]), r"rows of unequal number \(\[0\] 10, \[1\] 9\)"),
        ((X[:0], Y[:0]), "no examples"),
        (TensorDataset(X[:0], Y[:0]), "no examples"),
        (DataLoader(TensorDataset(X[:3], Y[:3]), batch_size=4, drop_last=True), "no examples"),
        ([], "no tensor with rows"),
        ("mnist", "cannot read a str"),
        (None, "cannot read a NoneType"),
        (iter([(X, Y)]), "generator"),
        (np.array(["a", "b"]), "an array of <U1"),
        ({"text": ["a", "b"], "y": Y[:2]}, r"data\['text'\]: text, such as 'a'"),
        ((X.to_sparse(), Y), "to_dense"),
        ((torch.where(X == 3, torch.nan, X), Y), r"\[0\] holds NaN"),
        (
            DataLoader(Rows(lambda i: X.flatten()[: i + 1]), batch_size=2, collate_fn=padded),
            r"pad all to one shape",
        ),
        ([(X[0], 1), (X[0, :1], 1)], "cannot be stacked"),
        (
            DataLoader(TensorDataset(X, Y), sampler=RandomSampler(X, replacement=True)),
            "with replacement; give its dataset",
        ),
        (
            DataLoader(TensorDataset(X, Y), sampler=WeightedRandomSampler(torch.ones(10), 10)),
            "WeightedRandomSampler may repeat or skip examples; give its dataset",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(data, said):
    with pytest.raises(SpecError, match=said) as caught:
        read(data)

    assert str(caught.value).startswith("data")
    assert "\n" not in str(caught.value)


def test_a_table_is_refused_with_the_cure():
    pandas = pytest.importorskip("pandas")

    with pytest.raises(SpecError, match="to_numpy"):
        read(pandas.DataFrame({"x": [1.0]}))


def test_an_endless_stream_ends_with_the_deadline_or_the_memory():
    clock = iter(range(10**6))
    deadline = Deadline(3.0, now=lambda: float(next(clock)))

    with pytest.raises(SpecError, match="does the data set ever end"):
        read(Stream(), deadline)
    with pytest.raises(SpecError, match="memory_gb"):
        read(Stream(), most_bytes=10_000)


def test_bytes_are_those_of_all_tensors():
    assert Examples((X, Y), 10).bytes() == 20 * 4 + 10 * 8


def test_workers_that_may_each_yield_everything_are_refused():
    with pytest.raises(SpecError, match=r"2 workers read one IterableDataset.*take num_workers=0"):
        read(DataLoader(Stream(10), batch_size=5, num_workers=2))


def test_a_loader_of_augmented_examples_says_so():
    noisy = Rows(lambda index: (X[index] + torch.rand(2), Y[index]))

    assert "differ each time" in read(DataLoader(noisy, batch_size=5)).notes[0]


def test_a_loader_that_draws_some_of_its_examples_is_refused():
    rows = TensorDataset(X, Y)

    with pytest.raises(SpecError, match="draws 5 examples of its dataset; give the dataset instead"):
        read(DataLoader(rows, sampler=RandomSampler(rows, num_samples=5)))


def test_batches_of_the_users_own_are_taken_with_a_note():
    own = [[0, 1, 2], [3], [4, 5, 6, 7, 8, 9]]

    found = read(DataLoader(TensorDataset(X, Y), batch_sampler=own))

    assert found.n == 10
    assert "taken to give every example once" in found.notes[0]
