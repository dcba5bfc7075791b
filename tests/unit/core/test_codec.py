from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from parsl_optuna.core.codec import Record, Timestamp
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import State
from parsl_optuna.core.space import Scalar


@dataclass(frozen=True)
class Older(Record):
    at: Timestamp
    value: float | None
    params: Mapping[str, Scalar]
    state: State


@dataclass(frozen=True)
class Newer(Older):
    count: int = 3


DATA = {"at": "2026-01-01T00:00:00.000Z", "value": 1.5, "params": {"a": True, "b": None}, "state": "ok"}


def test_a_missing_field_takes_its_default():
    assert Newer.from_json(DATA).count == 3


def test_an_unknown_key_survives_reading_and_writing():
    newer = {**DATA, "count": 4, "more": {"x": [1]}}

    assert Older.from_json(newer).to_json() == newer


def test_a_record_goes_to_plain_data_and_back():
    assert Newer.from_json(Newer.from_json(DATA).to_json()) == Newer.from_json(DATA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": "yesterday"}, "at: must be a time in ISO 8601, got 'yesterday'"),
        ({"value": "1.5"}, "value: must be a number"),
        ({"value": True}, "value: must be a number"),
        ({"params": [1]}, "params: must be an object"),
        ({"params": {"a": []}}, "params: a: must be a number, a string"),
        ({"state": "okay"}, "state: unknown value 'okay'; did you mean 'ok'?"),
        ({"count": 2.5}, "count: must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_key(change, message):
    with pytest.raises(SpecError) as caught:
        Newer.from_json(DATA | change)

    assert str(caught.value).startswith(message)


def test_a_missing_key_without_default_is_told():
    with pytest.raises(SpecError, match="at: is missing"):
        Newer.from_json({})
