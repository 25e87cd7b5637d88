"""The loss on supervised tokens against Hugging Face's own, value and gradients, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from yuantune.batch.collate import Batch, collate
from yuantune.data.examples import Example
from yuantune.data.record import Source
from yuantune.models.loss import keeps_logits, supervised_loss


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
    assert keeps_logits(model)
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
