"""A file answered in order: stopped anywhere, it goes on without losing or repeating a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from yuantune.data.record import Prediction, Record, Source
from yuantune.errors import DataError
from yuantune.infer.job import Job, answer_file

RECORDS = [Record(source=Source("in.jsonl", number), text=f"text {number}") for number in range(1, 8)]


class Echo:
    """Answers each text with itself, and falls over before the text `until`."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.asked = until, 0

    def predict(self, records: Iterable[Record], **options: Any) -> Iterator[Prediction]:
        assert options["keep_going"]
        for record in records:
            if record.source.line == self.until:
                raise KeyboardInterrupt
            self.asked += 1
            yield Prediction(record.source, record.text, record.text, {"a": [record.text]}, True, 1, 1, 0.0)


def work(extractor: Any, job: Job, records: Iterable[Record] = RECORDS) -> list[Prediction]:
    return list(answer_file(extractor, records, job, lambda _: None))


def rows(path: Path) -> list[str]:
    return [json.loads(line)["raw"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "out.jsonl", {"run": "r", "input": "in.jsonl"})


ALL = [record.text for record in RECORDS]


@pytest.mark.parametrize("until", range(1, 8))
@pytest.mark.parametrize("torn", [b"", b'{"raw": "text'])
def test_a_stopped_job_goes_on_where_it_was(job: Job, until: int, torn: bytes) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(Echo(until), job)
    assert not job.output.exists()
    assert rows(job.partial) == ALL[: until - 1]
    with job.partial.open("ab") as file:
        file.write(torn)  # What a kill leaves.
    again = Echo()
    work(again, job)
    assert rows(job.output) == ALL and again.asked == len(ALL) - until + 1
    assert sorted(path.name for path in job.output.parent.iterdir()) == ["out.jsonl"]


def test_another_job_is_not_gone_on_with(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(Echo(4), job)
    other = Job(job.output, {**job.identity, "run": "s"})
    with pytest.raises(DataError, match=r"another job \(run: 'r' then, 's' now\)"):
        work(Echo(), other)
    job.state.unlink()
    with pytest.raises(DataError, match="another job"):
        work(Echo(), job)
    assert rows(job.partial) == ALL[:3]


def test_an_output_is_not_overwritten(job: Job) -> None:
    job.output.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="exists already"):
        work(Echo(), job)
    assert job.output.read_text("utf-8") == "mine"


def test_what_cannot_be_read_is_said_behind_the_answers(job: Job) -> None:
    def source() -> Iterator[Record]:
        yield from RECORDS
        raise DataError("1 row is wrong")

    with pytest.raises(DataError, match="1 row is wrong"):
        work(Echo(), job, source())
    assert rows(job.output) == ALL and not job.partial.exists() and not job.state.exists()


def test_nothing_to_read_leaves_nothing(job: Job) -> None:
    def source() -> Iterator[Record]:
        raise DataError("no rows")
        yield

    with pytest.raises(DataError, match="no rows"):
        work(Echo(), job, source())
    assert list(job.output.parent.iterdir()) == []
