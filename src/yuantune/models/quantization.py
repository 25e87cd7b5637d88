"""Loading a base with quantized weights: int8 by our own layers, NF4 by bitsandbytes.

transformers quantizes what it loads tensor by tensor, so that the model is never there twice. Our layers hook in as
one of its quantizers. Int8 weights are rounded from the file's own numbers, whatever the format that the model
computes in: a base is the same in training, in an answer and in an export.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from yuantune.errors import ModelError, Problem
from yuantune.models.int8 import Int8Linear, quantize_rows
from yuantune.models.stored import replace

INT8 = "yuantune_int8"
"""Our quantizer's name in transformers."""


def integer_products(option: str, device: str) -> bool:
    """Whether int8 weights are multiplied as whole numbers on `device` (cpu, cuda:0, mps), by
    `model.int8_products`. auto: on a CPU with instructions for it (AVX512-VNNI, AMX), a fact of the machine.

    Raises ModelError where they are asked for and not to be had."""
    if option == "dequantize":
        return False
    if not device.startswith("cpu"):
        if option == "integer":
            raise ModelError(
                f"model.int8_products: integer: there are none on {device}", hint="say auto, or dequantize"
            )
        return False
    facts = torch.cpu.get_capabilities()
    fast = torch.backends.mkldnn.is_available() and (facts.get("avx512_vnni") or facts.get("amx_int8"))
    return option == "integer" or bool(fast)


def config_for(
    quantization: str, *, device: str, dtype: torch.dtype, products: str = "auto"
) -> QuantizationConfigMixin | None:
    """What `from_pretrained` is told by `model.quantization`; None for none.

    Raises ModelError where this machine lacks what it needs."""
    if quantization == "int8":
        _register()
        return Int8Config(integer=integer_products(products, device))
    if quantization == "nf4":
        require_nf4(device)
        return nf4_config(dtype)
    return None


def require_nf4(device: str) -> None:
    """Raises ModelError where `device` (cpu, cuda:0, mps) or this installation cannot load a base as NF4."""
    missing = []
    if not device.startswith("cuda"):
        missing.append(Problem("device", f"NF4 needs a CUDA GPU, and the model is to run on {device}"))
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append(Problem("bitsandbytes", "is not installed: pip install 'yuantune[nf4]'"))
    if missing:
        raise ModelError(
            "model.quantization: nf4 cannot be had here",
            problems=missing,
            hint="`model.quantization: int8` runs on every machine",
        )


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with doubly quantized scales, multiplied in `dtype`. Source: Dettmers et al., "QLoRA", NeurIPS 2023."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def refuse_quantized(name: str, config: dict[str, Any]) -> None:
    """Raises ModelError where a config.json says that the model's weights are quantized already."""
    if config.get("quantization_config"):
        raise ModelError(
            f"the weights of {name} are quantized already, and model.quantization would do it again",
            hint="say `model.quantization: none`, or name the model that they were made from",
        )


def finish(model: PreTrainedModel, report: dict[str, Any]) -> list[Problem]:
    """After loading int8: make an ordinary model of it, which the Trainer and transformers treat as one. Says where
    weights are of another shape than the model's, or not finite, and takes the scales, which no file has, out of
    what transformers reports as missing or of another shape."""
    layers = {path: each for path, each in model.named_modules() if isinstance(each, Int8Linear)}
    if not layers:
        return []
    model.hf_quantizer.remove_quantization_config(model)
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            vars(module.config).pop("_is_quantized", None)
    scales = {f"{path}.scale" for path in layers}
    report["missing_keys"] = set(report["missing_keys"]) - scales
    report["mismatched_keys"] = [each for each in report["mismatched_keys"] if each[0] not in scales]
    problems = []
    for key, layer in ((f"{path}.weight", layer) for path, layer in layers.items()):
        if key in report["missing_keys"]:
            continue
        has, wants = list(layer.weight.shape), [layer.out_features, layer.in_features]
        if has != wants:
            problems.append(Problem(key, f"is {has} in the weights, {wants} by the config"))
        elif not bool(layer.scale.isfinite().all()):
            problems.append(Problem(key, "has numbers that are not finite"))
    return problems


class Int8Config(QuantizationConfigMixin):
    """What our quantizer is told: whether products are those of whole numbers."""

    def __init__(self, integer: bool = False, quant_method: str = INT8) -> None:
        self.quant_method, self.integer = quant_method, integer


class Int8Quantizer(HfQuantizer):
    """Puts `Int8Linear` in the place of the decoder layers' linear layers, and fills it as weights come in."""

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        def empty(layer: nn.Linear) -> Int8Linear:
            made = Int8Linear(
                layer.in_features,
                layer.out_features,
                layer.bias is not None,
                integer=self.quantization_config.integer,
                device="meta",
                dtype=layer.weight.dtype,
            )
            # No random numbers in the place of missing weights: they are an error.
            vars(made)["_is_hf_initialized"] = True
            return made

        paths = replace(model, empty)
        # Half the digits would be gone before they are rounded to int8.
        strict = model._keep_in_fp32_modules_strict or ()
        model._keep_in_fp32_modules_strict = {*strict, *(f"{path}.weight" for path in paths)}

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        del model._keep_in_fp32_modules_strict

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **kwargs: Any) -> bool:
        path, _, name = param_name.rpartition(".")
        return name == "weight" and isinstance(model.get_submodule(path), Int8Linear)

    def get_quantize_ops(self) -> ConversionOps:
        return _Rounding()

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return True


class _Rounding(ConversionOps):
    """One weight of the file to int8 and scale."""

    def convert(
        self, input_dict: dict[str, Any], *args: Any, full_layer_name: str = "", **kwargs: Any
    ) -> dict[str, Tensor]:
        ((_, value),) = input_dict.items()
        weight_OI = value[0] if isinstance(value, list) else value
        whole_OI, scale_O = quantize_rows(weight_OI)
        return {
            full_layer_name: nn.Parameter(whole_OI, requires_grad=False),
            f"{full_layer_name.removesuffix('weight')}scale": scale_O,
        }


@functools.cache
def _register() -> None:
    """Make them known to transformers, once."""
    register_quantization_config(INT8)(Int8Config)
    register_quantizer(INT8)(Int8Quantizer)
