"""``parsl-optuna log``: show what happened: commands, trials, blocks, retries, stop rules."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from parsl_optuna.cli import options
from parsl_optuna.store.events import EventReader, text_of

_POLL_SEC = 0.5
"""People do not notice half a second, and a file system does not notice two looks per second."""


@click.command("log")
@click.option("--trial", "trial_id", metavar="ID", help="Events of one trial only (r_…, or its beginning).")
@click.option("--follow", is_flag=True, help="Go on and show what happens, until Ctrl-C.")
@options.results_dir
@options.as_json
def command(trial_id: str | None, follow: bool, results_dir: str | None, as_json: bool) -> None:
    """Show the events of the commands that wrote to a results folder, the oldest first.

    They are kept in events.jsonl, one per line, and only for people: nothing is lost when it is deleted.
    When and where a trial started is known once it has ended, and is listed then.
    """
    reader = EventReader(options.events(results_dir, may_come_later=follow))
    while True:
        for event in reader.new():
            if trial_id is None or str(event.get("trial_id", "")).startswith(trial_id):
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
        if not follow:
            return
        time.sleep(_POLL_SEC)


def _line(event: Mapping[str, Any]) -> str:
    return f"{event['at']}  {text_of(event)}"
