"""Prefix groups: which examples share, and the row that they are laid out in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from yuantune.batch.groups import Group, partition
from yuantune.batch.layout import lay_out
from yuantune.data.examples import Example
from yuantune.data.record import Source


def example(ids: list[int], prompt: int) -> Example:
    return Example(ids, [i >= prompt for i in range(len(ids))], (0, prompt), Source("t", 1))


@st.composite
def batches(draw: st.DrawFn) -> list[Example]:
    """Examples over few tokens, so that they share much, with sparse supervision anywhere."""
    starts = draw(st.lists(st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=3))
    made = []
    for _ in range(draw(st.integers(1, 7))):
        ids = [*draw(st.sampled_from(starts)), *draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))]
        supervised = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
        free = draw(st.integers(0, len(ids)))
        made.append(Example(ids, [s and i >= free for i, s in enumerate(supervised)], (0, 0), Source("t", 1)))
    return made


def saved(groups: list[Group]) -> int:
    return sum(group.prefix * (len(group.members) - 1) for group in groups)


def most_saved(examples: list[Example], least: int) -> int:
    """By trying every partition into groups: exponential."""

    def shared(members: list[int]) -> int:
        if len(members) == 1:
            return 0
        length = 0
        while all(
            length < len(examples[m].ids) - 1
            and not examples[m].supervised[length]
            and examples[m].ids[length] == examples[members[0]].ids[length]
            for m in members
        ):
            length += 1
        return length if length >= max(least, 1) else 0

    def best(left: list[int]) -> int:
        if not left:
            return 0
        found = 0
        for chosen in range(2 ** (len(left) - 1)):
            members = [left[0], *(m for i, m in enumerate(left[1:]) if chosen >> i & 1)]
            rest = [m for m in left if m not in members]
            found = max(found, shared(members) * (len(members) - 1) + best(rest))
        return found

    return best(list(range(len(examples))))


@given(batches(), st.integers(0, 3))
def test_the_partition_saves_the_most(examples: list[Example], least: int) -> None:
    groups = partition(examples, least=least)
    assert sorted(m for group in groups for m in group.members) == list(range(len(examples)))
    for group in groups:
        first = examples[group.members[0]]
        for member in group.members:
            assert examples[member].ids[: group.prefix] == first.ids[: group.prefix]
            assert not any(examples[member].supervised[: group.prefix])
            assert len(examples[member].ids) > group.prefix
    assert saved(groups) == most_saved(examples, least)


def test_two_templates_in_one_batch() -> None:
    first, second = list(range(100, 140)), list(range(200, 240))
    starts = [first, second, first, second, [7]]
    examples = [example([*start, 1, i], len(start) + 1) for i, start in enumerate(starts)]
    assert partition(examples) == [Group(41, (0, 2)), Group(41, (1, 3)), Group(0, (4,))]
    assert partition(examples, least=42) == [Group(0, (i,)) for i in range(5)]


@given(batches(), st.integers(0, 3))
def test_a_row_holds_every_example_once(examples: list[Example], least: int) -> None:
    batch = lay_out(examples, least=least)
    ids, positions, parents = (batch[name][0].tolist() for name in ("input_ids", "position_ids", "parents"))
    assert len(ids) == sum(len(e.ids) for e in examples) - saved(partition(examples, least=least))

    def line(token: int) -> tuple[int, ...]:
        """A token and all before it, by the parents."""
        found = []
        while token >= 0:
            found.append(token)
            token = parents[token]
        return tuple(reversed(found))

    ends = set(range(len(ids))) - set(parents)
    lines = sorted([ids[t] for t in line(end)] for end in ends)
    assert lines == sorted(e.ids for e in examples)
    for end in ends:
        assert [positions[t] for t in line(end)] == list(range(len(line(end))))
    triples = sorted(
        ([ids[t] for t in line(place)], label)
        for place, label in zip(batch["position_S"].tolist(), batch["label_S"].tolist(), strict=True)
    )
    expected = ((e.ids[:i], e.ids[i]) for e in examples for i in range(1, len(e.ids)) if e.supervised[i])
    assert triples == sorted(expected)


@given(batches(), st.integers(0, 3))
def test_blocks_tile_the_row(examples: list[Example], least: int) -> None:
    batch = lay_out(examples, least=least)
    layout = batch["layout"]
    covered = []
    for span in layout.spans:
        covered += range(span.start, span.start + span.prefix)
        for block in span.blocks:
            lengths = block.has_RL.sum(1).tolist()
            assert lengths[0] <= 1.25 * min(lengths) and all(a >= b for a, b in pairwise(lengths))
            covered += block.token_RL[block.has_RL].tolist()
    assert covered == list(range(batch["input_ids"].shape[1]))
    assert layout.longest == max(len(e.ids) for e in examples)
