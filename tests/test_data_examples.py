"""ExampleSet: what goes in comes out, from memory, from disk, and in another process's copy."""

from __future__ import annotations

import gc
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yuantune.data.examples import Example, ExampleSet
from yuantune.data.record import Source
from yuantune.errors import WorkFailed


@st.composite
def examples(draw: st.DrawFn) -> Example:
    ids = draw(st.lists(st.integers(0, 2**31 - 1), max_size=12))
    supervised = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    start = draw(st.integers(0, len(ids)))
    stop = draw(st.integers(start, len(ids)))
    return Example(ids, supervised, (start, stop), Source(draw(st.sampled_from("ab")), draw(st.integers(1, 2**40))))


@given(st.lists(examples(), max_size=12), st.sampled_from([0, 20, 64, 10_000]))
def test_a_set_is_a_list_of_examples(given_examples: list[Example], spill_bytes: int) -> None:
    kept = ExampleSet(spill_bytes=spill_bytes)
    for i, example in enumerate(given_examples):
        kept.append(example)
        assert kept[i] == example and kept[0] == given_examples[0]
    assert list(kept) == given_examples
    assert len(kept) == len(given_examples)
    assert kept[1:3] == given_examples[1:3] and kept[::-1] == given_examples[::-1]
    assert kept.lengths == [len(example.ids) for example in given_examples]
    copy = pickle.loads(pickle.dumps(kept))
    assert list(copy) == given_examples and list(kept) == given_examples
    if given_examples:
        assert kept[-1] == given_examples[-1]
    for index in (len(kept), -len(kept) - 1):
        with pytest.raises(IndexError):
            kept[index]


def test_the_file_goes_with_the_set_that_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    example = Example(list(range(10)), [True] * 10, (0, 3), Source("f", 1))
    kept = ExampleSet([example] * 5, spill_bytes=64)
    copy = pickle.loads(pickle.dumps(kept))
    assert len(list(tmp_path.iterdir())) == 1
    assert list(copy) == [example] * 5
    del copy
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1 and kept[4] == example
    del kept
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(WorkFailed, match="TMPDIR"):
        ExampleSet([Example([1], [True], (0, 1), Source("f", 1))], spill_bytes=0)
