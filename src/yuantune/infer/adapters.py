"""Several trained runs on one base model, which is loaded once: each request says which of them answers.

A run brings its adapter, its prompt and its options; the base is that of all of them. Before a run answers, its
adapter is put on the base (`yuantune.methods.switch`), which moves references and computes nothing: the answers are
those that it gives alone, beside the weights (`load(run, merge=False)`).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from yuantune.data.record import Labels, Prediction, Record
from yuantune.errors import DataError, Problem, RunError, UserError, nearest
from yuantune.infer.extractor import CHUNK, Extractor, chunks
from yuantune.infer.opening import open_run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from yuantune.methods import LoadModel, Method
    from yuantune.methods.card import Card
    from yuantune.methods.switch import Switch


class Adapters:
    """Runs by name, on one base. `adapters["name"]` is an `Extractor` with the prompt and the options of its run;
    which of them has answered before makes no difference.

    `model`, `device_map` and `dtype` are those of `yuantune.load`, for all runs. Threads take turns. Raises
    RunError with every run that is no adapter on the base of the first one, and what `yuantune.load` raises."""

    def __init__(
        self,
        runs: Mapping[str, str | Path] | None = None,
        *,
        model: str | None = None,
        device_map: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self._options = {"model": model, "device_map": device_map, "dtype": dtype}
        self._extractors: dict[str, Extractor] = {}
        self._switches: dict[str, Switch] = {}
        self._base: PreTrainedModel | None = None
        self._first: tuple[Path, Card] | None = None
        self._active: str | None = None
        self._depth = 0
        self._lock = threading.RLock()
        self._check({name: Path(run) for name, run in (runs or {}).items()})
        for name, run in (runs or {}).items():
            self.add(name, run)

    def add(self, name: str, run: str | Path) -> Extractor:
        """Take up a run under a name. Raises as the class does, UserError where there is one of that name."""
        if name in self._extractors:
            raise UserError(f"there is an adapter {name!r} already", hint="give the new one another name")
        folder = Path(run)
        with self._lock:
            self._check({name: folder})
            self._put(None)
            tuned, template, card = open_run(folder, **self._options, attach=self._attach(name))
            self._first = self._first or (folder, card)
            self._extractors[name] = _Switched(self, name, tuned, template, **card.generate)
        return self._extractors[name]

    @contextmanager
    def using(self, name: str | None) -> Iterator[PreTrainedModel]:
        """Within, the model answers with the adapter called `name`; None: as the base."""
        with self._lock:
            before = self._active
            self._put(name)
            self._depth += 1
            try:
                yield self._extractors[name].model if name is not None else self._whole_base()
            finally:
                self._depth -= 1
                if self._depth:  # Somebody else is in the middle of an answer.
                    self._put(before)

    @overload
    def extract(self, text: str, adapter: str) -> Labels: ...
    @overload
    def extract(self, text: list[str], adapter: str) -> list[Labels]: ...
    def extract(self, text: str | list[str], adapter: str) -> Labels | list[Labels]:
        """The labels that the run called `adapter` finds in one text, or in each of a list."""
        return self[adapter].extract(text)

    def generate(self, text: str, adapter: str) -> str:
        """The raw answer of the run called `adapter` to one text."""
        return self[adapter].generate(text)

    def predict(
        self,
        records: Iterable[Record],
        *,
        default: str | None = None,
        on_answer: Callable[[Prediction], None] | None = None,
        keep_going: bool = False,
        chunk: int = CHUNK,
    ) -> Iterator[Prediction]:
        """Answer records, in their order, each by the run that it names (`Record.adapter`), the others by `default`
        (None: the first run).

        Of `chunk` records, those of one run are answered side by side. The other options, and errors, are those of
        `Extractor.predict`; DataError too, of a chunk, for records that name no run there is."""
        for some in chunks(iter(records), chunk):
            yield from self._predict(some, default or next(iter(self)), on_answer, keep_going)

    def _predict(
        self,
        records: Sequence[Record],
        default: str,
        on_answer: Callable[[Prediction], None] | None,
        keep_going: bool,
    ) -> list[Prediction]:
        groups: dict[str, list[int]] = defaultdict(list)
        predictions: dict[int, Prediction] = {}
        for index, record in enumerate(records):
            name = record.adapter or default
            if name in self._extractors:
                groups[name].append(index)
            else:
                what = f"there is no adapter {name!r}{nearest(name, self)}"
                predictions[index] = Prediction(
                    record.source, record.text, "", None, False, 0, 0, 0.0, error=what, adapter=name
                )
        if predictions and not keep_going:
            raise DataError(
                f"{len(predictions)} of {len(records)} rows name an adapter that is not there",
                problems=[Problem(str(each.source), each.error) for each in predictions.values()],
                hint=f"there are: {', '.join(self)}",
            )
        if on_answer is not None:
            for each in predictions.values():
                on_answer(each)
        for name, indices in groups.items():
            some = [records[index] for index in indices]

            def told(prediction: Prediction, name: str = name) -> None:
                if on_answer is not None:
                    on_answer(replace(prediction, adapter=name))

            answers = self[name].predict(some, on_answer=told, keep_going=keep_going, chunk=len(some))
            predictions |= {
                index: replace(each, adapter=name) for index, each in zip(indices, answers, strict=True)
            }
        return [predictions[index] for index in range(len(records))]

    # ------------------------------------------------------------------------------------------------- the runs
    def __getitem__(self, name: str) -> Extractor:
        if name not in self._extractors:
            known = ", ".join(self._extractors) or "none"
            raise UserError(
                f"there is no adapter {name!r}{nearest(name, self._extractors)}", hint=f"there are: {known}"
            )
        return self._extractors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._extractors

    def __iter__(self) -> Iterator[str]:
        return iter(self._extractors)

    def values(self) -> list[Extractor]:
        """The extractors of the runs, in the order in which they came."""
        return list(self._extractors.values())

    def __len__(self) -> int:
        return len(self._extractors)

    # ------------------------------------------------------------------------------------------------- switching
    def _put(self, name: str | None) -> None:
        if name == self._active:
            return
        if self._active is not None:
            self._switches[self._active].off()
            self._active = None
        if name is not None:
            self._switches[name].on()
            self._active = name

    def _whole_base(self) -> PreTrainedModel:
        if self._base is None:
            raise UserError("there is no run yet, and so no base model", hint="add one: add(NAME, RUN)")
        return self._base

    def _attach(self, name: str) -> Callable[[Method, LoadModel, Path], PreTrainedModel]:
        def attach(method: Method, load_base: LoadModel, folder: Path) -> PreTrainedModel:
            assert not isinstance(method.switch, str)  # Refused before.
            if self._base is None:
                self._base = load_base(None)
            self._switches[name] = method.switch(self._base, folder)
            return self._switches[name].model

        return attach

    def _check(self, runs: Mapping[str, Path]) -> None:
        """Raises RunError with everything that keeps one of these runs off the base of the first one."""
        problems = []
        first = self._first
        for run in runs.values():
            card = _card(run)
            problems += [Problem(str(run), what) for what in _no_adapter(card)]
            if first is None:
                first = (run, card)
            problems += [Problem(str(run), what) for what in differences(first[0], first[1], card, **self._options)]
        if problems:
            raise RunError(
                "these runs cannot share one base model",
                problems=problems,
                hint="load each of them by itself: yuantune.load(RUN), `yuantune extract RUN`",
            )


class _Switched(Extractor):
    """An extractor that puts its adapter on the shared base before it answers."""

    def __init__(self, adapters: Adapters, name: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._adapters, self._name = adapters, name

    def _predict(self, *args: Any, **options: Any) -> list[Prediction]:
        with self._adapters.using(self._name):
            return super()._predict(*args, **options)


def differences(
    other: Path,
    first: Card,
    card: Card,
    *,
    model: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
) -> Iterator[str]:
    """How the base of a run, by its card, differs from that of another one, `first`, in words. What is given is for
    both, whatever their cards say."""
    if model is None and card.base["name"] != first.base["name"]:
        yield f"its base is {card.base['name']}, that of {other} is {first.base['name']}"
        return
    now, then = card.base.get("revision"), first.base.get("revision")
    if now != then:
        yield f"its base is of revision {now}, that of {other} of {then}"
    for part in ("architecture", "config", "tokenizer", "weights"):
        if card.base.get(part) != first.base.get(part):
            yield f"its base has another {part} than that of {other}, though it is called the same"
    now, then = (_dtype(each, device_map) for each in (card, first))
    if dtype is None and now != then:
        yield f"it computes in {now}, {other} in {then} (dtype=… chooses one for all)"
    options = ("attn_implementation", "int8_products", *(() if device_map else ("device_map",)))
    told = [{"int8_products": "auto", **each.model} for each in (card, first)]  # Older runs have no such option.
    for option, now, then in (
        ("quantization", card.quantization, first.quantization),
        *((option, *(each.get(option) for each in told)) for option in options),
    ):
        if now != then:
            yield f"its model.{option} is {now}, that of {other} is {then}"


def _card(run: Path) -> Card:
    from yuantune.methods.card import read_card

    return read_card(run)


def _no_adapter(card: Card) -> Iterator[str]:
    """Why what was trained is no adapter, if it is none."""
    from yuantune.methods import METHODS

    switch = METHODS[card.method].switch if card.method in METHODS else "this version of yuantune lacks the method"
    if isinstance(switch, str):
        yield f"was trained by {card.method}: {switch}"


def _dtype(card: Card, device_map: str | None) -> str:
    from yuantune.models.placement import device_of, dtype_name

    kind = device_of(device_map or card.model.get("device_map", "auto"))
    return dtype_name(card.model["dtype"], card.base["name"], kind)
