"""Virtual tokens: gradients by PEFT's own forward and by hand, prefix groups as padded rows, answers as one by
one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM, PreTrainedModel

from tests.test_models_grouped import typical
from tests.tiny_models import IDS, assert_same, learn, tiny
from yuantune.batch.collate import collate
from yuantune.batch.layout import lay_out
from yuantune.config import Config
from yuantune.data.examples import ExampleSet
from yuantune.errors import ConfigError, ModelError
from yuantune.infer import engine
from yuantune.infer.engine import answer
from yuantune.infer.question import Question
from yuantune.method_config import PrefixTuningSection, PromptTuningSection, PTuningSection
from yuantune.methods import METHODS
from yuantune.models.load import load_tokenizer, positions_of
from yuantune.models.loss import supervised_loss
from yuantune.models.virtual import root_of
from yuantune.train.grouping import choose_collator, may_checkpoint
from yuantune.train.step import computing

P = 3
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt": ("prompt_tuning", PromptTuningSection(num_virtual_tokens=P).dump()),
    "p-mlp": ("p_tuning", PTuningSection(num_virtual_tokens=P).dump()),
    "p-lstm": ("p_tuning", PTuningSection(num_virtual_tokens=P, encoder_reparameterization_type="LSTM").dump()),
    "prefix": ("prefix_tuning", PrefixTuningSection(num_virtual_tokens=P).dump()),
    "prefix-projected": ("prefix_tuning", PrefixTuningSection(num_virtual_tokens=P, prefix_projection=True).dump()),
}
KINDS = ("yuan", "llama")


def made(kind: str, case: str, **changes: Any) -> PreTrainedModel:
    """A model whose virtual tokens have learnt something."""
    method, options = CASES[case]
    model = METHODS[method].apply(tiny(kind), {**options, **changes}).double()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "prompt_encoder" in name:
            parameter.data += torch.randn_like(parameter) / 2
    return model.eval()


def gradients(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("prompt_encoder" in name for name in trained)
    return {
        "loss": loss.detach(),
        **dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True)),
    }


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_pefts_own_forward(kind: str, case: str) -> None:
    model = made(kind, case)
    theirs = type(model).forward(model, input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS)
    assert_same(learn(model), gradients(model, theirs.loss))
    logits = model(input_ids=IDS).logits
    assert logits.shape == (2, IDS.shape[1], 40)
    torch.testing.assert_close(logits, theirs.logits[:, -IDS.shape[1] :])
    torch.testing.assert_close(model(input_ids=IDS, logits_to_keep=2).logits, logits[:, -2:])


def loss_of(model: PreTrainedModel, batch: Any) -> Tensor:
    with computing(model, batch):
        return supervised_loss(model, **batch)


def alone(model: PreTrainedModel, examples: list[Any]) -> Tensor:
    """Each example by itself, through PEFT's forward: one row, no padding, no prefix."""
    total = torch.zeros((), dtype=torch.float64)
    for each in examples:
        ids = torch.tensor([each.ids])
        logits = (
            type(model)
            .forward(model, input_ids=ids, attention_mask=torch.ones_like(ids))
            .logits[0, -len(each.ids) :]
        )
        wanted = torch.tensor(each.supervised[1:])
        losses = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        total = total + losses[wanted].sum()
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["prompt", "p-mlp", "prefix"])
def test_groups_and_padded_rows_learn_what_each_row_alone_does(kind: str, case: str) -> None:
    """Also several groups in one row, and with gradient checkpointing."""
    model, examples = made(kind, case), typical()
    assert choose_collator(model, [ExampleSet(examples)], how="on", pad_id=0) == (lay_out, None)
    expected = gradients(model, alone(model, examples))
    grouped = lay_out(examples, least=1)
    assert grouped["layout"].spans[0].prefix > 0
    several = [*examples, *(type(each)(**{**vars_of(each), "ids": [9, *each.ids[1:]]}) for each in examples)]
    for batch in (grouped, lay_out(examples, least=999), collate(examples, pad_id=0)):
        assert_same(gradients(model, loss_of(model, batch)), expected)
    assert len(lay_out(several, least=1)["layout"].spans) > 1
    assert_same(
        gradients(model, loss_of(model, lay_out(several, least=1))), gradients(model, alone(model, several))
    )
    model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    with computing(model, grouped):
        found = gradients(model, supervised_loss(model, **grouped))
    assert_same(found, expected)


def test_the_tokens_of_a_tuned_prefix_go_ways_of_their_own() -> None:
    """All zero, each would have the gradient of the others."""
    torch.manual_seed(0)
    method, options = CASES["prefix"]
    model = METHODS[method].apply(tiny("llama"), options).double()
    weight_PK = model.prompt_encoder["default"].embedding.weight
    assert 0 < float(weight_PK.detach().abs().max()) < 0.2
    (slope_PK,) = torch.autograd.grad(loss_of(model, lay_out(typical(), least=1)), weight_PK)
    assert float((slope_PK[0] - slope_PK[1]).abs().max()) > 0


def vars_of(example: Any) -> dict[str, Any]:
    return {name: getattr(example, name) for name in example.__slots__}


def test_a_prefix_before_padded_rows_is_not_dropped_in_silence() -> None:
    model = made("llama", "prefix").train()
    assert may_checkpoint(model, lay_out) and not may_checkpoint(model, collate)
    assert may_checkpoint(made("llama", "prompt"), collate) and may_checkpoint(tiny("llama"), collate)
    model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(ModelError, match="cannot be combined with gradient checkpointing"):
        loss_of(model, collate(typical(), pad_id=0))


PROMPTS = [[5, 9, 3, 12], [7], [5, 9, 8, 2, 30, 6, 11], [5, 9]]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["prompt", "p-lstm", "prefix", "prefix-projected"])
def test_answers_are_those_of_the_likeliest_token_after_the_other(
    kind: str, case: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the engine, with a shared prefix behind the virtual tokens and without, and by `generate`; no cache
    here."""
    model = made(kind, case)
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 1] if shared else PROMPTS
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        while len(ids) < len(prompt) + 8:
            row = torch.tensor([ids])
            with torch.no_grad():
                logits = type(model).forward(model, input_ids=row, attention_mask=torch.ones_like(row)).logits
            ids.append(int(logits[0, -1].argmax()))
        expected.append(ids[len(prompt) :])
    assert len({tuple(each) for each in expected}) > 1 or kind == "yuan"
    seen: list[bool] = []
    serve = engine._slots_serve
    monkeypatch.setattr(engine, "_slots_serve", lambda model: seen.append(serve(model)) or seen[-1])
    for slots in (True, False):
        found = answer(
            model, [Question(prompt, text_ids=prompt) for prompt in prompts], end_ids=[99], pad_id=0,
            max_new_tokens=8, batch_size=2, slots=slots,
        )  # fmt: skip
        assert [each.ids for each in sorted(found, key=lambda each: each.index)] == expected
    assert seen == [True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_round_trip(kind: str, case: str, tmp_path: Path) -> None:
    """For answering, by plain PEFT, and for going on."""
    method, options = CASES[case]
    model = METHODS[method].apply(tiny(kind), options)
    model.load_state_dict(made(kind, case).float().state_dict(), strict=True)
    METHODS[method].save(model, tmp_path)
    expected = model.eval()(input_ids=IDS).logits
    loaded = METHODS[method].load(lambda _: tiny(kind), tmp_path)
    torch.testing.assert_close(loaded.eval()(input_ids=IDS).logits, expected, rtol=1e-6, atol=1e-6)
    plain = PeftModel.from_pretrained(tiny(kind), str(tmp_path)).eval()
    logits = plain(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, -IDS.shape[1] :]
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
    again = METHODS[method].apply(tiny(kind), options)
    restore = METHODS[method].restore
    assert restore is not None
    restore(again, tmp_path)
    for (name, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_virtual_tokens_that_begin_as_a_text() -> None:
    tokenizer = load_tokenizer("yuan2-mini")
    model = tiny("llama")
    model.resize_token_embeddings(len(tokenizer))
    ids = tokenizer("抽取实体", add_special_tokens=False)["input_ids"]
    given = PromptTuningSection(
        num_virtual_tokens=len(ids) + 1, prompt_tuning_init="text", prompt_tuning_init_text="抽取实体"
    ).dump()
    root = root_of(METHODS["prompt_tuning"].apply(model, given, tokenizer))
    assert root is not None and root.embeddings is not None
    table = model.get_input_embeddings().weight[torch.tensor([*ids, ids[0]])]
    torch.testing.assert_close(root.embeddings().double(), table, rtol=1e-6, atol=1e-7)
    with pytest.raises(ConfigError, match="has no tokens"):
        METHODS["prompt_tuning"].apply(tiny("llama"), {**given, "prompt_tuning_init_text": ""}, tokenizer)
    with pytest.raises(ValueError, match="go together"):
        Config.model_validate({"prompt_tuning": {"prompt_tuning_init": "text"}})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_low_precision_bases_keep_wide_virtual_tokens(kind: str, case: str) -> None:
    method, options = CASES[case]
    model = METHODS[method].apply(tiny(kind, torch.bfloat16), options).train()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    for batch in (lay_out(typical(), least=1), collate(typical(), pad_id=0)):
        assert all(bool(slope.isfinite().all()) for slope in gradients(model, loss_of(model, batch)).values())
    questions = [Question(prompt, text_ids=prompt) for prompt in PROMPTS]
    assert len(list(answer(model, questions, end_ids=[99], pad_id=0, max_new_tokens=4, batch_size=2))) == len(
        PROMPTS
    )


def test_virtual_tokens_take_positions() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=10))
    assert positions_of(gpt2) == 10
    assert positions_of(METHODS["prompt_tuning"].apply(gpt2, CASES["prompt"][1])) == 10 - P


def test_models_and_rows_that_they_are_not_for() -> None:
    mamba = MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1))
    with pytest.raises(ModelError, match="virtual tokens"):
        METHODS["prefix_tuning"].apply(mamba, CASES["prefix"][1])
    model = made("llama", "prompt")
    with pytest.raises(ModelError, match="packed rows"):
        model(input_ids=IDS, position_ids=torch.arange(9).expand(2, -1))
    with pytest.raises(ModelError, match="padded on the left"):
        model.generate(input_ids=IDS, attention_mask=torch.tensor([[0, *[1] * 8], [1] * 9]))
