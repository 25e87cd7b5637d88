"""Readers, templates and scores on what nobody wrote: they refuse it in our words, or they take it.

`make fuzz` tries 200 times as many examples, of the constraint's properties (`test_infer_constraint.py`) too.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.row_files import LINE
from tests.test_bad_inputs import DATA, HOME
from yuantune.config import Config
from yuantune.config_file import build_as, load_config
from yuantune.data.labels import LabelSchema, parse
from yuantune.data.readers import FORMATS, read_all
from yuantune.data.record import Record, Source
from yuantune.data.template import Template, load_template
from yuantune.errors import ConfigError, DataError, TemplateError
from yuantune.models.load import load_tokenizer
from yuantune.score.entities import score_entities
from yuantune.score.spans import score_spans

GOOD = {
    "a.jsonl": f"{LINE}\n{LINE}\n",
    "a.json": f"[{LINE},\n{LINE}]",
    "a.csv": 'input,output\n张三,"a ""b"""\n李四,c\n',
    "a.tsv": "input\toutput\n张三\ta\n",
    "a.bmes": "张 B-姓名\n三 E-姓名\n， O\n\n李 S-姓名\n",
    "a.conll": "-DOCSTART- -X- O O\n\nJohn NNP B-NP B-PER\nSmith NNP I-NP I-PER\n",
    "b.jsonl": '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
    "c.jsonl": '{"text": "abc", "spans": [{"start": 0, "end": 1, "label": "x", "text": "a"}]}\n',
    "d.jsonl": '{"data": {"text": "abc"}, "annotations": [{"result": [{"value": '
    '{"start": 0, "end": 1, "labels": ["x"]}}]}]}\n',
}
SEEDS = [(name, text.encode()) for name, text in GOOD.items()] + [
    (path.name, path.read_bytes())
    for kind in DATA
    for path in sorted((HOME / kind).iterdir())
    if path.is_file() and path.stat().st_size < 2000
]
PIECES = [
    b"\0",
    b"\xff",
    b'"',
    b"{",
    b"[",
    b"]}",
    b",",
    b"\n",
    b"\r",
    b"\t",
    b"NaN",
    b"null",
    b"\\ud800",
    b" B-X\n",
    b"\xef\xbb\xbf",
]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
words = st.text(st.sampled_from('张三ab<>/s[]{}"\\\n\x1b\u202e😀 '), max_size=12)
entities = st.dictionaries(words, st.lists(words, max_size=3), max_size=3)


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file with some of its bytes replaced, left out, or put in."""
    name, content = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        gone = draw(st.integers(0, 4))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        content = content[:at] + put + content[at + gone :]
    return name, content


@given(broken(), st.none() | st.sampled_from(FORMATS))
def test_readers(file: tuple[str, bytes], format: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file[0]
        path.write_bytes(file[1])
        try:
            records = read_all(path, format=format, notes=[])
        except DataError as error:
            assert all(str(path) in problem.where for problem in error.problems)
            str(error).encode()
        else:
            assert records
            for record in records:
                record.text.encode()
                assert "\0" not in record.text


@given(
    json_values,
    st.sampled_from(["text", "labels", "spans", "tokens", "tags", "messages", "data", "output", "history"]),
)
def test_records_of_any_shape(value: Any, name: str) -> None:
    from yuantune.data.fields import to_record
    from yuantune.data.problems import BadRow

    for row in (
        value,
        {name: value},
        {"text": "abc", name: value},
        {"data": {"text": "abc"}, "annotations": value},
    ):
        for cells in (False, True):
            try:
                to_record(row, Source("a", 1), cells=cells)
            except BadRow as bad:
                assert bad.findings


@given(
    st.dictionaries(
        st.sampled_from([*Template.model_fields, "x"]),
        json_values | st.sampled_from(["{text}", "{labels}: {text}"]),
    )
)
def test_templates_of_any_shape(fields: dict[str, Any]) -> None:
    try:
        template = Template.from_dict(fields)
    except TemplateError:
        return
    assert Template.from_dict(template.to_dict()) == template


@functools.cache
def bound(name: str) -> Any:
    return load_template(name).with_labels(LabelSchema(("姓名", "种族"))).bind(load_tokenizer("yuan2-mini"))


@given(
    st.sampled_from(["extract", "extract-en", "resume-ner"]),
    words | st.text(max_size=20) | st.sampled_from(["<sep>", "<eod><sep>"]),
)
def test_a_text_is_text_whatever_it_says(name: str, text: str) -> None:
    this = bound(name)
    try:
        example = this.example(Record(Source("a", 1), text, labels={"姓名": [text]} if text else {}))
    except (DataError, TemplateError):
        return
    separator = this.tokenizer.convert_tokens_to_ids("<sep>")
    assert example.ids.count(separator) == 1  # The prompt's own.
    assert len(example.ids) == len(example.supervised) and example.supervised[-1]


@given(st.text(max_size=40) | json_values.map(str))
def test_any_answer_is_parsed_or_is_none(answer: str) -> None:
    labels = parse(answer)
    assert labels is None or all(isinstance(each, str) for strings in labels.values() for each in strings)


@given(st.lists(st.tuples(words, entities, st.none() | entities), min_size=1, max_size=5))
def test_scores_of_anything(rows: list[tuple[str, Any, Any]]) -> None:
    schema = LabelSchema(tuple(dict.fromkeys(kind for _, gold, _ in rows for kind in gold)))
    score = score_entities([(gold, predicted) for _, gold, predicted in rows])
    score_spans(rows, schema)
    assert 0 <= score.micro.f1 <= 1 and score.micro.hits <= min(score.micro.gold, score.micro.predicted)
    right = score_entities([(gold, gold) for _, gold, _ in rows])
    assert right.exact == len(rows) and right.micro.f1 == (1.0 if right.micro.gold else right.micro.f1)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "x"]), json_values))
def test_configs_of_any_shape(tree: dict[str, Any]) -> None:
    try:
        config = build_as(Config, tree)
    except ConfigError:
        return
    config.dump()


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_config_files_of_any_content(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            load_config(path)
        except ConfigError as error:
            assert str(path) in str(error) or "YAML" in str(error)
