"""Annotated spans, as doccano, Label Studio and `{start, end, label}` rows give them, to labels.

Offsets count characters (Unicode code points) of the text, the end is exclusive. Spans may overlap; the same
span with the same label twice counts once. Labels come out in text order.
Sources: doccano's JSONL export (`label` or `entities`), Label Studio's JSON export
(`annotations[].result[]`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from yuantune.data.problems import BadRow
from yuantune.data.record import Labels

Span = tuple[int, int, str]
"""Start, exclusive end, type."""

_START = ("start", "start_offset")
_END = ("end", "end_offset")
_LABEL = ("label", "labels", "type")


def labels_of(text: str, spans: Iterable[Span]) -> Labels:
    """The strings of `spans` in `text`, by type, in the order of their starts (then of their ends)."""
    labels: Labels = {}
    for start, end, label in sorted(set(spans)):
        labels.setdefault(label, []).append(text[start:end])
    return labels


def parse_spans(text: str, entries: Sequence[object], field: str) -> list[Span]:
    """The spans that a row's `field` lists, each checked against `text`.

    An entry is `[start, end, label]`, or an object with start/end (or start_offset/end_offset), label (or
    type, or labels: a list) and perhaps the text that it marks. Raises BadRow with every bad entry."""
    spans: list[Span] = []
    findings: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            spans.extend(_parse_span(text, entry))
        except BadRow as bad:
            findings.extend(f"{field}, entry {number}: {finding}" for finding in bad.findings)
    if findings:
        raise BadRow(*findings)
    return spans


def label_studio(row: Mapping[str, object]) -> tuple[str, Labels | None]:
    """Text and labels of one Label Studio task; labels are None where nobody has annotated it.

    Only results with `labels` count (relations and choices do not). Cancelled annotations are passed over,
    one marked as ground truth wins. Raises BadRow where annotations disagree, or the text cannot be told."""
    annotations = _annotations(row)
    marked = {annotation_id: _entries(annotation) for annotation_id, annotation in enumerate(annotations, 1)}
    text, field = _task_text(row, [entry for entries in marked.values() for entry in entries])
    labels: list[Labels] = []
    for number, entries in marked.items():
        found = labels_of(text, parse_spans(text, entries, f"annotation {number} of {field}"))
        if found not in labels:
            labels.append(found)
    if len(labels) > 1:
        raise BadRow(
            f"{len(marked)} annotations that disagree", hint="In Label Studio, mark one as the ground truth."
        )
    return text, labels[0] if labels else None


def _parse_span(text: str, entry: object) -> list[Span]:
    expected = "expected [start, end, label] or an object with start, end and label"
    quoted: object = None
    if isinstance(entry, list | tuple) and len(entry) == 3:
        start, end, label = entry
    elif isinstance(entry, Mapping):
        start, end, label = (_first(entry, names) for names in (_START, _END, _LABEL))
        quoted = entry.get("text")
    else:
        raise BadRow(expected)
    names = label if isinstance(label, list | tuple) else [label]
    numbers = type(start) is int and type(end) is int
    if not numbers or not names or not all(isinstance(name, str) and name for name in names):
        raise BadRow(f"{expected}, found {_short(entry)}")
    start, end = _located(text, start, end, quoted)
    return [(start, end, name) for name in names]


def _located(text: str, start: int, end: int, quoted: object) -> tuple[int, int]:
    """The span's code point offsets, checked. Raises BadRow."""
    inside = 0 <= start < end <= len(text)
    if not isinstance(quoted, str):
        if inside:
            return start, end
        raise BadRow(f"{start}–{end} is not a span of a text of {len(text)} characters")
    if inside and text[start:end] == quoted:
        return start, end
    # JavaScript counts UTF-16 units: every character beyond U+FFFF before the span shifts it by one.
    units = text.encode("utf-16-le", "surrogatepass")
    if (
        0 <= start < end
        and 2 * end <= len(units)
        and units[2 * start : 2 * end].decode("utf-16-le", "replace") == quoted
    ):
        before = len(units[: 2 * start].decode("utf-16-le", "replace"))
        return before, before + len(quoted)
    if not inside:
        raise BadRow(f"{start}–{end} is not a span of a text of {len(text)} characters")
    exclusive = " (ends are exclusive here)" if text[start : end + 1] == quoted else ""
    raise BadRow(f"{start}–{end} marks {text[start:end]!r}, its text says {quoted!r}{exclusive}")


def _annotations(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    listed = row.get("annotations") or []
    if not isinstance(listed, list) or not all(isinstance(annotation, Mapping) for annotation in listed):
        raise BadRow("annotations must be a list of objects")
    valid = [annotation for annotation in listed if not annotation.get("was_cancelled")]
    truth = [annotation for annotation in valid if annotation.get("ground_truth")]
    return truth or valid


def _entries(annotation: Mapping[str, object]) -> list[Mapping[str, object]]:
    results = annotation.get("result")
    if not isinstance(results, list):
        raise BadRow("an annotation's result must be a list")
    values = [result.get("value") for result in results if isinstance(result, Mapping)]
    return [value for value in values if isinstance(value, Mapping) and "labels" in value]


def _task_text(row: Mapping[str, object], entries: Sequence[Mapping[str, object]]) -> tuple[str, str]:
    """The text that a task's spans are of, and its name: `data.text`, or the only string that fits them."""
    data = row["data"]
    assert isinstance(data, Mapping)
    texts = {str(key): value for key, value in data.items() if isinstance(value, str)}
    if "text" in texts:
        return texts["text"], "data.text"
    if len(texts) > 1 and entries:
        texts = {key: text for key, text in texts.items() if _fits(text, entries)}
    if len(texts) != 1:
        raise BadRow(f"which field of data holds the text? found: {', '.join(map(str, data)) or 'none'}")
    key, text = texts.popitem()
    return text, f"data.{key}"


def _fits(text: str, entries: Sequence[Mapping[str, object]]) -> bool:
    try:
        parse_spans(text, entries, "")
    except BadRow:
        return False
    return True


def _first(entry: Mapping[str, object], names: Sequence[str]) -> object:
    return next((entry[name] for name in names if name in entry), None)


def _short(entry: object) -> str:
    shown = repr(entry)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
