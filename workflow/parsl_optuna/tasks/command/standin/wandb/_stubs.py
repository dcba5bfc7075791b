"""Classes for what has no effect on metrics: media, tables, artifacts, callbacks of other libraries."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from collections.abc import Iterator
from typing import Any


class Stub:
    """Keeps what it was made with; any other method can be called, to no effect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Media(Stub):
    """Something to look at or to listen to."""


class Table(Media):
    """Rows and columns, kept."""

    def __init__(
        self, columns: Any = None, data: Any = None, rows: Any = None, dataframe: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if dataframe is not None:
            columns, data = list(dataframe.columns), dataframe.values.tolist()
        self.columns: list[str] = list(columns if columns is not None else ("Input", "Output", "Expected"))
        self.data = [list(row) for row in (data if data is not None else rows if rows is not None else ())]

    def add_data(self, *row: Any) -> None:
        """Add a row."""
        if len(row) != len(self.columns):
            raise ValueError(f"This table expects {len(self.columns)} columns, found {len(row)}")
        self.data.append(list(row))

    add_row = add_data

    def add_column(self, name: str, data: Any) -> None:
        """Add a column."""
        self.columns.append(name)
        values = list(data)
        if not self.data:
            self.data = [[] for _ in values]
        for row, value in zip(self.data, values, strict=True):
            row.append(value)

    def get_column(self, name: str, convert_to: Any = None) -> list[Any]:
        """Return a column."""
        del convert_to
        return [row[self.columns.index(name)] for row in self.data]

    def get_dataframe(self) -> Any:
        """Return it as a table of pandas."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(self.data, columns=self.columns)


class Artifact(Stub):
    """A set of files that goes nowhere."""

    def __init__(self, name: str = "", type: str = "", **kwargs: Any) -> None:
        super().__init__(name, type, **kwargs)
        self.name, self.type = name, type
        self.metadata = dict(kwargs.get("metadata") or {})
        self.description = kwargs.get("description")
        self.version, self.aliases = "v0", ["latest"]

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str = "w", **kwargs: Any) -> Iterator[Any]:
        """Give a file to write to; what is written is dropped."""
        del name, kwargs
        yield io.BytesIO() if "b" in mode else io.StringIO()

    def wait(self, timeout: float | None = None) -> Artifact:
        """Return at once."""
        del timeout
        return self


class Settings(Stub):
    """Settings, kept."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in kwargs.items():
            setattr(self, name, value)


@functools.cache
def stub_class(module: str, name: str) -> type:
    """Return a class of that name; of an integration it says, when it is made, that it does nothing."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        Stub.__init__(self, *args, **kwargs)
        if module.startswith("wandb.integration"):
            lost = f"{module}.{name} logs nothing here; install wandb, or call wandb.log"
            sys.stderr.write(f"wandb stand-in: {lost}\n")

    return type(name, (Stub,), {"__init__": init, "__module__": module})
