"""No changed byte is used, and none ends in an exception that is no message."""

import pytest

from benchmarks import fuzz


@pytest.mark.parametrize("every", [500, pytest.param(1, marks=pytest.mark.slow)])
def test_a_changed_file_is_refused_or_left_out(tmp_path, monkeypatch, every):
    monkeypatch.setattr(fuzz, "CUTS", 2 if every > 1 else 20)

    found = fuzz.fuzz_tree(fuzz.of_this_schema(tmp_path), every, seed=1)

    assert {kind for kind, counts in found.items() if counts["differs"] or counts["raw"]} == set()
    assert found.keys() >= {"manifest.json", "metrics.json", "ref.json", "problem.json", "prepared.json"}
    assert found.keys() >= {"prepared files", "checkpoint", "progress.jsonl", "stop.json"}


def test_a_changed_file_of_the_first_schema_never_ends_in_a_raw_exception(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "CUTS", 2)

    found = fuzz.fuzz_tree(fuzz.of_schema_1(tmp_path), every=200, seed=1)

    assert sum(counts["raw"] for counts in found.values()) == 0


def test_a_damaged_lease_keeps_no_driver_out(tmp_path):
    found = fuzz.fuzz_lease(tmp_path, every=5, seed=1)

    assert found.keys() == {"same"}
