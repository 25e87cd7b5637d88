"""The loss on supervised tokens against Hugging Face's own, value and gradients, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from yuantune.batch.collate import Batch, collate
from yuantune.data.examples import Example
from yuantune.data.record import Source
from yuantune.models import loss as loss_module
from yuantune.models.loss import ChunkedCrossEntropy, plain_head, supervised_loss
from yuantune.models.probe import accepts


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Iterator[PreTrainedModel]:
    torch.manual_seed(0)
    if request.param == "llama":
        config = LlamaConfig(
            vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
        )
        built: PreTrainedModel = LlamaForCausalLM(config)
    else:
        built = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
            )
        )
    yield built.double().eval()


def rows() -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for number, (prompt, answer) in enumerate([(9, 4), (3, 7), (12, 1)], 1):
        ids = torch.randint(1, 60, (prompt + answer,), generator=generator).tolist()
        made.append(Example(ids, [False] * prompt + [True] * answer, (0, prompt), Source("t", number)))
    return made


def reference(model: PreTrainedModel, examples: list[Example]) -> torch.Tensor:
    """One sequence at a time, labels as Hugging Face wants them, summed."""
    total = torch.zeros((), dtype=torch.float64)
    for example in examples:
        labels = [token if s else -100 for token, s in zip(example.ids, example.supervised, strict=True)]
        output = model(input_ids=torch.tensor([example.ids]), labels=torch.tensor([labels]))
        total = total + output.loss.double() * sum(label != -100 for label in labels[1:])
    return total


def ours(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    return supervised_loss(model, **batch)


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_value_and_gradients(model: PreTrainedModel) -> None:
    assert accepts(model, "logits_to_keep")
    loss, expected = ours(model, collate(rows(), pad_id=0)), reference(model, rows())
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)  # the reference sums in float32
    mine, theirs = gradients(model, loss), gradients(model, expected)
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-5, atol=1e-6, msg=name)


def test_weights_scale_tokens(model: PreTrainedModel) -> None:
    batch = collate(rows(), pad_id=0)
    once = ours(model, batch)
    batch["weight_S"] = batch["weight_S"] * 3
    torch.testing.assert_close(ours(model, batch), 3 * once)


def test_nothing_supervised_is_a_zero_that_reaches_every_weight(model: PreTrainedModel) -> None:
    blank = [Example([5, 6, 7], [False] * 3, (0, 3), Source("t", 1))]
    loss = ours(model, collate(blank, pad_id=0))
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


# ---------------------------------------------------------------------------------------------------- in chunks


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("bias", [True, False])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int, bias: bool) -> None:
    """Value and gradients are those of the plain loss, however many logits exist at once."""
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk)
    monkeypatch.setitem(loss_module.CHUNK_LOGITS, "cpu", 60)
    torch.manual_seed(0)
    hidden_SD, head_VD, bias_V = (torch.randn(*shape, dtype=torch.float64) for shape in ((10, 8), (60, 8), (60,)))
    label_S, weight_S = torch.randint(60, (10,)), torch.rand(10)
    for each in (hidden_SD, head_VD, bias_V):
        each.requires_grad_()
    given = (hidden_SD, head_VD, bias_V) if bias else (hidden_SD, head_VD)
    loss = ChunkedCrossEntropy.apply(hidden_SD, head_VD, bias_V if bias else None, label_S, weight_S, True)
    logits = torch.nn.functional.linear(hidden_SD, head_VD, bias_V if bias else None)
    expected = (torch.nn.functional.cross_entropy(logits, label_S, reduction="none") * weight_S).sum()
    torch.testing.assert_close(loss, expected)
    for one, other in zip(
        torch.autograd.grad(3 * loss, given), torch.autograd.grad(3 * expected, given), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_frozen_head_and_evaluation_take_no_gradient() -> None:
    torch.manual_seed(0)
    hidden_SD, head_VD = torch.randn(4, 8, requires_grad=True), torch.randn(60, 8)
    arguments = (head_VD, None, torch.tensor([1, 2, 3, 4]), torch.ones(4))
    loss = ChunkedCrossEntropy.apply(hidden_SD, *arguments, True)
    assert [tensor is None for tensor in loss.grad_fn.saved_tensors] == [False, True, True]
    with torch.no_grad():
        assert torch.equal(ChunkedCrossEntropy.apply(hidden_SD, *arguments, False), loss)


def test_whose_head_is_plain() -> None:
    """A scaled or capped logit is not the head's; an adapter on the head is not a plain layer."""
    from peft import LoraConfig, get_peft_model
    from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

    size = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "eos_token_id": 2}
    heads = {**size, "num_attention_heads": 4, "num_key_value_heads": 4}
    llama = LlamaForCausalLM(LlamaConfig(**heads))
    assert plain_head(llama) is llama.lm_head
    assert llama.training
    assert plain_head(CohereForCausalLM(CohereConfig(**heads, logit_scale=0.5))) is None
    assert plain_head(Gemma2ForCausalLM(Gemma2Config(**heads, head_dim=8, final_logit_softcapping=5.0))) is None
    within = get_peft_model(LlamaForCausalLM(LlamaConfig(**heads)), LoraConfig(target_modules=["q_proj"]))
    assert plain_head(within) is within.get_base_model().lm_head
    on_head = get_peft_model(
        LlamaForCausalLM(LlamaConfig(**heads)), LoraConfig(target_modules=["q_proj", "lm_head"])
    )
    assert plain_head(on_head) is None


def test_logits_that_are_scaled_afterwards_are_learnt_as_they_are() -> None:
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    size = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "eos_token_id": 2}
    heads = {**size, "num_attention_heads": 4, "num_key_value_heads": 4}
    scaled = CohereForCausalLM(CohereConfig(**heads, logit_scale=0.5)).double().eval()
    torch.testing.assert_close(
        ours(scaled, collate(rows(), pad_id=0)), reference(scaled, rows()), rtol=1e-6, atol=1e-6
    )
