"""Batches against the naive way: labels shifted by one, -100 where nothing is learnt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yuantune.batch.collate import collate
from yuantune.data.examples import Example
from yuantune.data.record import Source

PAD = 0


@st.composite
def examples(draw: st.DrawFn) -> list[Example]:
    rows = draw(
        st.lists(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=12), min_size=1)
    )
    return [
        Example(ids=[i for i, _ in row], supervised=[s for _, s in row], text_span=(0, 0), source=Source("t", n))
        for n, row in enumerate(rows, 1)
    ]


@given(examples())
def test_triples_are_shifted_labels(rows: list[Example]) -> None:
    batch = collate(rows, pad_id=PAD)
    longest = max(len(row.ids) for row in rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(rows), longest)
    expected = []
    for r, row in enumerate(rows):
        labels = [token if s else -100 for token, s in zip(row.ids, row.supervised, strict=True)]
        for position, label in enumerate(labels[1:]):
            if label != -100:
                expected.append((r, position, label))
        assert batch["input_ids"][r].tolist() == row.ids + [PAD] * (longest - len(row.ids))
        assert batch["attention_mask"][r].tolist() == [1] * len(row.ids) + [0] * (longest - len(row.ids))
    triples = zip(batch["row_S"].tolist(), batch["position_S"].tolist(), batch["label_S"].tolist(), strict=True)
    assert list(triples) == expected
    assert batch["weight_S"].tolist() == [1.0] * len(expected)
