"""Yuan2 in-tree, for transformers 5, without remote code.

    config             YuanConfig: the shape; the defaults are Yuan2-2B
    model              YuanModel, YuanForCausalLM
    attention          the attention block: filtered queries and keys, interleaved heads
    localized_filter   the filter, as matrix products over (predecessor, token)
    lineage            each token's predecessor, position and sequence, from masks and position ids
    cache              keys, values and what the filter remembers
    rms_norm           the normalisation that all of them use
    tokenizer          the tokenizer, exactly as the model was trained with it

Import the module that has what you need: importing the package itself costs nothing.
"""
