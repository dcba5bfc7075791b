"""List what the program can say, read from its code: ``docs/messages.md``.

A message is what is raised, and any other text of at least three words that is no docstring and no help. A file
with messages belongs to the group that names the longest part of its path.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workflow" / "parsl_optuna"
_LEAST_WORDS = 3
_CODE = ("#", "<", "%(", "srun ", "exec ")
"""So begins text for a shell, a browser or a log file."""


@dataclass(frozen=True)
class Group:
    """Messages that are met in one place.

    Attributes:
        title: Heading.
        files: Files or folders of the package.
        cure: What to do where the message itself does not say it.
    """

    title: str
    files: tuple[str, ...]
    cure: str


_KEY = "Correct the key that the line names; `parsl-optuna plan` checks the file and starts nothing."
GROUPS = (
    Group("Configuration files", ("core",), _KEY),
    Group("The plan of a study", ("study/plan", "study/forecast.py"), _KEY),
    Group(
        "W&B sweep files",
        ("study/plan/sweep", "cli/sweep.py"),
        "An error: correct the key in the sweep file. A note: nothing, if that is what you want.",
    ),
    Group("Samplers, pruners, stop rules", ("study/search", "study/state.py", "study/active.py"), _KEY),
    Group(
        "Your function, its files, your task",
        ("tasks/function.py", "tasks/source.py", "tasks/user_module.py", "tasks/base.py"),
        "Correct the function or the path, then run the command again.",
    ),
    Group(
        "Your program",
        ("tasks/command",),
        "Look at the end of its output: `parsl-optuna show ID`. Then correct the program or `command`.",
    ),
    Group("Problems and samplers of the task llc", ("tasks/llc", "kernels"), _KEY),
    Group(
        "Your own model: estimate_llc",
        (
            "api/estimate.py",
            "api/training.py",
            "api/observables.py",
            "cli/estimate.py",
            "tasks/llc/api.py",
            "tasks/llc/notes.py",
            "tasks/llc/problem",
        ),
        "Change the argument that the line begins with. A note: know it when you read the estimate.",
    ),
    Group("Problems of the task llc", ("tasks/llc/problem/spec.py",), _KEY),
    Group(
        "The status of an estimate",
        ("tasks/llc/answer",),
        "[Troubleshooting](troubleshooting.md#the-status-of-an-estimate-is-not-ok) says what each status asks for.",
    ),
    Group(
        "Tasks lvae, autoencoder and varmix",
        ("tasks/lvae", "tasks/autoencoder", "tasks/varmix", "cli/autoencoder.py"),
        "Correct the option, key or file that the line names.",
    ),
    Group(
        "How a trial ended",
        ("worker",),
        "Look at the trial: `parsl-optuna show ID`. After the correction: `parsl-optuna retry --state STATE`.",
    ),
    Group(
        "Files on disk",
        ("store",),
        "Free space, or check that the folder can be written: `parsl-optuna doctor`. Then the same command.",
    ),
    Group(
        "Workers and schedulers",
        ("execution",),
        "Check the block `cluster`, and what a worker sees: `parsl-optuna doctor --parsl-config slurm`.",
    ),
    Group(
        "The run of a study",
        ("study",),
        "Run the same command again: what has ended is kept. `parsl-optuna log` says what happened before.",
    ),
    Group(
        "Commands and the Python API",
        ("cli", "api", "__init__.py"),
        "Correct the option or argument; see `--help`.",
    ),
    Group("Tables and reports", ("report",), "It describes the results; nothing is to be done."),
)
NO_MESSAGES = (
    "execution/script.py",  # lines of shell, as the next one
    "execution/driver_job.py",
    "report/columns.py",  # docs/columns.md
    "report/plots.py",  # labels of axes
    "report/interactive/page.py",
    "cli/starters",
    "tasks/command/standin",  # what wandb says
    "tasks/command/tee",
)

_KINDS = {
    "SpecError": "error",
    "click.UsageError": "error",
    "ctx.fail": "error",
    "mistakes.add": "error",
    "MetricNameError": "failed trial",
    "TaskError": "failed trial",
    "CorruptArtifact": "damaged file",
    "NewerSchema": "newer file",
    "StoreError": "file system",
    "HeldError": "other driver",
    "ExecutorError": "workers",
    "WorkerLost": "lost worker",
    "BlockLost": "lost worker",
    "NodeReclaimed": "lost worker",
}


@dataclass(frozen=True)
class Message:
    """One text: where it stands, how it is said, and its words, with … for what is filled in."""

    file: str
    kind: str
    text: str


@functools.cache
def messages() -> tuple[Message, ...]:
    """Return every message of the package, in the order of the files."""
    found: list[Message] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(NO_MESSAGES):
            found += list(dict.fromkeys(_messages(ast.parse(path.read_text(encoding="utf-8")), name)))
    return tuple(found)


def group_of(file: str) -> Group | None:
    """Return the group of a file: of all that match, the one that names the longest path."""
    fitting = [(len(part), one) for one in GROUPS for part in one.files if f"{file}/".startswith(f"{part}/")]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def message_reference() -> str:
    """Return all messages as Markdown, by group."""
    parts = [_HEAD]
    found = messages()
    for group in GROUPS:
        rows = dict.fromkeys(_row(one) for one in found if group_of(one.file) is group)
        parts.append(
            "\n".join(
                [
                    f"## {group.title}",
                    "",
                    f"Where the table says nothing: {_begun(group.cure)}",
                    "",
                    *_COLUMNS,
                    *rows,
                ]
            )
            + "\n"
        )
    return "\n".join(parts)


_HEAD = """# Every message

Written by `make docs` from the code; a test compares the two. … stands for what is filled in. Search this page for words
of a message; [Troubleshooting](troubleshooting.md) explains those that people meet most. Where the last column is empty,
the line above the table says what to do.

| how it is said | what happens |
|---|---|
| error | A command ends with exit code 2 before anything starts; in Python, `SpecError`. All mistakes of a file are reported at once. |
| failed trial | The trial's state is `failed`, with this reason; the study continues. |
| lost worker | The trial runs again: twice after a dead worker, ten times after a lost block. Then its state is `lost`. |
| damaged file, newer file | The command ends with exit code 2 and changes nothing. |
| file system, other driver, workers | The command ends with exit code 2; what has ended is kept, and the same command continues. |
| text | A note, a reason, or a part of another message. |
"""
_COLUMNS = ("| message | how | what to do |", "|---|---|---|")


def _begun(sentence: str) -> str:
    """Return a sentence as it goes on after a colon; one that begins with a link stays as it is."""
    return sentence[0].lower() + sentence[1:]


def _row(message: Message) -> str:
    what, _, cure = message.text.removeprefix("; ").partition("; ")
    plain = _cell(cure).replace("<", "&lt;").replace("*", r"\*")
    return f"| `{_cell(what)}` | {message.kind} | {plain} |"


def _cell(text: str) -> str:
    return re.sub("…+", "…", " ".join(text.replace("`", "'").replace("|", r"\|").split()))


def _messages(tree: ast.Module, file: str) -> Iterator[Message]:
    texts = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    silent = _silent(tree)
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(call, ast.Call) and call.args:
            kind = _KINDS.get(ast.unparse(call.func))
            text = _text(call.args[0], texts)
            if kind is not None:
                silent |= set(ast.walk(node))
                if _is_told(text, least=2):
                    yield Message(file, kind, text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.Constant)) and node not in silent:
            text = _text(node, texts)
            silent |= set(ast.walk(node))
            if _is_told(text, _LEAST_WORDS):
                yield Message(file, "text", text)


def _silent(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes of docstrings, of a command's help, and of annotations in quotes."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(node.value)
        elif isinstance(node, ast.keyword) and node.arg in ("help", "epilog", "short_help"):
            found |= set(ast.walk(node))
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "help"}
        elif isinstance(node, ast.AnnAssign):
            found |= set(ast.walk(node.annotation))
    return found


def _is_told(text: str, least: int) -> bool:
    words = [word for word in text.split() if any(sign.isalpha() for sign in word)]
    return len(words) >= least and not text.startswith(_CODE)


def _text(node: ast.AST, texts: dict[str, ast.expr]) -> str:
    """Return the words of an expression, with … for what is only known at run time."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, texts) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, texts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, texts) + _text(node.right, texts)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "nearest":
        return "did you mean '…'?"
    if isinstance(node, ast.Name) and isinstance(texts.get(node.id), (ast.Constant, ast.JoinedStr)):
        return _text(texts[node.id], {})
    return "…"
