"""The corpus of yuan2-mini: cleaning, repeats, the part for validation, hashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes.yuan2_mini import sources
from recipes.yuan2_mini.held_out import HeldOut
from recipes.yuan2_mini.sources import REPEAT, Cleaner, Source, check_hashes, for_validation, tidy

from yuantune.errors import DataError

ANY = Source("any.txt.xz", "", "", "")


def cleaned(*lines: str) -> list[str]:
    return list(Cleaner(HeldOut([])).clean(ANY, lines))


def test_tidy() -> None:
    assert tidy("  他\u200b说\u3000\u00a0好。 ", loose=False) == "他说 好。"
    assert tidy("他说 ： 好， I 知道 了。", loose=True) == "他说：好， I 知道了。"
    for damaged in ("看\ue844不见的字", "替\ufffd换过的字", "mostly Latin 字", ""):
        assert tidy(damaged, loose=False) == ""


def test_repeats_go_whole_or_in_part() -> None:
    statute = "".join(chr(0x4E00 + 7 * at) for at in range(6 * REPEAT))
    lines = (
        "第一条" + statute,
        "另一行。",
        "另一行。",
        "第三条 " + statute[REPEAT:] + "。",
        "第四条" + statute[: REPEAT // 2],
    )
    assert cleaned(*lines) == [lines[0], lines[1], lines[4]]


def test_counts_add_up() -> None:
    cleaner = Cleaner(HeldOut([]))
    assert list(cleaner.clean(ANY, ["一行字。", "一行字。", "latin"])) == ["一行字。"]
    assert cleaner.counts["any"] == {"kept": 1, "characters": 4, "repeated": 1, "damaged": 1}


def test_validation_is_a_fixed_small_part() -> None:
    lines = [f"第{number}行" for number in range(20_000)]
    chosen = [line for line in lines if for_validation(line)]
    assert 10 < len(chosen) < 90
    assert chosen == [line for line in lines if for_validation(line)]


def test_another_corpus_is_refused_with_every_problem(tmp_path: Path) -> None:
    (tmp_path / "laws.txt.xz").write_bytes(b"another file")
    with pytest.raises(DataError) as caught:
        check_hashes(tmp_path)
    assert len(caught.value.problems) == len(sources.SOURCES) + 1
    assert sum("SHA-256" in problem.what for problem in caught.value.problems) == 1


def test_the_corpus_is_the_one_with_these_hashes(test_data: Path) -> None:
    assert len(check_hashes(test_data / "corpus")) == len(sources.SOURCES) + 1
    assert not any("cmrc" in source.file for source in sources.SOURCES)
