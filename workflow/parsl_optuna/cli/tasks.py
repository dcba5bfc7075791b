"""``parsl-optuna tasks``: list tasks, their methods and search spaces."""

from __future__ import annotations

import json

import click

from parsl_optuna.cli import options
from parsl_optuna.tasks.base import resolve_task, task_names


@click.command("tasks")
@click.argument("name", required=False)
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """List tasks, their methods, default hyperparameters and search spaces."""
    found = {}
    for task_name in [name] if name else task_names():
        task = resolve_task(task_name)
        methods = {}
        for method in task.methods:
            space = task.space({}, method).describe()
            methods[method] = {"defaults": task.complete({}, method, {}, method), "space": space}
        found[task_name] = {"version": task.version, "methods": methods}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for task_name, task in found.items():
        click.echo(f"{task_name} (version {task['version']})")
        for method, about in task["methods"].items():
            click.echo(f"  {method}")
            for parameter, default in about["defaults"].items():
                varies = about["space"].get(parameter, "")
                click.echo(f"    {parameter:16} {default!s:22} {varies}".rstrip())
