import math

from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.store.progress import Reader, Reporter, ask_to_stop, reports, stop_reason


def test_reports_come_back_in_order_and_numbers_that_are_not_finite_as_null(tmp_path):
    reporter = Reporter(tmp_path / "progress.jsonl")

    reporter.report(2, {"loss": 0.5})
    reporter.report(1, {"loss": math.nan, "name": "a"})

    assert reports(tmp_path / "progress.jsonl") == [(1, {"loss": None, "name": "a"}), (2, {"loss": 0.5})]


def test_a_reader_gets_only_what_is_new_and_whole(tmp_path):
    path = tmp_path / "progress.jsonl"
    reader, reporter = Reader(path), Reporter(path)
    assert reader.new() == []

    reporter.report(1, {"a": 1})
    assert reader.new() == [(1, {"a": 1})]
    with path.open("ab") as stream:
        stream.write(b'[2, {"a"')
    assert reader.new() == []
    with path.open("ab") as stream:
        stream.write(b": 2}]\n")
    assert reader.new() == [(2, {"a": 2})]


def test_a_torn_line_of_an_earlier_attempt_costs_only_itself(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_bytes(b'[1, {"a": 1}]\n[2, {"a"')

    reporter = Reporter(path, fresh=False)
    reporter.report(2, {"a": 5})

    assert reports(path) == [(1, {"a": 1}), (2, {"a": 5})]


def test_a_fresh_start_forgets_what_was_reported_and_readers_notice(tmp_path):
    path = tmp_path / "progress.jsonl"
    first = Reporter(path)
    first.report(1, {"a": 1})
    first.report(2, {"a": 1})
    reader = Reader(path)
    reader.new()

    Reporter(path).report(1, {"a": 7})

    assert reader.new() == [(1, {"a": 7})]


def test_what_is_repeated_after_a_checkpoint_counts_once(tmp_path):
    path = tmp_path / "progress.jsonl"
    first = Reporter(path)
    first.report(1, {"a": 1})
    first.report(2, {"a": 2})

    again = Reporter(path, fresh=False)
    assert again.last == {"a": 2}
    again.report(2, {"a": 3})

    assert reports(path) == [(1, {"a": 1}), (2, {"a": 3})]


@given(st.binary(max_size=200))
def test_no_content_of_the_file_is_fatal(content):
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress.jsonl"
        path.write_bytes(content)
        for step, metrics in reports(path):
            assert isinstance(step, int)
            assert isinstance(metrics, dict)


def test_a_request_to_stop_has_its_reason(tmp_path):
    assert stop_reason(tmp_path / "stop.json") is None

    ask_to_stop(tmp_path / "stop.json", "hopeless")

    assert stop_reason(tmp_path / "stop.json") == "hopeless"
