"""What a model makes of expected answers, against each token asked for by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.test_infer_held import built
from tests.tiny_tokenizers import byte_level
from yuantune.data.bound import BoundTemplate
from yuantune.data.record import Message, Record, Source
from yuantune.data.template import Template, load_template
from yuantune.infer import expected
from yuantune.infer.expected import read_expected
from yuantune.score.text import score_tokens

ROWS = [("Tom", "works at Acme"), ("a longer question, of more tokens", "no"), ("x", ""), ("Köln", "am Rhein 李四")]


def tokens_of(model: Any, prompt: list[int], answer: list[int]) -> tuple[int, int, float]:
    """The chain rule, a token at a time, without padding."""
    right, nats = 0, 0.0
    for at, token in enumerate(answer):
        with torch.no_grad():
            logits_V = model(input_ids=torch.tensor([prompt + answer[:at]]), use_cache=False).logits[0, -1].double()
        right += int(logits_V.argmax()) == token
        nats -= float(logits_V[token] - logits_V.exp().sum().log())
    return len(answer), right, nats


def plain() -> BoundTemplate:
    tokenizer = byte_level()
    tokenizer.pad_token = "<s>"
    return Template(prompt="Q: {text}\nA: ").bind(tokenizer)


@pytest.mark.parametrize("kind", ["llama", "yuan"])
@pytest.mark.parametrize("most", [1, 2**26])
def test_each_token_is_read_as_by_itself(kind: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "LOGITS", most)
    model, template = built(kind), plain()
    records = [Record(Source("t", n), text, output=answer) for n, (text, answer) in enumerate(ROWS, 1)]
    unanswered = Record(Source("t", 9), "nothing is expected")
    found = list(read_expected(model, template, [*records, unanswered]))
    alone = []
    for record in records:
        answer = [*template.answer_ids(record.output or ""), template.end_id]
        alone.append(tokens_of(model, template.prompt(record).ids, answer))
    alone.sort()
    assert len(found) == len(ROWS)
    for mine, theirs in zip(sorted((each.tokens, each.right, each.nats) for each in found), alone, strict=True):
        assert mine[:2] == theirs[:2] and mine[2] == pytest.approx(theirs[2], rel=1e-9)
    scores = score_tokens((each.tokens, each.right, each.nats) for each in found)
    tokens, right, nats = (sum(column) for column in zip(*alone, strict=True))
    assert scores["answer_tokens"] == tokens and scores["token_accuracy"] == right / tokens
    assert scores["perplexity"] == pytest.approx(math.exp(nats / tokens))


def test_of_a_conversation_the_last_answer_counts() -> None:
    model = built("llama")
    tokenizer = byte_level()
    tokenizer.pad_token = "<s>"
    template = load_template("chat").bind(tokenizer)
    turns = [
        Message("user", "a"),
        Message("assistant", "first"),
        Message("user", "b"),
        Message("assistant", "last"),
    ]
    record = Record(Source("t", 1), "", messages=tuple(turns))
    (found,) = read_expected(model, template, [record])
    prompt, whole = template.prompt(record).ids, template.example(record).ids
    assert whole[: len(prompt)] == prompt
    theirs = tokens_of(model, prompt, whole[len(prompt) :])
    assert (found.tokens, found.right, found.nats) == (*theirs[:2], pytest.approx(theirs[2]))


def test_what_the_model_cannot_read_is_left_out() -> None:
    model, template = built("llama"), plain()
    model.config.max_position_embeddings = 20
    records = [Record(Source("t", 1), "x", output="y"), Record(Source("t", 2), "x" * 40, output="y")]
    assert len(list(read_expected(model, template, records))) == 1


def test_nothing_to_read_has_no_scores() -> None:
    assert score_tokens([]) == score_tokens([(0, 0, 0.0)]) == {"answer_tokens": 0}
    assert score_tokens([(1, 0, 1e6)])["perplexity"] < math.inf
