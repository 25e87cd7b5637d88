"""One adapter out of several on the same base, by PEFT's `add_weighted_adapter`.

LoRA's update of a layer is Δ = scale · B·A. Of updates Δᵢ with weights wᵢ

    cat     is their sum Σ wᵢΔᵢ exactly: factors stand behind each other, the rank is the sum of the ranks
    svd     the nearest update to that sum of a chosen rank
    linear  (Σ √wᵢ·Bᵢ)(Σ √wᵢ·Aᵢ): of the old rank, and only roughly the sum: factors of one meet those of another
    ties, dare_linear, dare_ties, magnitude_prune   thin factors out before they are added; with _svd, updates

Sources: Yadav et al., "TIES-Merging", 2023; Yu et al., "Language Models are Super Mario" (DARE), 2023; Ilharco et
al., "Editing Models with Task Arithmetic", 2022, for negative weights. (IA)³ is combined by the mean of its scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from yuantune.errors import ConfigError, Problem, nearest
from yuantune.methods.by_peft import CONFIG_FILE, all_there, incomplete

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BY_FACTORS = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
_THINNED = _BY_FACTORS[1:]
HOWS = ("cat", "svd", *_BY_FACTORS, *(f"{how}_svd" for how in _THINNED))
COMBINED = ("lora", "ia3")
"""The methods of which PEFT combines adapters."""
NAME = "default"
"""What the result is called, so that its files lie like those of a run."""


def combine(
    base: PreTrainedModel,
    folders: Sequence[Path],
    weights: Sequence[float],
    *,
    method: str,
    how: str,
    rank: int | None = None,
    density: float = 0.5,
) -> tuple[PreTrainedModel, float]:
    """`base` with the combined adapter, the only one left on it; and how far its update is from the weighted sum of
    the given ones, as a share of their lengths added up (for `cat`, rounding).

    `rank` is that of `svd` and the like (default: the highest of the given), `density` the share of numbers that
    thinning leaves; what it draws comes from torch's random state. Raises ConfigError with everything that keeps
    these adapters from being combined so, RunError for one whose file lacks weights."""
    from peft import PeftModel

    names = [f"part{number}" for number in range(len(folders))]
    with all_there(folders[0]):
        tuned = PeftModel.from_pretrained(base, str(folders[0]), adapter_name=names[0])
    for name, folder in zip(names[1:], folders[1:], strict=True):
        found = tuned.load_adapter(str(folder), adapter_name=name)
        if found.missing_keys:
            raise incomplete(folder, ", ".join(found.missing_keys))
    if method == "ia3":
        return _mean_of_scales(tuned, names, folders, weights)
    found = {name: dict(_factors(tuned, name)) for name in names}
    _check(tuned, found, folders, how, rank)
    for name, layers in found.items():
        # By the layers that there are: PEFT takes other choices of layers from the first config alone.
        config = tuned.peft_config[name]
        config.target_modules, config.layers_to_transform, config.layers_pattern = set(layers), None, None
        config.exclude_modules = None
        config.r, config.rank_pattern = max(len(a_RI) for a_RI, _, _ in layers.values()), {}
        # The factors' scales are known by now; that of the result is one.
        config.use_rslora, config.init_lora_weights = False, True
    thin = {"density": density} if how.removesuffix("_svd") in _THINNED else {}
    tuned.base_model.add_weighted_adapter(
        names, list(weights), NAME, combination_type=how, svd_rank=rank, svd_full_matrices=False, **thin
    )
    apart = _apart([found[name] for name in names], weights, dict(_factors(tuned, NAME)))
    return _alone(tuned, names), apart


def _alone(tuned: Any, names: Sequence[str]) -> Any:
    tuned.set_adapter(NAME)
    for name in names:
        tuned.delete_adapter(name)
    return tuned


# ------------------------------------------------------------------------------------------------------------ LoRA


def _factors(tuned: Any, name: str) -> Iterator[tuple[str, tuple[Tensor, Tensor, float]]]:
    """A, B and scale of every layer that the adapter called `name` has, by the layer's path in the base."""
    from peft.tuners.lora import LoraLayer

    for path, module in tuned.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and name in module.lora_A:
            yield path, (module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])


def _check(
    tuned: Any,
    found: Mapping[str, Mapping[str, tuple[Tensor, Tensor, float]]],
    folders: Sequence[Path],
    how: str,
    rank: int | None,
) -> None:
    """Raises ConfigError with everything that PEFT would refuse, leave out without a word, or get wrong."""
    problems = []
    for (name, layers), folder in zip(found.items(), folders, strict=True):
        config = tuned.peft_config[name]
        if config.use_dora:
            problems.append(Problem(str(folder), "DoRA's lengths of rows cannot be added (lora.use_dora)"))
        if config.modules_to_save:
            what = f"trained {', '.join(config.modules_to_save)} in full, which is no update to be added"
            problems.append(Problem(str(folder), f"{what} (lora.modules_to_save)"))
        ranks = sorted({len(a_RI) for a_RI, _, _ in layers.values()})
        if how in _BY_FACTORS and len(ranks) > 1:
            problems.append(Problem(str(folder), f"has layers of the ranks {ranks}: {how} needs one rank in all"))
    ranks = [max(len(a_RI) for a_RI, _, _ in layers.values()) for layers in found.values()]
    if how in _BY_FACTORS and len(set(ranks)) > 1 and not problems:
        problems = [
            Problem(str(folder), f"is of rank {each}: {how} needs the same rank in all")
            for folder, each in zip(folders, ranks, strict=True)
        ]
    if how.endswith("svd"):
        chosen = rank or max(ranks)
        narrow = min((min(a_RI.shape[1], len(b_OR)) for each in found.values() for a_RI, b_OR, _ in each.values()))
        if chosen > narrow:
            problems.append(Problem("--rank", f"{chosen} is more than the narrowest layer has, {narrow}"))
    if problems:
        exact = (
            "" if how == "cat" else "`--how cat` takes any ranks and is exact; `--how svd --rank N` cuts it down"
        )
        raise ConfigError(f"these adapters cannot be combined by {how}", problems=problems, hint=exact)


def _apart(
    parts: Sequence[Mapping[str, tuple[Tensor, Tensor, float]]],
    weights: Sequence[float],
    made: Mapping[str, tuple[Tensor, Tensor, float]],
) -> float:
    apart = whole = 0.0
    for path, factors in made.items():
        updates = [
            weight * _update(part[path]) for part, weight in zip(parts, weights, strict=True) if path in part
        ]
        apart += float((_update(factors) - sum(updates)).square().sum())
        whole += sum(float(each.norm()) for each in updates) ** 2
    return float((apart / max(whole, 1e-300)) ** 0.5)


def _update(factors: tuple[Tensor, Tensor, float]) -> Tensor:
    a_RI, b_OR, scale = factors
    update: Tensor = scale * (b_OR.detach().double() @ a_RI.detach().double())
    return update


# ----------------------------------------------------------------------------------------------------------- (IA)³


def _mean_of_scales(
    tuned: Any, names: Sequence[str], folders: Sequence[Path], weights: Sequence[float]
) -> tuple[Any, float]:
    first = tuned.peft_config[names[0]]
    problems = [
        Problem(str(folder), f"scales other layers than {folders[0]} ({CONFIG_FILE})")
        for name, folder in zip(names, folders, strict=True)
        if tuned.peft_config[name].target_modules != first.target_modules
        or tuned.peft_config[name].feedforward_modules != first.feedforward_modules
    ]
    if problems:
        raise ConfigError("these adapters cannot be combined", problems=problems)
    tuned.base_model.add_weighted_adapter(list(names), list(weights), NAME)
    return _alone(tuned, names), 0.0


def check_how(method: str, how: str | None, weights: Sequence[float]) -> str:
    """The way that is meant, checked. Raises ConfigError."""
    if method == "ia3":
        if how not in (None, "linear"):
            raise ConfigError(
                f"--how {how}: (IA)³ is combined by the mean of its scales alone", hint="--how linear"
            )
        if abs(sum(weights) - 1) > 1e-6:
            raise ConfigError(
                f"--weights: scales of (IA)³ begin at one, so that their weights add up to 1, not {sum(weights):g}"
            )
        return "linear"
    how = how or "cat"
    if how not in HOWS:
        raise ConfigError(f"--how {how} is unknown{nearest(how, HOWS)}", hint=f"one of {', '.join(HOWS)}")
    return how
