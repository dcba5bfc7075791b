import json
import logging
import multiprocessing

from parsl_optuna.store.events import EventLog, EventReader, Kind, set_aside, text_of


def kinds(path):
    return [event["event"] for event in EventReader(path).new()]


def test_events_come_back_in_order_with_their_time_and_without_what_is_not_known(tmp_path):
    log = EventLog(tmp_path / "new" / "events.jsonl")

    log.add(Kind.ASKED, trial_id="r_1", number=3, extends=None)
    log.add(Kind.ENDED, trial_id="r_1", state="ok", objective=float("nan"))

    first, second = EventReader(tmp_path / "new" / "events.jsonl").new()
    assert first.pop("at").endswith("Z")
    assert first == {"event": "asked", "trial_id": "r_1", "number": 3}
    assert second["objective"] is None


def test_a_torn_last_line_costs_only_itself(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).add(Kind.ASKED)
    with path.open("ab") as stream:
        stream.write(b'{"at": "2026-01-01T00:00:00Z", "ev')

    EventLog(path).add(Kind.ENDED)

    assert kinds(path) == ["asked", "ended"]


def test_foreign_lines_are_skipped(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\n[1]\n"x"\n{"event": "asked"}\n\xff\xfe\n')

    EventLog(path).add(Kind.ENDED)

    assert kinds(path) == ["ended"]


def test_the_file_is_bounded_and_the_newest_events_are_kept(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path, most_bytes=1000)

    for number in range(100):
        log.add(Kind.ASKED, number=number)

    assert path.stat().st_size <= 1100
    assert set_aside(path).stat().st_size <= 1100
    assert len(list(tmp_path.iterdir())) == 2
    numbers = [event["number"] for event in EventReader(path).new()]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) >= 13


def test_who_follows_the_file_misses_nothing_when_it_is_set_aside(tmp_path):
    path = tmp_path / "events.jsonl"
    log, reader, seen = EventLog(path, most_bytes=1000), EventReader(path), []

    for number in range(100):
        log.add(Kind.ASKED, number=number)
        if number % 7 == 0:
            seen += reader.new()
    seen += reader.new()

    assert [event["number"] for event in seen] == list(range(100))


def append(path, name):
    log = EventLog(path)
    for number in range(300):
        log.add(Kind.BLOCK_GRANTED, block=name, number=number)


def test_lines_of_several_processes_do_not_mix(tmp_path):
    path = tmp_path / "events.jsonl"
    workers = [multiprocessing.Process(target=append, args=(path, name)) for name in "ab"]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]

    events = EventReader(path).new()

    assert len(events) == len(path.read_bytes().splitlines()) == 600
    assert [e["number"] for e in events if e["block"] == "a"] == list(range(300))


def test_a_folder_that_cannot_be_written_ends_the_record_with_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    log = EventLog(tmp_path / "file" / "events.jsonl")

    with caplog.at_level(logging.WARNING):
        log.add(Kind.ASKED)
        log.add(Kind.ENDED)

    assert len(caplog.records) == 1
    assert "no more events are recorded" in caplog.text


def test_without_a_file_events_still_reach_the_logger(caplog):
    with caplog.at_level(logging.INFO, logger="parsl_optuna.events"):
        EventLog().add(Kind.RETRIED, trial_id="r_1", reason="BlockLost: the node is away")

    assert caplog.messages == ['retried  trial_id=r_1  reason="BlockLost: the node is away"']


def test_the_line_for_people_keeps_control_characters_out():
    assert "\x1b" not in text_of({"at": "x", "event": "ended", "reason": "a\x1b[31m\nb"})


def test_the_file_is_plain_json(tmp_path):
    EventLog(tmp_path / "events.jsonl").add(Kind.STOP_RULE, reason="größer")

    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reason"] == "größer"
