"""A trained result that can be put on a base and taken off it: several share one base in memory.

What loading a result changes in a base is one of two things: modules get other children, hooks or attributes
(PEFT's layers, bottleneck adapters), or some of the base's own weights are others (bitfit, freeze). Off, the base
is what it was, and the next result finds it so: with one result on, it computes what that result computes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Switch:
    """`model` answers with the trained result between `on` and `off`. It is off at first, and only one on a base
    may be on."""

    model: PreTrainedModel
    on: Callable[[], None]
    off: Callable[[], None]


def by_modules(
    load: Callable[[Callable[[Path | None], PreTrainedModel], Path], PreTrainedModel],
    base: PreTrainedModel,
    folder: Path,
) -> Switch:
    """The switch of a method whose `load` changes children, forward hooks and attributes of the base's modules.
    Where loading fails, the base is what it was."""
    before = _state(base)
    changes: list[_Change] = []

    def put(which: Callable[[_Change], Any]) -> None:
        for change in changes:
            change.put(which(change))

    try:
        model = load(lambda _: base, folder)
    finally:
        changes = list(_changes(before))
        put(lambda change: change.before)
    return Switch(model, lambda: put(lambda change: change.after), lambda: put(lambda change: change.before))


def by_weights(base: PreTrainedModel, tuned: Mapping[str, Tensor]) -> Switch:
    """The switch of a method that trains weights of the base itself: `tuned`, by their names in it."""
    own = dict(base.named_parameters())
    before = {name: own[name].data for name in tuned}
    after = {name: each.to(own[name].device, own[name].dtype) for name, each in tuned.items()}

    def put(values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            own[name].data = value

    return Switch(base, lambda: put(after), lambda: put(before))


# ---------------------------------------------------------------------------------------- what loading has changed

_ABSENT = object()
_OWN = ("_parameters", "_buffers", "_modules", "_forward_hooks")
"""Tables of a module that are no attributes of their own here."""
_TABLES = ("_modules", "_forward_hooks", "")
"""What is looked at of a module: its children, its hooks, its other attributes."""
_State = dict[nn.Module, dict[str, dict[Any, Any]]]


@dataclass(frozen=True, slots=True)
class _Change:
    """An entry of a module's table, before and after."""

    module: nn.Module
    table: str
    key: Any
    before: Any
    after: Any

    def put(self, value: Any) -> None:
        table = vars(self.module)[self.table] if self.table else vars(self.module)
        if value is _ABSENT:
            table.pop(self.key, None)
        else:
            table[self.key] = value


def _table(module: nn.Module, name: str) -> dict[Any, Any]:
    own = vars(module)
    return dict(own[name]) if name else {key: value for key, value in own.items() if key not in _OWN}


def _state(base: nn.Module) -> _State:
    return {module: {name: _table(module, name) for name in _TABLES} for module in base.modules()}


def _changes(before: _State) -> Iterator[_Change]:
    for module, tables in before.items():
        for name, was in tables.items():
            now = _table(module, name)
            for key in {**was, **now}:
                one, other = was.get(key, _ABSENT), now.get(key, _ABSENT)
                if one is not other:
                    yield _Change(module, name, key, one, other)
