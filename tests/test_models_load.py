"""Names to models: what is found, what is loaded, what is refused and what a person reads then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig
from typer.testing import CliRunner

from tests.tiny_tokenizers import byte_level
from yuantune.cli.model import app
from yuantune.errors import ModelError
from yuantune.models import folder as model_folder
from yuantune.models import hub, load, placement
from yuantune.models.load import check_identity, identity, load_model, load_tokenizer, resolve
from yuantune.models.placement import device_of
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.model import YuanForCausalLM
from yuantune.models.yuan2.tokenizer import YuanTokenizer
from yuantune.resources import RESOURCES

TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def yuan(tmp_path: Path) -> Path:
    """A whole Yuan2 folder: yuan2-mini's tokenizer, tiny random weights in safetensors."""
    folder = tmp_path / "yuan"
    torch.manual_seed(1)
    YuanForCausalLM(
        YuanConfig(vocab_size=8192, pad_token_id=1, bos_token_id=1, eos_token_id=1, **TINY)
    ).save_pretrained(folder)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(RESOURCES / "yuan2-mini" / name, folder)
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A whole Llama folder with a fast tokenizer that has no padding token."""
    folder = tmp_path / "llama"
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=512, **TINY)).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    return folder


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def as_published(folder: Path) -> None:
    """Turn a folder's weights into pickled shards with stale buffers, beside code that must not run."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weights |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.full((4,), 9.0) for i in range(2)}
    names = sorted(weights)
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: weights[name] for name in part}, folder / file)
        index["weight_map"] |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "code.Model", "AutoConfig": "code.Config"})
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", add_bos_token=True, bos_token="<s>")
    (folder / "code.py").write_text("raise SystemExit('remote code ran')")


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x.float(), y.float()) for x, y in pairs)


# --------------------------------------------------------------------------------------------------- names


def test_built_in_folder_and_hub(yuan: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def download(name: str, **options: Any) -> Path:
        asked.append((name, options))
        return tmp_path

    monkeypatch.setattr(hub, "download", download)
    load._fetched.cache_clear()
    assert resolve("yuan2-mini") == RESOURCES / "yuan2-mini"
    assert resolve(yuan) == resolve(str(yuan)) == yuan
    assert resolve("IEITYuan/Yuan2-2B-Mars-hf", revision="v1") == tmp_path
    assert resolve("IEITYuan/Yuan2-2B-Mars-hf", revision="v1") == tmp_path
    assert asked == [("IEITYuan/Yuan2-2B-Mars-hf", {"revision": "v1", "weights": True})]
    resolve("hf:gpt2", weights=False)
    assert asked[1] == ("hf:gpt2", {"revision": None, "weights": False})
    load._fetched.cache_clear()


def test_a_folder_that_is_called_like_a_built_in(yuan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(yuan.parent)
    yuan.rename("yuan2-mini")
    assert resolve("yuan2-mini") == RESOURCES / "yuan2-mini"
    assert resolve("./yuan2-mini") == Path("yuan2-mini")
    assert identity("./yuan2-mini")["name"] == str(Path("yuan2-mini").resolve())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yuan2-mni", r"no model 'yuan2-mni' \(did you mean 'yuan2-mini'\?\)"),
        ("./nowhere", "there is no folder nowhere"),
        ("/nowhere/at/all", "there is no folder"),
        ("IEITYuan/Yuan2.0-M32-hf", "mixture of experts"),
        ("modelscope:YuanLLM/yuan2-m32", "mixture of experts"),
        (__file__, "is a file"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    for find in (resolve, load_tokenizer, load_model):
        with pytest.raises(ModelError, match=message) as caught:
            find(name)
        assert caught.value.hint


# --------------------------------------------------------------------------------------------------- weights


def test_yuan_from_safetensors_and_as_published(yuan: Path) -> None:
    before = load_model(yuan, dtype="float32", device_map="cpu")
    assert type(before) is YuanForCausalLM
    assert not before.training
    assert before.name_or_path == before.config._name_or_path == str(yuan)
    as_published(yuan)
    after = load_model(yuan, dtype="float32", device_map="cpu")
    assert same_weights(before, after)
    ids = torch.arange(10)[None]
    torch.testing.assert_close(before(ids).logits, after(ids).logits, rtol=0, atol=0)
    plain = AutoModelForCausalLM.from_pretrained(yuan, dtype=torch.float32, trust_remote_code=True)
    assert type(plain) is YuanForCausalLM
    assert same_weights(plain, after)


def test_a_base_from_a_hub_is_called_by_its_name_there(yuan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_fetched", lambda *_: yuan)
    model = load_model("modelscope:org/model", device_map="cpu")
    assert model.name_or_path == model.config._name_or_path == "org/model"
    assert identity("modelscope:org/model")["name"] == "modelscope:org/model"


def test_formats_of_the_weights(yuan: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for emulated, expected in ((False, torch.bfloat16), (True, torch.float32)):
        monkeypatch.setattr(placement, "computes_bfloat16", lambda device, emulated=emulated: not emulated)
        assert load_model(yuan, device_map="cpu").dtype == expected
        assert load_model("yuan2-mini", device_map="cpu").dtype == torch.float32
    assert load_model(yuan, device_map="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(llama, device_map="cpu", dtype="float64").dtype == torch.float64
    assert load_model(llama, device_map="cpu", attn_implementation="eager").config._attn_implementation == "eager"
    with pytest.raises(ModelError, match=r"unknown dtype 'bfloat' \(did you mean 'bfloat16'\?\)"):
        load_model(yuan, dtype="bfloat")
    with pytest.raises(ModelError, match=r"cannot be loaded: .*fancy"):
        load_model(llama, device_map="cpu", attn_implementation="fancy")


def test_bfloat16_where_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placement.computes_bfloat16("cuda:0") and placement.computes_bfloat16("mps")
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT"):
        assert not placement.computes_bfloat16("cpu")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not placement.computes_bfloat16("cpu")


def test_mini_ships_small() -> None:
    folder = resolve("yuan2-mini")
    model = load_model("yuan2-mini", device_map="cpu")
    assert (model.dtype, model.name_or_path) == (torch.float32, "yuan2-mini")
    assert sum(parameter.numel() for parameter in model.parameters()) <= 15_000_000
    assert (folder / "model.safetensors").stat().st_size <= 32 * 2**20
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert load_model("yuan2-mini", device_map="cpu", dtype="bfloat16").dtype == torch.bfloat16


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 5000)


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def rubbish(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def without_a_shard(folder: Path) -> None:
    as_published(folder)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()


class Evil:
    """Would run code when unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("exit 1",))


def pickled_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Evil()}, folder / "pytorch_model.bin")


def missing_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), "no model folder: it has no config.json"),
        (remove("model.safetensors"), "no weights"),
        (cut, r"cut short: 5,000 of [\d,]+ bytes"),
        (pointer, "without Git LFS"),
        (rubbish, "cut short, or is no safetensors file"),
        (without_a_shard, r"pytorch_model-00002-of-00002.bin: the file is missing"),
        (pickled_code, r"hold more than tensors: \w+\.system"),
        (missing_tensor, r"(?s)does not have 1 of.*layers.1.mlp.up_proj.weight: not in"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
        (
            lambda f: edit(f / "config.json", vocab_size=9000),
            r"embed_tokens.weight: is \[8192, 16\] in the weights, \[9000, 16\]",
        ),
        (lambda f: edit(f / "config.json", model_type=None), "has no model_type"),
        (lambda f: edit(f / "config.json", model_type="new9", auto_map={}), "runs only with the code in its own"),
        (lambda f: edit(f / "config.json", model_type="vit"), "is no causal language model"),
        (lambda f: edit(f / "config.json", model_type="bert"), "is no causal language model"),
        (lambda f: edit(f / "config.json", model_type="bart"), "is no causal language model"),
        (lambda f: edit(f / "config.json", model_type="t5"), "is no causal language model"),
        (lambda f: edit(f / "config.json", moe_config={"experts": 32}), "mixture-of-experts"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(
    yuan: Path, damage: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(yuan)
    with pytest.raises(ModelError, match=message):
        load_model(yuan, device_map="cpu")


# --------------------------------------------------------------------------------------------------- tokenizers


def test_yuans_tokenizer_from_folders_of_all_ages(yuan: Path, test_data: Path) -> None:
    assert type(load_tokenizer("yuan2-mini")) is YuanTokenizer
    as_published(yuan)
    tokenizer = load_tokenizer(yuan)
    assert type(tokenizer) is YuanTokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<eod>",) * 3
    bare = load_tokenizer(test_data / "yuan2-tokenizer")  # no config: the vocabulary tells
    assert (type(bare), len(bare)) == (YuanTokenizer, 134_958)


def test_other_tokenizers_get_a_padding_token(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("tokenizer.json"), "no tokenizer"),
        (lambda f: edit(f / "tokenizer_config.json", eos_token=None), "has no end token"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be loaded"),
        (
            lambda f: edit(f / "config.json", vocab_size=261),
            r"(?s)262 tokens.*261 rows.*token 261: '</s>' has no row",
        ),
    ],
)
def test_tokenizers_that_cannot_be_used(llama: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(llama)
    with pytest.raises(ModelError, match=message) as caught:
        load_tokenizer(llama)
    assert caught.value.hint


def test_a_damaged_sentencepiece_model(yuan: Path) -> None:
    (yuan / "tokenizer.model").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be read"):
        load_tokenizer(yuan)


# --------------------------------------------------------------------------------------------------- devices


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == "cpu"
    for name, message in (("cuda", "no GPU"), ("mps", "has none"), ("cdua", r"mean 'cuda'"), ("cpu:1", "unknown")):
        with pytest.raises(ModelError, match=message):
            device_of(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of(name) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [device_of(name) for name in ("auto", "cuda", "cuda:0")] == ["cuda:1", "cuda:1", "cuda:0"]
    with pytest.raises(ModelError, match="2 GPUs"):
        device_of("cuda:2")


# --------------------------------------------------------------------------------------------------- identity


def test_identity_of_the_same_model(yuan: Path, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("yuan2-mini", yuan, llama):
        saved = json.loads(json.dumps(identity(name)))
        assert check_identity(saved, name) == []
    assert identity(yuan)["architecture"] == "YuanForCausalLM"
    assert identity("yuan2-mini")["weights"].keys() == {"model.safetensors"}
    saved = identity(yuan)
    edit(yuan / "config.json", transformers_version="9.9", _name_or_path="elsewhere")
    (yuan / "README.md").write_text("more")
    assert check_identity(saved, yuan) == []
    monkeypatch.setattr(model_folder, "WHOLE_HASH", 100)
    assert identity(yuan)["weights"] != saved["weights"]
    assert check_identity(identity(yuan), yuan) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda f: edit(f / "config.json", rms_norm_eps=1e-5), ["config"]),
        (lambda f: edit(f / "tokenizer_config.json", eos_token="<pad>"), ["tokenizer"]),
        (lambda f: (f / "chat_template.jinja").write_text("x"), ["tokenizer"]),
        (as_published, ["config", "tokenizer", "model.safetensors", "pytorch_model-00001-of-00002.bin",
                        "pytorch_model-00002-of-00002.bin"]),
        (missing_tensor, ["model.safetensors"]),
        (remove("model.safetensors"), ["model.safetensors"]),
    ],
)  # fmt: skip
def test_identity_tells_models_apart(yuan: Path, change: Callable[[Path], None], where: list[str]) -> None:
    saved = identity(yuan)
    change(yuan)
    assert [problem.where for problem in check_identity(saved, yuan)] == where


# --------------------------------------------------------------------------------------------------- commands


def test_show(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "computes_bfloat16", lambda device: True)
    result = CliRunner().invoke(app, ["show", "yuan2-mini", "--json"])
    facts = json.loads(result.stdout)
    assert (facts["architecture"], facts["parameters"], facts["tokenizer"]) == (
        "YuanForCausalLM",
        6_820_608,
        "YuanTokenizer",
    )
    assert facts["special_tokens"]["<sep>"] == 2
    assert (facts["framing"]["prompt_end"], facts["framing"]["answer_end"]) == ("<sep>", "<eod>")
    whole, spared = facts["lora"]["memory"]
    assert spared["total"] < whole["total"]
    text = CliRunner().invoke(app, ["show", str(llama), "--batch-size", "2", "--length", "64"]).stdout
    assert "LlamaForCausalLM, 2 layers of 16" in text
    assert "ends with a newline; an answer ends with </s>" in text
    assert "for 2 × 64 tokens in bfloat16" in text


def test_get(yuan: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(name: str, target: Path | None, *, revision: str | None) -> Path:
        assert (name, target, revision) == ("IEITYuan/Yuan2-2B-Mars-hf", tmp_path / "here", "v1")
        return yuan

    monkeypatch.setattr(hub, "download", download)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    wanted = ["get", "IEITYuan/Yuan2-2B-Mars-hf", "--to", str(tmp_path / "here"), "--revision", "v1"]
    result = CliRunner().invoke(app, wanted)
    assert result.stdout == f"{yuan}\n"
    (yuan / "model.safetensors").unlink()
    assert isinstance(CliRunner().invoke(app, wanted).exception, ModelError)
    assert isinstance(CliRunner().invoke(app, ["get", "IEITYuan/Yuan2.0-M32"]).exception, ModelError)
    assert CliRunner().invoke(app, ["get", "yuan2-mini"]).stdout == f"{RESOURCES / 'yuan2-mini'}\n"
