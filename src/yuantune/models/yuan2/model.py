"""Yuan2 for transformers 5: the base model and the causal language model.

Like Llama but for three things, each silent when wrong: queries and keys come from a localized filter
(localized_filter.py), heads are interleaved over both projections (attention.py), and the MLP's SiLU is on `up`,
not on `gate`.

Shapes: B rows, N new tokens, K of them kept for logits, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple, logging
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from yuantune.errors import ModelError
from yuantune.models.yuan2.attention import YuanAttention, attention_inputs, rotation
from yuantune.models.yuan2.cache import adopt
from yuantune.models.yuan2.config import YuanConfig
from yuantune.models.yuan2.lineage import Documents, trace
from yuantune.models.yuan2.localized_filter import TwoTapConvolution
from yuantune.models.yuan2.rms_norm import YuanRMSNorm

logger = logging.get_logger(__name__)


class YuanMLP(nn.Module):
    """`down(gate(x) * silu(up(x)))`."""

    LEAN = True
    """Autograd keeps both factors and not the SiLU between them (`yuantune.models.memory`)."""

    def __init__(self, config: YuanConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        gate, up = self.gate_proj(x_BND), self.up_proj(x_BND)
        gated = _Gated.apply(gate, up) if torch.is_grad_enabled() else gate * F.silu(up)
        return self.down_proj(gated)


class _Gated(torch.autograd.Function):
    """`gate · silu(up)`, which keeps these two for the gradient and computes the SiLU again; torch's own operations
    would keep that as well."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """[..., I] of both, [..., I]."""
        ctx.save_for_backward(gate, up)
        return gate * F.silu(up)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        gate_slope = slopes[0] * F.silu(up) if ctx.needs_input_grad[0] else None
        up_slope = torch.ops.aten.silu_backward(slopes[0] * gate, up) if ctx.needs_input_grad[1] else None
        return gate_slope, up_slope


class YuanDecoderLayer(GradientCheckpointingLayer):
    """Attention and MLP, each on normalised input and added to what came in."""

    def __init__(self, config: YuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = YuanAttention(config, layer_idx)
        self.mlp = YuanMLP(config)
        self.input_layernorm = YuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = YuanRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BND: Tensor, **kwargs: Any) -> Tensor:
        """[B, N, D] to [B, N, D]; `kwargs` as `YuanAttention.forward` takes them."""
        x_BND = x_BND + self.self_attn(self.input_layernorm(x_BND), **kwargs)[0]
        return x_BND + self.mlp(self.post_attention_layernorm(x_BND))


class YuanPreTrainedModel(PreTrainedModel):
    """What the Yuan2 models share: initialisation, and what transformers may do with them."""

    config_class = YuanConfig
    config: YuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["YuanDecoderLayer"]  # noqa: RUF012 (transformers reads these from the class)
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": YuanDecoderLayer, "attentions": YuanAttention}  # noqa: RUF012
    # Published checkpoints carry the rotation's frequencies, which are computed here (attention.rotation).
    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq$"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, TwoTapConvolution):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class YuanModel(YuanPreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: YuanConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([YuanDecoderLayer(config, index) for index in range(config.num_hidden_layers)])
        self.norm = YuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults  # type: ignore[untyped-decorator]
    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        parents: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run the decoder.

        Args:
            input_ids: [B, N], or `inputs_embeds`: [B, N, D].
            attention_mask: [B, cached + N], or 4-D; `lineage.trace` says what each kind means.
            position_ids: [B or 1, N]; where they restart, a new sequence begins.
            past_key_values: a `DynamicCache`; it is filled, and its layers become `YuanCacheLayer`s.
            parents: [B, N], each token's predecessor for the filter; worked out from the rest by default.
            kwargs: go to the attention function.

        Raises:
            ModelError: shapes that do not fit, or a cache that Yuan2 cannot use.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("give either input_ids or inputs_embeds")
        x_BND = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self._cache(past_key_values, bool(use_cache))
        first = cache.layers[0] if cache is not None else None
        lineage = trace(
            x_BND.shape[0],
            x_BND.shape[1],
            x_BND.device,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            parents=parents,
            past=first,
            documents=self._documents(input_ids),
        )
        mask, further = attention_inputs(self.config, x_BND, lineage, cache)
        turns = rotation(lineage.positions_BN, self.config.head_dim, self.config.rotary_base, x_BND.dtype)
        for layer in self.layers:
            x_BND = layer(
                x_BND,
                rotation=turns,
                attention_mask=mask,
                parents_BN=lineage.parents_BN,
                past_key_values=cache,
                reach=lineage.reach,
                **further,
                **kwargs,
            )
        if first is not None and lineage.marks_B3N is not None:
            first.add_marks(lineage.marks_B3N, packed=lineage.sequence_BT is not None)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x_BND), past_key_values=cache)

    def _cache(self, given: Cache | None, use_cache: bool) -> Cache | None:
        if self.gradient_checkpointing and self.training:
            if given is not None and given.get_seq_length():
                raise ModelError(
                    "gradient checkpointing cannot be combined with cached keys and values or a tuned prefix",
                    hint="turn gradient checkpointing off",
                )
            return None
        if given is None and not use_cache:
            return None
        cache = DynamicCache(config=self.config) if given is None else given
        adopt(cache, len(self.layers))
        return cache

    def _documents(self, input_ids: Tensor | None) -> Documents:
        config = self.config
        documents = Documents(config.eod_token_ids, config.reset_attention_mask, config.reset_position_ids)
        if documents.matter and input_ids is None:
            logger.warning_once(
                "inputs_embeds hold no ids: reset_attention_mask and reset_position_ids have no effect on them"
            )
        return documents


class YuanForCausalLM(YuanPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head, tied to the embeddings as published."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: YuanConfig) -> None:
        super().__init__(config)
        self.model = YuanModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        parents: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model; arguments as `YuanModel.forward` takes them, and:

        Args:
            labels: [B, N], -100 where nothing is to be learnt; token t is predicted from t - 1. With
                `num_items_in_batch` the loss is the sum over that number, without it the mean.
            logits_to_keep: project only these tokens to the vocabulary: the last so many (0: all), or those
                of a tensor of indices, or of a boolean [B, N].
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            parents=parents,
            **kwargs,
        )
        logits_BKV = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BKV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits_BKV,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As transformers does it; but where positions restart after `<eod>`, the model counts them itself.

        `generate` takes `inputs_embeds` where this names them."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, inputs_embeds=inputs_embeds, **kwargs)
        if self.config.reset_position_ids:
            inputs.pop("position_ids", None)
        return inputs


__all__ = ["YuanForCausalLM", "YuanModel", "YuanPreTrainedModel"]
