from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import dump_yaml, read_yaml, structure, unstructure


@dataclass(frozen=True)
class Inner:
    rate: float
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner
    name: str = "x"
    flag: bool = False
    several: tuple[Inner, ...] = ()
    widths: tuple[int, ...] | None = None
    limit: float | None = None


def read(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def test_scalars_are_those_of_yaml_1_2(tmp_path):
    text = "a: 1e-3\nb: no\nc: 010\nd: 2020-01-01\ne: [1, .5, -1.0E+3]\nf: ~\ng: on\nh: true\ni: 12:30:45\n"

    assert read(tmp_path, text) == {
        "a": 0.001,
        "b": "no",
        "c": 10,
        "d": "2020-01-01",
        "e": [1, 0.5, -1000.0],
        "f": None,
        "g": "on",
        "h": True,
        "i": "12:30:45",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "line 2: not valid YAML"),
        ("a: 1\na: 2", "key 'a' appears twice"),
        ("- 1", "the top level is a list"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(tmp_path, text, message):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text + "\n")

    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


def test_all_mistakes_are_told_at_once():
    data = {
        "count": True,
        "inner": {"rate": "x", "mode": "fats", "rat": 1},
        "several": [{"rate": 1}, {}],
        "widths": "123",
        "nam": "y",
    }

    with pytest.raises(SpecError) as caught:
        structure(Outer, data, "f $")

    assert sorted(str(caught.value).splitlines()) == [
        "f $.count: must be a whole number, got True (bool)",
        "f $.inner.mode: unknown value 'fats' (str); did you mean 'fast'?",
        "f $.inner.rat: unknown key; did you mean 'rate'?",
        "f $.inner.rate: must be a number, got 'x' (str)",
        "f $.nam: unknown key; did you mean 'name'?",
        "f $.several[1].rate: is missing; it has no default",
        "f $.widths: must be a list, got '123' (str)",
    ]


def test_whole_floats_pass_as_integers_and_fractions_do_not():
    assert structure(Outer, {"count": 3.0, "inner": {"rate": 1}}, "f $").count == 3
    with pytest.raises(SpecError, match=r"whole number, got 3.7"):
        structure(Outer, {"count": 3.7, "inner": {"rate": 1}}, "f $")


@pytest.mark.parametrize("data", [None, 3, "text", [1]])
def test_what_is_no_mapping_is_refused(data):
    with pytest.raises(SpecError, match="must be a mapping"):
        structure(Outer, {"count": 1, "inner": data}, "f $")


@given(
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.lists(st.integers(0, 9), max_size=4).map(tuple),
)
def test_structure_undoes_unstructure(count, rate, widths):
    record = Outer(count, Inner(rate), widths=widths)

    assert structure(Outer, unstructure(record), "f $") == record


@given(
    st.dictionaries(
        st.text("abcdefg_", min_size=1, max_size=6),
        st.none()
        | st.booleans()
        | st.integers(-(10**12), 10**12)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=10),
        max_size=5,
    )
)
@example({"a": "\x85"})
@example({"a": "1e-3", "b": "yes", "c": "0x1f", "d": "2026-01-01", "e": "\u2028x"})
def test_dumped_yaml_reads_back(data):
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(dump_yaml(data), encoding="utf-8")

        assert read_yaml(path) == data
