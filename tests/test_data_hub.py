"""Data sets on a hub, with the hubs' libraries replaced: names, splits, classes, and failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants

from yuantune.data import hub
from yuantune.data.hub import HubName
from yuantune.data.readers import read, read_all
from yuantune.errors import DataError


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("org/name", HubName("hf", "org/name", "train")),
        ("hf:org/name.v2#test[:10%]", HubName("hf", "org/name.v2", "test[:10%]")),
        ("modelscope:org/na-me#validation", HubName("modelscope", "org/na-me", "validation")),
        ("name", None),
        ("a/b/c", None),
        ("ftp:org/name", None),
    ],
)
def test_names(source: str, name: HubName | None) -> None:
    assert hub.parse(source) == name


def fake(monkeypatch: pytest.MonkeyPatch, rows: datasets.IterableDataset) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def load_dataset(path: str, **options: Any) -> datasets.IterableDataset:
        calls.append({"path": path, **options})
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "why_unreachable", lambda _: "")
    return calls


def test_rows_are_streamed_with_their_classes_named(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-NAME", "I-NAME"])),
        }
    )
    table = datasets.Dataset.from_dict({"tokens": [["张", "三", "说"]], "ner_tags": [[1, 2, 0]]}, features=features)
    calls = fake(monkeypatch, table.to_iterable_dataset())
    records = read_all("org/name#test")
    assert [(r.text, r.labels, str(r.source)) for r in records] == [
        ("张三说", {"NAME": ["张三"]}, "hf:org/name#test:1")
    ]
    assert calls == [{"path": "org/name", "split": "test", "streaming": True}]


def test_bad_rows_and_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, object]]:
        yield {"text": "a", "labels": '{"A": ["a"]}'}
        yield {"id": 1}
        yield {"text": "b", "labels": None}

    fake(monkeypatch, datasets.IterableDataset.from_generator(rows))
    records = read("hf:org/name")
    assert [next(records).labels, next(records).labels] == [{"A": ["a"]}, None]
    with pytest.raises(DataError) as caught:
        next(records)
    assert [problem.where for problem in caught.value.problems] == ["hf:org/name#train:2"]

    def broken() -> Iterator[dict[str, object]]:
        yield {"text": "a"}
        raise ConnectionError("reset by peer\nand more")

    fake(monkeypatch, datasets.IterableDataset.from_generator(broken))
    records = read("hf:org/name")
    assert next(records).text == "a"
    with pytest.raises(DataError, match="cannot be read"):
        list(records)


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    # tests/conftest.py has put the hub offline.
    with pytest.raises(DataError, match="hf:org/name#train: the data set cannot be read") as caught:
        read("org/name")
    assert "does not exist here" in caught.value.hint


def test_a_hub_answers_or_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any answer is one, an error too; where nothing listens, the reason is said. With a name's own endpoint."""

    class Refuse(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert hub.why_unreachable("hf") == ""
        thread.join()
    assert hub.why_unreachable("hf").startswith(f"{endpoint}: ")
    with pytest.raises(DataError, match="the data set cannot be read"):
        hub.stream(HubName("hf", "org/name", "train"))


def test_modelscope_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}-00000.jsonl").write_text(f'{{"text": "{split}"}}\n')
    (tmp_path / "README.md").write_text("about the train split")
    monkeypatch.setattr(hub, "download", lambda name: tmp_path)
    assert [record.text for record in read("modelscope:org/name")] == ["train"]
    assert [record.text for record in read("modelscope:org/name#test")] == ["test"]
    with pytest.raises(DataError, match="no file of split 'dev'; found: data/test-00000"):
        read("modelscope:org/name#dev")
