"""Decoding: batches answer as single prompts do, an end token ends, and only the most likely token counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from yuantune.errors import DataError
from yuantune.infer import engine
from yuantune.infer.engine import answer
from yuantune.infer.question import Answer, Question
from yuantune.models.slots import Slots

PROMPTS = [[5, 9, 3, 12], [7], [4, 4, 8, 2, 30, 6, 11], [9, 10]]
NEW, END = 12, 1


@pytest.fixture(params=["base", "adapter"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    built = LlamaForCausalLM(config).double().eval()
    if request.param == "base":
        return built
    return get_peft_model(built, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).double().eval()


def reference(model: PreTrainedModel, prompt: list[int], ends: tuple[int, ...]) -> tuple[list[int], bool]:
    """The most likely token, one after the other, without padding or cache."""
    ids = list(prompt)
    while len(ids) < len(prompt) + NEW:
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            return ids[len(prompt) :], True
        ids.append(token)
    return ids[len(prompt) :], False


def answers(model: PreTrainedModel, batch_size: int, ends: tuple[int, ...]) -> list[Answer]:
    questions = [Question(prompt, text_ids=prompt) for prompt in PROMPTS]
    found = answer(model, questions, end_ids=ends, pad_id=0, max_new_tokens=NEW, batch_size=batch_size)
    return sorted(found, key=lambda each: each.index)


@pytest.fixture(params=["slots", "generate"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to answer; each test holds for each."""
    if request.param == "generate":
        monkeypatch.setattr(engine, "_slots_serve", lambda model: False)
    return str(request.param)


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_any_batch_answers_as_each_prompt_alone(model: PreTrainedModel, batch_size: int) -> None:
    for each, prompt in zip(answers(model, batch_size, (END,)), PROMPTS, strict=True):
        assert (each.ids, each.finished) == reference(model, prompt, (END,))


def test_any_end_token_ends_an_answer_and_is_no_part_of_it(model: PreTrainedModel) -> None:
    whole = [reference(model, prompt, ())[0] for prompt in PROMPTS]
    ends = (whole[0][3], whole[2][1])  # Tokens that come up in the middle.
    found = answers(model, 4, ends)
    assert any(each.finished for each in found)
    for each, prompt, ids in zip(found, PROMPTS, whole, strict=True):
        assert (each.ids, each.finished) == reference(model, prompt, ends)
        assert each.ids == ids[: len(each.ids)]


def test_the_models_own_generation_config_is_set_aside(model: PreTrainedModel) -> None:
    plain = [each.ids for each in answers(model, 2, (END,))]
    own = model.generation_config
    own.do_sample, own.temperature, own.repetition_penalty = True, 9.0, 50.0
    own.suppress_tokens = list(range(2, 30))
    assert [each.ids for each in answers(model, 2, (END,))] == plain
    assert model.generation_config is own


def test_little_memory_answers_fewer_rows_at_once(
    model: PreTrainedModel, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [each.ids for each in answers(model, 4, (END,))]
    step, most = engine._step, [0]

    def counted(slots: Any, rows: Any, *rest: Any) -> None:
        most.append(len(rows))
        step(slots, rows, *rest)

    monkeypatch.setattr(engine, "_step", counted)
    # Two layers' keys and values, 32 wide, of 8 bytes; twice a prompt of 7 tokens and its answer.
    monkeypatch.setattr(engine, "memory_of", lambda device: 4 * 2 * (7 + NEW) * 2 * 2 * 32 * 8)
    assert [each.ids for each in answers(model, 4, (END,))] == whole
    assert max(most) == (2 if way == "slots" else 0)


@pytest.mark.parametrize("fine", [0, 1, 3])
def test_where_memory_ends_fewer_rows_go_on(
    model: PreTrainedModel, way: str, monkeypatch: pytest.MonkeyPatch, fine: int
) -> None:
    """Rows that were begun are read again, as far as they are written, and end as they would have."""
    whole = [each.ids for each in answers(model, 4, (END,))]
    step, sizes = Slots.step, []

    def full(slots: Slots, chunks: Any) -> Any:
        if len(chunks) > 1 and len(sizes) < 3:  # The prefix is read by itself.
            sizes.append(len(chunks))
            if len(sizes) > fine:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return step(slots, chunks)

    if way == "slots":
        engine._slots_serve(model)
    monkeypatch.setattr(Slots, "step", full)
    assert [each.ids for each in answers(model, 4, (END,))] == whole
    assert way != "slots" or (sizes[0] == 4 and len(sizes) >= 2)


def test_one_row_that_does_not_fit_is_an_error(
    model: PreTrainedModel, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(engine, "_step", full)
    if way == "slots":
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            answers(model, 4, (END,))


def test_an_answer_ends_where_the_models_positions_end() -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=10, bos_token_id=0, eos_token_id=1
    )
    model = GPT2LMHeadModel(config)
    lengths = [len(each.ids) for each in answers(model, 1, (999,))]
    assert lengths == [10 - len(prompt) for prompt in PROMPTS]
    with pytest.raises(DataError, match="a prompt of 10 tokens leaves no place"):
        list(answer(model, [Question([2] * 10)], end_ids=[1], pad_id=0, max_new_tokens=4, batch_size=1))
