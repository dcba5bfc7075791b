import math

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.autoencoder import TASK
from parsl_optuna.tasks.autoencoder.columns import COLUMNS
from parsl_optuna.tasks.autoencoder.params import architectures, n_parameters, widths


@pytest.mark.parametrize(
    ("n", "layers", "count"),
    [(3, 2, 9), (3, 3, 19), (4, 2, 14), (4, 3, 34), (4, 4, 69), (5, 3, 55), (4, 1, 4)],
)
def test_architectures_are_all_non_increasing_sequences(n, layers, count):
    found = architectures([8 * 2**i for i in range(n)], layers)

    assert len(found) == len(set(found)) == count == math.comb(n + layers, layers) - 1
    assert all(list(one) == sorted(one, reverse=True) for one in found)
    assert architectures([16, 8, 16], 2) == architectures([8, 16], 2)


@pytest.mark.parametrize(
    ("hidden", "latent", "count"),
    [((64, 64), 3, 12491), ((32, 16), 2, 2986), ((32, 16), 3, 3019), ((16,), 3, 1035), ((64,), 3, 3915),
     ((128, 128, 128), 3, 74827)],
)  # fmt: skip
def test_parameters_are_counted_as_documented(hidden, latent, count):
    from parsl_optuna.tasks.autoencoder.network import Autoencoder  # noqa: PLC0415

    assert n_parameters(hidden, latent, 24) == count
    assert sum(one.numel() for one in Autoencoder(24, hidden, latent, 0.1).parameters()) == count


def test_widths_are_read_and_wrong_ones_told():
    assert widths("64-32") == (64, 32)
    for wrong in ("", "64-", "64,32", "0", "-3"):
        with pytest.raises(SpecError, match="widths with dashes"):
            widths(wrong)


def test_a_table_of_another_shape_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(",".join(COLUMNS[2:]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join([",".join(COLUMNS), *[",".join("1" * 24)] * 20]))

    with pytest.raises(
        SpecError, match=r"p \$\.data_path: a\.csv: 2 of the 24 COPUS columns are missing: L, Ind"
    ):
        TASK.resolve({"data_path": "a.csv"}, "p $")
    assert TASK.resolve({"data_path": "b.csv"}, "p $")["checksum"]
    with pytest.raises(SpecError, match="no file"):
        TASK.resolve({"data_path": "c.csv"}, "p $")
