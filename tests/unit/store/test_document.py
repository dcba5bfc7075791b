import json
import math

import pytest
from parsl_optuna.core.errors import CorruptArtifact, NewerSchema
from parsl_optuna.core.records import SCHEMA
from parsl_optuna.store import document


def test_json_is_strict_and_reads_back(tmp_path):
    data = {"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}, "e": "ü", "f": (1, 2)}

    document.write(tmp_path / "x.json", data)

    assert document.read(tmp_path / "x.json") == {
        "schema": SCHEMA,
        "a": None,
        "b": [None, 1.5],
        "c": {"d": None},
        "e": "ü",
        "f": [1, 2],
    }
    json.loads((tmp_path / "x.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_a_missing_file_is_none(tmp_path):
    assert document.read(tmp_path / "none.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_file_is_told_with_its_path(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)

    with pytest.raises(CorruptArtifact, match=r"x\.json"):
        document.read(path)


def test_a_changed_byte_is_told_by_file_name_and_never_used(tmp_path):
    """Every byte of a document, changed once: none is read."""
    path = tmp_path / "x.json"
    document.write(path, {"value": 1.5, "text": "ü", "list": [1, {"a": None}]})
    content = path.read_bytes()

    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises((CorruptArtifact, NewerSchema), match=r"x\.json"):
            document.read(path)


def test_a_cut_document_is_told(tmp_path):
    path = tmp_path / "x.json"
    document.write(path, {"value": 1.5})
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptArtifact, match=r"x\.json"):
            document.read(path)


def test_a_changed_file_of_a_trial_says_how_to_keep_it(tmp_path):
    path = tmp_path / "r_0123456789ab" / "metrics.json"
    document.write(path, {"value": 1.5})
    path.write_text(path.read_text(encoding="utf-8").replace("1.5", "1.4"), encoding="utf-8")

    with pytest.raises(CorruptArtifact, match="parsl-optuna accept r_0123456789ab"):
        document.read(path)


def test_a_file_without_schema_and_digest_is_read_as_before(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"value": 1.5, "digest": "a metric of this name"}', encoding="utf-8")

    assert document.read(path) == {"value": 1.5, "digest": "a metric of this name", "schema": 1}


def test_a_newer_schema_is_one_line_with_the_cure(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": SCHEMA + 1, "whatever": 1}), encoding="utf-8")

    with pytest.raises(NewerSchema, match=rf"x\.json: has schema {SCHEMA + 1}, .* update parsl-optuna"):
        document.read(path)


@pytest.mark.parametrize(
    "content", ['{"a": "\\ud800"}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"schema": true}']
)
def test_json_that_python_chokes_on_is_told(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(CorruptArtifact, match=r"x\.json"):
        document.read(path)


def test_half_of_a_surrogate_pair_is_written_as_a_question_mark(tmp_path):
    document.write(tmp_path / "x.json", {"name": "a\ud800b"})

    assert document.read(tmp_path / "x.json") == {"schema": SCHEMA, "name": "a?b"}
