"""A file of records, answered into a file of JSON lines, in order, that can be stopped and gone on with.

Until all are answered the lines stand in OUTPUT.partial, beside OUTPUT.partial.json, which says what is being
answered by what. A line is written whole or cut off again, and there is one for each record that can be read, so
their number says where to go on. The source is walked through, never held.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from yuantune.data.record import Prediction, Record
from yuantune.data.strict_json import parse_json
from yuantune.data.writing import check_target, write_text
from yuantune.errors import DataError, WorkFailed
from yuantune.infer.adapters import Adapters
from yuantune.infer.extractor import Extractor

CHUNK = 256
"""Records that are sorted by length and answered side by side; as many are answered anew after a kill, at most."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is written where: `identity` is what has to be the same when the work goes on."""

    output: Path
    identity: Mapping[str, Any]

    @property
    def partial(self) -> Path:
        """The lines written so far."""
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def state(self) -> Path:
        """What they are."""
        return self.output.with_name(f"{self.output.name}.partial.json")

    def begin(self) -> int:
        """How many records are answered already.

        Raises DataError where the output exists, cannot be written, or was begun as another job."""
        check_target(self.output)
        if not self.partial.exists():
            return 0
        try:
            begun = parse_json(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            begun = {}
        changed = sorted(key for key in {*begun, *self.identity} if begun.get(key) != self.identity.get(key))
        if changed:
            what = "; ".join(f"{key}: {begun.get(key)!r} then, {self.identity.get(key)!r} now" for key in changed)
            raise DataError(
                f"{self.partial} holds the answers of another job ({what})",
                hint="go on with that one, choose another output, or remove the file",
            )
        return _whole_lines(self.partial)

    def run(self, predictions: Callable[[int], Iterator[Prediction]], done: int) -> Iterator[Prediction]:
        """Write the predictions behind `done` of them, and give each; at the end the output stands.

        Raises WorkFailed where the disk refuses, and, when the output stands, the DataError of what could not be
        read."""
        unread: DataError | None = None
        written = done
        try:
            if not done:
                write_text(self.state, json.dumps(dict(self.identity), ensure_ascii=False) + "\n")
            with self.partial.open("a", encoding="utf-8") as file:
                try:
                    for prediction in predictions(done):
                        file.write(json.dumps(as_row(prediction), ensure_ascii=False) + "\n")
                        file.flush()
                        written += 1
                        yield prediction
                except DataError as error:
                    unread = error
                os.fsync(file.fileno())
            if written:
                os.replace(self.partial, self.output)
            self.partial.unlink(missing_ok=True)
            self.state.unlink(missing_ok=True)
        except OSError as error:
            raise WorkFailed(f"{self.output}: cannot be written ({error.strerror or error})") from error
        if unread is not None:
            raise unread


def _whole_lines(path: Path) -> int:
    """How many lines a file has; what a kill left of another is cut off."""
    count, end = 0, 0
    with path.open("rb+") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end = count + 1, end + len(line)
        file.truncate(end)
    return count


def answer_file(
    extractor: Extractor | Adapters, records: Iterable[Record], job: Job, on_answer: Callable[[Prediction], None]
) -> Iterator[Prediction]:
    """Answer records into the job's output, those aside that a stopped job has answered. `on_answer` gets each as
    soon as it is there, the iterator in their order, as they are written.

    A record that cannot be answered has a line with the reason (`error`). Raises what reading raises, behind the
    answers to what could be read."""
    done = job.begin()

    def predictions(before: int) -> Iterator[Prediction]:
        rest = islice(records, before, None)
        return extractor.predict(rest, on_answer=on_answer, keep_going=True, chunk=CHUNK)

    return job.run(predictions, done)


def as_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction as one JSON object; `finished` is false where the answer was cut short. `value` is there for
    answers by a schema."""
    row = asdict(prediction)
    row["source"] = str(prediction.source)
    row["seconds"] = round(prediction.seconds, 4)
    if prediction.windows == 1:
        del row["windows"]
    if not prediction.error:
        del row["error"]
    if prediction.value is None:
        del row["value"]
    if not prediction.adapter:
        del row["adapter"]
    return row
