"""Combined adapters against the sum of their updates, written out in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from tests.tiny_models import IDS, tiny
from yuantune.errors import ConfigError
from yuantune.method_config import IA3Section, LoraSection
from yuantune.methods import by_peft, ia3, lora
from yuantune.methods.combine import HOWS, check_how, combine

KINDS = ("yuan", "llama")


def written(
    kind: str, folder: Path, seed: int, method: Any = lora, section: Any = LoraSection, **options: Any
) -> Path:
    """An adapter whose every number is moved."""
    model = method.apply(tiny(kind), section.model_validate(options).dump())
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) / 3
    method.save(model, folder)
    return folder


def updates(kind: str, folder: Path) -> dict[str, Tensor]:
    """What an adapter adds to each weight of the base, from PEFT's own merge."""
    base = tiny(kind).state_dict()
    merged = PeftModel.from_pretrained(tiny(kind), str(folder)).merge_and_unload().state_dict()
    return {name: merged[name] - base[name] for name in base}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        torch.testing.assert_close(found[name], each, rtol=1e-4, atol=1e-5, msg=name)


OTHERS = [
    {"r": 3, "use_rslora": True},
    {"r": 2, "layers_to_transform": [-1], "rank_pattern": {"down_proj": 4}, "alpha_pattern": {"q_proj": 7}},
    {"r": 2, "target_modules": ["o_proj"]},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("first", [0, 1])
def test_cat_is_the_weighted_sum(kind: str, other: dict[str, Any], first: int, tmp_path: Path) -> None:
    """Whatever ranks, scales and layers the two have, in either order; a negative weight takes away."""
    folders = [written(kind, tmp_path / "a", 1, r=2), written(kind, tmp_path / "b", 2, **other)]
    if first:
        folders.reverse()
    weights = [0.7, -1.5]
    made, apart = combine(tiny(kind), folders, weights, method="lora", how="cat")
    assert apart < 1e-6
    lora.save(made, tmp_path / "sum")
    one, two = (updates(kind, folder) for folder in folders)
    expected = {name: weights[0] * one[name] + weights[1] * two[name] for name in one}
    assert any(bool(each.any()) for each in expected.values())
    assert_near(updates(kind, tmp_path / "sum"), expected)
    loaded = by_peft.load(lambda _: tiny(kind), tmp_path / "sum")
    assert set(loaded.peft_config) == {"default"}
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=IDS).logits, made.eval()(input_ids=IDS).logits)


@pytest.mark.parametrize("how", ["svd", "linear"])
def test_of_a_lower_rank(how: str, tmp_path: Path) -> None:
    """svd is the nearest one of its rank; linear is the product of summed factors. What is said of how far they are
    from the sum is what it is."""
    folders = [written("llama", tmp_path / name, seed, r=2) for seed, name in enumerate("ab")]
    made, apart = combine(tiny("llama"), folders, [0.5, 0.25], method="lora", how=how)
    lora.save(made, tmp_path / "made")
    found, parts = updates("llama", tmp_path / "made"), [updates("llama", folder) for folder in folders]
    total = whole = 0.0
    for name, update in found.items():
        exact = 0.5 * parts[0][name] + 0.25 * parts[1][name]
        if not exact.any():
            continue
        assert int(torch.linalg.matrix_rank(update, rtol=1e-4)) == 2, name
        total += float((update - exact).square().sum())
        whole += float(0.5 * parts[0][name].norm() + 0.25 * parts[1][name].norm()) ** 2
        if how == "svd":
            u, s, vh = torch.linalg.svd(exact)
            torch.testing.assert_close(update, u[:, :2] * s[:2] @ vh[:2], rtol=1e-3, atol=1e-4)
    assert apart == pytest.approx((total / whole) ** 0.5, rel=1e-3) and apart > 0.01


@pytest.mark.filterwarnings("ignore:The density 1.0 is greater")
@pytest.mark.parametrize("how", HOWS)
def test_every_way_gives_one_adapter(how: str, tmp_path: Path) -> None:
    """Of one adapter twice at half the weight, thinned by nothing, every way gives that adapter."""
    folder = written("llama", tmp_path / "a", 1, r=2)
    torch.manual_seed(0)
    made, apart = combine(tiny("llama"), [folder, folder], [0.5, 0.5], method="lora", how=how, density=1.0)
    lora.save(made, tmp_path / "made")
    if how in ("cat", "svd", "dare_linear_svd", "magnitude_prune_svd"):  # Others average factors, or signs, too.
        assert apart < 1e-5
        assert_near(updates("llama", tmp_path / "made"), updates("llama", folder))
    with torch.no_grad():
        assert torch.isfinite(made(input_ids=IDS).logits).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ia3_is_the_mean_of_scales(kind: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folders = [written(kind, tmp_path / name, seed, ia3, IA3Section) for seed, name in enumerate("ab")]
    made, _ = combine(tiny(kind), folders, [0.75, 0.25], method="ia3", how="linear")
    ia3.save(made, tmp_path / "mean")
    one, two, mean = (load_file(each / by_peft.WEIGHTS_FILE) for each in (*folders, tmp_path / "mean"))
    assert mean.keys() == one.keys() != set()
    for name, each in mean.items():
        torch.testing.assert_close(each, 0.75 * one[name] + 0.25 * two[name])


def test_what_cannot_be_combined(tmp_path: Path) -> None:
    def refused(match: str, *folders: Path, how: str = "cat", **options: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            combine(tiny("llama"), folders, [1.0] * len(folders), method="lora", how=how, **options)

    plain = written("llama", tmp_path / "plain", 1, r=2)
    higher = written("llama", tmp_path / "higher", 1, r=3)
    uneven = written("llama", tmp_path / "uneven", 1, r=2, rank_pattern={"down_proj": 3})
    dora = written("llama", tmp_path / "dora", 1, r=2, use_dora=True)
    norm = written("llama", tmp_path / "norm", 1, r=2, modules_to_save=["norm"])
    refused("linear.*\n.*is of rank 2.*\n.*is of rank 3", plain, higher, how="linear")
    refused(r"has layers of the ranks \[2, 3\]: ties", plain, uneven, how="ties")
    refused(r"(?s)DoRA's lengths.*trained norm in full", dora, norm)
    refused("17 is more than the narrowest layer has, 8", plain, higher, how="svd", rank=17)


def test_ways_and_weights() -> None:
    assert check_how("lora", None, [3, -1]) == "cat" and check_how("ia3", None, [0.5, 0.5]) == "linear"
    with pytest.raises(ConfigError, match=r"--how tise is unknown \(did you mean 'ties'\?\)"):
        check_how("lora", "tise", [1, 1])
    with pytest.raises(ConfigError, match="weights add up to 1, not 2"):
        check_how("ia3", None, [1, 1])
    with pytest.raises(ConfigError, match="mean of its scales alone"):
        check_how("ia3", "cat", [0.5, 0.5])


def test_plain_peft_reads_the_result(tmp_path: Path) -> None:
    """The files are PEFT's: no pattern or option is left that speaks of one of the parts."""
    parts = [
        written("llama", tmp_path / "a", 1, r=2, layers_to_transform=[0]),
        written("llama", tmp_path / "b", 2, r=3),
    ]
    made, _ = combine(tiny("llama"), parts, [1.0, 1.0], method="lora", how="cat")
    lora.save(made, tmp_path / "sum")
    config = json.loads((tmp_path / "sum" / by_peft.CONFIG_FILE).read_text("utf-8"))
    assert config["r"] == config["lora_alpha"] == 5 and config["layers_to_transform"] is None
    plain = get_peft_model(tiny("llama"), LoraConfig.from_pretrained(str(tmp_path / "sum")))
    assert plain.load_adapter(str(tmp_path / "sum"), "default").missing_keys == []
