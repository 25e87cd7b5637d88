"""The training step: gradient accumulation changes nothing, and the evaluation loss is the tokens' mean."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from yuantune.batch.collate import collate
from yuantune.data.examples import Example, ExampleSet
from yuantune.data.record import Source
from yuantune.train.step import SupervisedTrainer


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    return LlamaForCausalLM(config).double()


def rows() -> ExampleSet:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (8, 2), generator=generator).tolist()
    made = ExampleSet()
    for number, (prompt, answer) in enumerate(lengths, 1):
        ids = torch.randint(1, 40, (prompt + answer,), generator=generator).tolist()
        made.append(Example(ids, [False] * prompt + [True] * answer, (0, prompt), Source("t", number)))
    return made


def plain_steps(folder: Path, batch: int, accumulation: int, **more: Any) -> TrainingArguments:
    """Steps of bare gradient descent."""
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=True,
        data_seed=3,
        **more,
    )


def trainer(folder: Path, batch: int, accumulation: int) -> SupervisedTrainer:
    return SupervisedTrainer(
        model=tiny(),
        args=plain_steps(folder, batch, accumulation, max_steps=1, learning_rate=0.5),
        train_dataset=rows(),
        eval_dataset=rows(),
        data_collator=functools.partial(collate, pad_id=0),
    )


def reference_loss(model: LlamaForCausalLM) -> torch.Tensor:
    """Sum over all rows, one at a time, divided by all supervised tokens."""
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for example in rows():
        logits = model(input_ids=torch.tensor([example.ids])).logits[0]
        for position in range(1, len(example.ids)):
            if example.supervised[position]:
                total = total - torch.log_softmax(logits[position - 1], -1)[example.ids[position]]
                tokens += 1
    return total / tokens


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (4, 2), (2, 4), (1, 8), (3, 3)])
def test_one_step_is_one_step_however_it_is_cut(tmp_path: Path, batch: int, accumulation: int) -> None:
    model = tiny()
    loss = reference_loss(model)
    loss.backward()
    run = trainer(tmp_path, batch, accumulation)
    run.train()
    for (name, expected), got in zip(model.named_parameters(), run.model.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close(got, expected - 0.5 * expected.grad, rtol=1e-9, atol=1e-12, msg=name)
    logged = [line["loss"] for line in run.state.log_history if "loss" in line]
    assert logged == [pytest.approx(loss.item(), rel=1e-5)]


@pytest.mark.parametrize("batch", [8, 3, 1])
def test_evaluation_loss_is_the_mean_over_tokens(tmp_path: Path, batch: int) -> None:
    metrics = trainer(tmp_path, batch, 1).evaluate()
    with torch.no_grad():
        expected = reference_loss(tiny())
    assert metrics["eval_loss"] == pytest.approx(expected.item(), rel=1e-12)
    assert metrics["eval_perplexity"] == pytest.approx(expected.exp().item(), rel=1e-12)


def test_an_optimizer_with_two_sets_of_weights_is_told_which_is_wanted(tmp_path: Path) -> None:
    """As schedule-free optimizers need it: they refuse a step in evaluation mode."""
    told: list[str] = []

    class TwoSets(torch.optim.SGD):
        def train(self) -> None:
            told.append("train")

        def eval(self) -> None:
            told.append("eval")

    run = trainer(tmp_path, 8, 1)
    run.optimizer = TwoSets(run.model.parameters(), lr=0.1)
    run.train()
    run.evaluate()
    assert told == ["train", "eval"]
