import numpy as np
import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.autoencoder.columns import COLUMNS
from parsl_optuna.tasks.autoencoder.observations import read_observations


def lines(n=30, **cells):
    """Return the lines of a table with an id; *cells* are those of its third row, by column."""
    found = ["id," + ",".join(COLUMNS)]
    for row in range(n):
        values = [str(cells.get(name, 10)) if row == 2 else str(row) for name in COLUMNS]
        found.append(f"class {row}," + ",".join(values))
    return found


def read(folder, found, encoding="utf-8"):
    (folder / "t.csv").write_bytes("\n".join(found).encode(encoding))
    return read_observations(folder / "t.csv", "t.csv")


def test_percentages_are_read_and_empty_cells_are_missing(tmp_path):
    rows = read(tmp_path, [*lines(L="", Ind="NA", CG="99.5"), "", ",,"])

    assert rows.shape == (30, 24)
    assert np.isnan(rows[2, :2]).all()
    assert rows[2, 2] == 99.5
    assert np.isfinite(rows).sum() == 30 * 24 - 2


def test_a_byte_order_mark_and_quotes_are_no_matter(tmp_path):
    found = lines()
    found[0] = ",".join(f'"{name}"' for name in found[0].split(","))

    assert read(tmp_path, found, "utf-8-sig").shape == (30, 24)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"L": "abc"}, r"t\.csv: line 4, column L: 'abc' is no number; leave the cell empty"),
        ({"L": '"12,5"'}, r"line 4, column L: '12,5' has a decimal comma; write 12\.5"),
        ({"L": "12,5"}, "line 4 has 26 cells for 25 columns; a number with a decimal comma takes two"),
        ({"CG": "45%"}, "line 4, column CG: '45%' has a percent sign; write 45"),
        ({"CG": "inf"}, "line 4, column CG: 'inf' is not finite"),
        ({"CG": "-3"}, "line 4, column CG: -3 is no percentage, from 0 to 100"),
        ({"CG": "101"}, "line 4, column CG: 101 is no percentage"),
    ],
)
def test_a_cell_that_is_no_percentage_is_told_by_line_and_column(tmp_path, cells, message):
    with pytest.raises(SpecError, match=message):
        read(tmp_path, lines(**cells))


def test_several_cells_are_told_at_once_and_not_thousands(tmp_path):
    found = [line.replace("class", "class").replace(",3,", ",x,") for line in lines()]
    with pytest.raises(SpecError) as caught:
        read(tmp_path, found)

    assert 5 <= len(str(caught.value).splitlines()) <= 25
    assert "no more is looked at" in str(caught.value)


@pytest.mark.parametrize(("sign", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_told(tmp_path, sign, word):
    with pytest.raises(SpecError, match=f"separated by {word}; save it with commas"):
        read(tmp_path, [line.replace(",", sign) for line in lines()])


def test_an_empty_column_too_few_rows_and_a_missing_column_are_told(tmp_path):
    empty = [
        lines()[0],
        *(",".join([*line.split(",")[:3], "", *line.split(",")[4:]]) for line in lines()[1:]),
    ]
    with pytest.raises(SpecError, match="column CG is empty"):
        read(tmp_path, empty)
    with pytest.raises(SpecError, match="has 3 rows, too few; at least 20"):
        read(tmp_path, lines(3))
    with pytest.raises(SpecError, match="1 of the 24 COPUS columns are missing: CG"):
        read(tmp_path, [line.replace(",CG,", ",XX,") for line in lines()])
    with pytest.raises(SpecError, match="column L is there 2 times"):
        read(tmp_path, [line.replace("id,", "L,", 1) for line in lines()])
    with pytest.raises(SpecError, match="24 of the 24"):
        read(tmp_path, [])
    with pytest.raises(SpecError, match="is not UTF-8 text"):
        read(tmp_path, ["é" + line for line in lines()], "latin-1")
