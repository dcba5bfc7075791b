import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.ids import canonical, derive_seed, digest, group_id, problem_id, trial_id

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "ids.json").read_text(encoding="utf-8"))

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(
    allow_nan=False, allow_infinity=False
) | st.text(max_size=20)  # fmt: skip
CONTAINERS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(max_size=8), CONTAINERS, max_size=6)


def shuffled(value):
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(entry) for entry in value] if isinstance(value, list) else value


@given(DOCUMENTS)
def test_key_order_does_not_count(document):
    assert digest("x", document) == digest("x", shuffled(document))


@given(DOCUMENTS)
def test_a_trip_through_json_does_not_count(document):
    assert digest("x", json.loads(json.dumps(document))) == digest("x", document)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_floats_are_integers(number):
    assert canonical({"a": number}) == canonical({"a": float(number)})


@given(DOCUMENTS, DOCUMENTS)
def test_different_documents_have_different_ids(first, second):
    assert (canonical(first) == canonical(second)) == (digest("x", first) == digest("x", second))


def test_the_kind_is_part_of_the_id():
    assert digest("problem", {}) != digest("trial", {})


def test_canonical_json_is_rfc_8785():
    """The number examples of RFC 8785, section 3.2.2.3, and the key order of 3.2.3."""
    numbers = [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001, -0.0]

    assert canonical({"numbers": numbers}) == b'{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0]}'
    assert canonical({"\u20ac": 1, "\r": 2, "1": 3, "\u00f6": 4}) == '{"\\r":2,"1":3,"ö":4,"€":1}'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53 + 1, {1, 2}, b"x"])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(SpecError, match="cannot hash"):
        canonical({"a": value})


@pytest.mark.parametrize("value", [math.inf, 2**53, -(2**60)])
def test_a_number_without_exact_form_is_named_with_the_cure(value):
    with pytest.raises(SpecError, match=rf"cannot hash {value}: JSON .* (as a text|in quotes)"):
        canonical({"a": [{"b": 2**53 - 1, "c": value}]})


def test_the_digest_is_sha256_of_the_tagged_payload():
    expected = hashlib.sha256(b'{"id_version":1,"kind":"k","payload":{"a":1}}').hexdigest()

    assert digest("k", {"a": 1}) == expected


def test_golden_ids_have_not_moved():
    """A change here orphans every artifact of every user: bump ID_VERSION and the golden file."""
    for case in GOLDEN["problems"]:
        assert problem_id(case["task"], case["task_version"], case["problem"]) == case["id"]
    for case in GOLDEN["trials"]:
        assert trial_id(case["payload"]) == case["id"]
    for case in GOLDEN["groups"]:
        assert group_id(case["pids"]) == case["id"]


def test_golden_seeds_have_not_moved():
    """A change here gives every trial other random numbers."""
    for case in GOLDEN["seeds"]:
        assert derive_seed(*case["parts"]) == case["seed"]


def test_the_id_of_a_group_ignores_order():
    assert group_id(["p_1", "p_2"]) == group_id(["p_2", "p_1"]) != group_id(["p_1", "p_3"])


def test_seeds_depend_on_every_part_and_their_order():
    seeds = {derive_seed("a", 1), derive_seed("a", 2), derive_seed("b", 1), derive_seed(1, "a")}

    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
