"""Decoders and other language models of Hugging Face."""

from __future__ import annotations

from .hugging_face import (
    HEAD,
    HOOKS,
    LANGUAGE,
    TEXT,
    depth,
    heads,
    hf,
    scaled_embedding,
    tied,
    twice,
    unmasked,
    untied,
    width,
)
from .truth import (
    BOTTLENECK,
    CARRIES,
    EMBEDDING,
    EXPERT,
    HIDDEN,
    KEY_VALUE,
    READOUT,
    ROUTER,
    TIED,
    VECTOR,
    Truth,
)

MULTI = LANGUAGE | {"num_key_value_heads": heads, "head_dim": HEAD}
GROUPED = LANGUAGE | {"num_key_value_heads": 2, "head_dim": HEAD}
TWO = {"num_key_value_heads": 2}
SHARED = {"*.k_proj.weight": KEY_VALUE, "*.v_proj.weight": KEY_VALUE}
UNTIED = {"tie_word_embeddings": False}
JOINED = {"tie_word_embeddings": True}
ENDS = ("*.o_proj.*", "*.down_proj.*")
LLAMA = untied("*.embed_tokens.weight", *ENDS)
LLAMA_TIED = tied("*.embed_tokens.weight", "model.norm.*", *ENDS)
GPT = ("*.c_proj.*",)
GPT2 = tied("*.wte.weight", "transformer.ln_f.*", *GPT).but({"*.wpe.weight": EMBEDDING})
NEOX = untied("*.embed_in.weight", "*.attention.dense.*", "*.dense_4h_to_h.*")
SANDWICH = ("*.post_attention_layernorm.*", "*.post_feedforward_layernorm.*")
GATE = {"*.mlp.gate.weight": ROUTER, "*.router.weight": ROUTER}
STACK = {"*.experts.gate_up_proj": EXPERT, "*.experts.down_proj": EXPERT}
MOE = untied("*.embed_tokens.weight", "*.o_proj.*", "*.experts.down_proj").but(
    {"*.mlp.gate.weight": ROUTER, **STACK}
)
GPT_SIZES = TEXT | {"n_embd": width, "n_layer": depth, "n_head": heads, "n_positions": 32}

DENSE = (
    hf("Llama", "LlamaForCausalLM", LLAMA, fields={"proved": True}),
    hf(
        "Llama, tied",
        "LlamaForCausalLM",
        LLAMA_TIED,
        special="the final norm carries the logits' 1/n",
        fields={"proved": True},
        **JOINED,
    ),
    hf(
        "Llama, grouped queries",
        "LlamaForCausalLM",
        LLAMA.but(SHARED),
        special="two heads of keys and values at all widths",
        fields={"proved": True},
        **TWO,
    ),
    hf("Mistral", "MistralForCausalLM", LLAMA, settings=MULTI, sliding_window=4),
    hf("Ministral", "MinistralForCausalLM", LLAMA, settings=MULTI, sliding_window=4),
    hf("Qwen2", "Qwen2ForCausalLM", LLAMA.but(SHARED), settings=GROUPED, special="biases"),
    hf(
        "Qwen3",
        "Qwen3ForCausalLM",
        LLAMA.but(SHARED),
        settings=GROUPED,
        special="norms on queries and keys",
        fields={"proved": True},
    ),
    hf(
        "Phi",
        "PhiForCausalLM",
        untied("*.embed_tokens.weight", "*.dense.*", "*.fc2.*"),
        special="attention and MLP in parallel; partial rotation",
    ),
    hf(
        "Phi-3",
        "Phi3ForCausalLM",
        LLAMA,
        special="fused queries, keys and values; fused gate",
    ),
    hf("OLMo", "OlmoForCausalLM", LLAMA, special="norms without gains", **UNTIED),
    hf(
        "OLMo 2",
        "Olmo2ForCausalLM",
        untied("*.embed_tokens.weight", *SANDWICH),
        special="a norm ends each branch and carries its multiplier",
        fields={"proved": True},
    ),
    hf("OLMo 3", "Olmo3ForCausalLM", untied("*.embed_tokens.weight", *SANDWICH)),
    hf("GPT-2", "GPT2LMHeadModel", GPT2, settings=GPT_SIZES, fields={"proved": True}),
    hf(
        "GPT-J",
        "GPTJForCausalLM",
        untied("*.wte.weight", "*.out_proj.*", "*.fc_out.*"),
        settings=GPT_SIZES,
        rotary_dim=8,
        special="attention and MLP in parallel from one norm",
    ),
    hf(
        "GPT-Neo",
        "GPTNeoForCausalLM",
        tied("*.wte.weight", "transformer.ln_f.*", "*.out_proj.*", "*.c_proj.*").but(
            {"*.wpe.weight": EMBEDDING}
        ),
        settings=TEXT,
        hidden_size=width,
        num_layers=depth,
        num_heads=heads,
        max_position_embeddings=32,
        attention_types=lambda n, d: [[["global", "local"], d // 2]],
        window_size=4,
        special="no factor on attention scores; local attention",
    ),
    hf(
        "GPT-NeoX", "GPTNeoXForCausalLM", NEOX, special="parallel branches", fields={"proved": True}
    ),
    hf(
        "GPT-NeoX Japanese",
        "GPTNeoXJapaneseForCausalLM",
        tied(
            "*.embed_in.weight",
            "*.final_layer_norm.*",
            "*.attention.dense.weight",
            "*.dense_bias",
            "*.dense_4h_to_h.*",
        ),
        intermediate_multiple_size=2,
        settings={k: v for k, v in LANGUAGE.items() if k != "intermediate_size"},
        special="the output's bias is added apart",
    ),
    hf(
        "OPT",
        "OPTForCausalLM",
        tied(
            "*.embed_tokens.weight", "*.decoder.final_layer_norm.*", "*.out_proj.*", "*.fc2.*"
        ).but({"*.embed_positions.weight": EMBEDDING}),
        ffn_dim=twice,
        word_embed_proj_dim=width,
        max_position_embeddings=32,
    ),
    hf(
        "BLOOM",
        "BloomForCausalLM",
        tied("*.word_embeddings.weight", "transformer.ln_f.*", "*.dense.*", "*.dense_4h_to_h.*"),
        settings=TEXT,
        hidden_size=width,
        n_layer=depth,
        n_head=heads,
        special="position by attention bias (ALiBi)",
    ),
    hf(
        "MPT",
        "MptForCausalLM",
        tied("*.wte.weight", "*.norm_f.*", "*.out_proj.*", "*.ffn.down_proj.*"),
        settings=TEXT,
        d_model=width,
        n_layers=depth,
        n_heads=heads,
        max_seq_len=32,
        special="ALiBi, no biases",
    ),
    hf(
        "Falcon 7B",
        "FalconForCausalLM",
        tied("*.word_embeddings.weight", "*.ln_f.*", "*.dense.*", "*.dense_4h_to_h.*"),
        special="one key for all heads, fused with the queries; parallel branches",
    ),
    hf(
        "Falcon, multi-head",
        "FalconForCausalLM",
        tied("*.word_embeddings.weight", "*.ln_f.*", "*.dense.*", "*.dense_4h_to_h.*"),
        multi_query=False,
        alibi=True,
        parallel_attn=False,
        special="ALiBi, branches in series",
    ),
    hf(
        "StableLM",
        "StableLmForCausalLM",
        LLAMA,
        use_parallel_residual=True,
        num_key_value_heads=heads,
        special="parallel residual",
    ),
    hf(
        "StarCoder 2",
        "Starcoder2ForCausalLM",
        tied("*.embed_tokens.weight", "model.norm.*", "*.o_proj.*", "*.c_proj.*").but(SHARED),
        settings=GROUPED,
        **JOINED,
    ),
    hf(
        "GPT BigCode",
        "GPTBigCodeForCausalLM",
        GPT2,
        settings=GPT_SIZES,
        special="one key and value for all heads, fused with the queries",
    ),
    hf(
        "CodeGen",
        "CodeGenForCausalLM",
        untied("*.wte.weight", "*.out_proj.*", "*.fc_out.*"),
        settings=GPT_SIZES,
        rotary_dim=8,
        special="heads interleaved over shards of devices",
    ),
    hf(
        "Persimmon",
        "PersimmonForCausalLM",
        untied("*.embed_tokens.weight", "*.self_attn.dense.*", "*.dense_4h_to_h.*"),
        special="norms on queries and keys; squared relu",
    ),
    hf(
        "Cohere",
        "CohereForCausalLM",
        LLAMA_TIED,
        settings=GROUPED | {"num_key_value_heads": heads},
        special="logits times a number; parallel branches",
    ),
    hf(
        "Cohere 2",
        "Cohere2ForCausalLM",
        LLAMA_TIED,
        settings=MULTI,
        sliding_window=4,
        special="rotation in some layers only",
    ),
    hf(
        "Granite",
        "GraniteForCausalLM",
        LLAMA,
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        logits_scaling=8.0,
        attention_multiplier=1 / HEAD,
        special="multipliers of its own, equal at all sizes",
        **UNTIED,
    ),
    hf(
        "Granite, logits by width",
        "GraniteForCausalLM",
        LLAMA.but({"lm_head.weight": READOUT.times(1)}, ()),
        logits_scaling=lambda n, d: n / 32,
        residual_multiplier=lambda n, d: 2 / d,
        special="its own 1/width on the logits and 1/depth on branches",
        **UNTIED,
    ),
    hf(
        "Nemotron",
        "NemotronForCausalLM",
        LLAMA,
        settings=MULTI,
        special="norms multiply by 1 + weight, squared relu",
    ),
    hf("GLM", "GlmForCausalLM", LLAMA.but(SHARED), settings=GROUPED),
    hf(
        "GLM 4",
        "Glm4ForCausalLM",
        untied(
            "*.embed_tokens.weight", "*.post_self_attn_layernorm.*", "*.post_mlp_layernorm.*"
        ).but(SHARED),
        settings=GROUPED,
        special="norms before and after each branch",
    ),
    hf("Helium", "HeliumForCausalLM", LLAMA, settings=MULTI),
    hf("SmolLM 3", "SmolLM3ForCausalLM", LLAMA, settings=MULTI, **UNTIED),
    hf(
        "EXAONE 4",
        "Exaone4ForCausalLM",
        untied("*.embed_tokens.weight", *SANDWICH),
        settings=MULTI,
        sliding_window=4,
        sliding_window_pattern=2,
        special="a norm ends each branch; norms on queries and keys",
    ),
    hf(
        "Apertus",
        "ApertusForCausalLM",
        LLAMA,
        special="learned activation (xIELU)",
    ),
    hf("SeedOSS", "SeedOssForCausalLM", LLAMA.but(SHARED), settings=GROUPED),
    hf("Ernie 4.5", "Ernie4_5ForCausalLM", LLAMA_TIED, settings=MULTI),
    hf(
        "DiffLlama",
        "DiffLlamaForCausalLM",
        LLAMA,
        settings=MULTI,
        special="the difference of two attention maps",
    ),
    hf(
        "NanoChat",
        "NanoChatForCausalLM",
        untied("*.embed_tokens.weight", "*.o_proj.*", "*.fc2.*"),
        settings=MULTI,
        special="norms without gains on embedding, queries and keys",
    ),
    hf(
        "ModernBERT decoder",
        "ModernBertDecoderForCausalLM",
        Truth(
            kinds={"*.tok_embeddings.weight": TIED, "lm_head.norm.*": CARRIES},
            ends=("*.Wo.*",),
        ),
        special="head with a norm before the tied matrix",
    ),
    hf(
        "BioGPT",
        "BioGptForCausalLM",
        scaled_embedding(
            Truth(kinds={"*.embed_positions.weight": EMBEDDING}, ends=("*.out_proj.*", "*.fc2.*")),
            "*.embed_tokens.weight",
            "biogpt.layer_norm.*",
            "*.embed_tokens",
        ),
        max_position_embeddings=32,
        fields=HOOKS,
        special="the embedding times sqrt(width), tied",
    ),
    hf(
        "XGLM",
        "XGLMForCausalLM",
        scaled_embedding(
            Truth(ends=("*.out_proj.*", "*.fc2.*")),
            "*.embed_tokens.weight",
            "model.layer_norm.*",
            "*.embed_tokens",
        ),
        settings=TEXT,
        d_model=width,
        ffn_dim=twice,
        num_layers=depth,
        attention_heads=heads,
        max_position_embeddings=32,
        fields=HOOKS,
        special="the embedding times sqrt(width), tied; fixed positions",
    ),
    hf(
        "CTRL",
        "CTRLLMHeadModel",
        scaled_embedding(
            Truth(ends=("*.multi_head_attention.dense.*", "*.ffn.2.*")),
            "*.w.weight",
            "transformer.layernorm.*",
            "*.w",
        ),
        settings=TEXT,
        n_embd=width,
        dff=twice,
        n_layer=depth,
        n_head=heads,
        n_positions=32,
        fields=HOOKS,
        special="the embedding times sqrt(width), tied; fixed positions",
    ),
    hf(
        "OpenAI GPT",
        "OpenAIGPTLMHeadModel",
        Truth(
            kinds={
                "*.tokens_embed.weight": TIED,
                "*.positions_embed.weight": EMBEDDING,
                "transformer.h.1.ln_2.*": CARRIES,
            }
        ),
        settings=GPT_SIZES,
        special="a norm after each residual add; the last carries the logits' 1/n",
        fields={"refused": {"depth": "post-norm"}},
    ),
)

GEMMA_HINT = {"hints": {"hooks": True}}


def gemma(
    *ends: str, forward: tuple[str, ...] = (), norm: str = "*model.norm"
) -> tuple[Truth, ...]:
    """Return the truths of a Gemma: tied, embedding times sqrt(width), norms of 1 + weight.

    The embedding undoes its own sqrt(m), so that the logits need m^(-1/2) more; or hooks do both.
    """
    branches = dict.fromkeys(forward, (0.0, True))
    kinds = {"*.embed_tokens.weight": TIED.times(-0.5)}
    undone = Truth(kinds=kinds, ends=ends, forward={norm: (-0.5, False), **branches})
    hooks = {"*model.embed_tokens": (-0.5, False), norm: (-1.0, False), **branches}
    kept = Truth(kinds={"*.embed_tokens.weight": TIED}, ends=ends, forward=hooks)
    return undone, kept


GEMMAS = (
    hf(
        "Gemma",
        "GemmaForCausalLM",
        gemma(*ENDS),
        settings=MULTI,
        special="the embedding times sqrt(width), tied; norms multiply by 1 + weight",
        fields={"hints": {"hooks": True}, "proved": True},
    ),
    hf(
        "Gemma 2",
        "Gemma2ForCausalLM",
        gemma(forward=("*.post_attention_layernorm", "*.post_feedforward_layernorm")),
        settings=MULTI,
        special="as Gemma, and such a norm ends each branch; capped logits",
        fields={"hints": {"hooks": True}, "proved": True},
    ),
    hf(
        "Gemma 3",
        "Gemma3ForCausalLM",
        gemma(forward=("*.post_attention_layernorm", "*.post_feedforward_layernorm")),
        config="Gemma3TextConfig",
        settings=MULTI,
        special="as Gemma 2, with norms on queries and keys",
        fields={"hints": {"hooks": True}, "proved": True},
    ),
)

MIXTURES = (
    hf(
        "Mixtral",
        "MixtralForCausalLM",
        MOE,
        settings=MULTI,
        num_local_experts=4,
        special="router and stacks of experts",
        fields={"proved": True},
    ),
    hf(
        "Qwen2 MoE",
        "Qwen2MoeForCausalLM",
        MOE.but(
            {"*.shared_expert_gate.weight": ROUTER},
            ("*.o_proj.*", "*.experts.down_proj", "*.shared_expert.down_proj.*"),
        ),
        settings=MULTI,
        moe_intermediate_size=width,
        shared_expert_intermediate_size=width,
        num_experts=4,
        num_experts_per_tok=2,
        special="a shared expert with a gate of its own",
    ),
    hf(
        "Qwen3 MoE",
        "Qwen3MoeForCausalLM",
        MOE,
        settings=MULTI,
        moe_intermediate_size=width,
        num_experts=4,
        num_experts_per_tok=2,
    ),
    hf("OLMoE", "OlmoeForCausalLM", MOE, settings=MULTI, num_experts=4, num_experts_per_tok=2),
    hf(
        "GPT-OSS",
        "GptOssForCausalLM",
        untied("*.embed_tokens.weight", "*.o_proj.*", "*.experts.down_proj*").but(
            {
                "*.router.weight": ROUTER,
                "*.experts.*_proj": EXPERT,
                "*.experts.*_proj_bias": VECTOR,
            }
        ),
        settings=MULTI,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=4,
        special="attention sinks; experts with biases",
    ),
    hf(
        "DeepSeek V2",
        "DeepseekV2ForCausalLM",
        MOE.but(
            {
                "*.kv_a_proj_with_mqa.weight": BOTTLENECK,
                "*.q_a_proj.weight": BOTTLENECK,
                "*.mlp.*_proj.weight": HIDDEN,
            },
            ("*.o_proj.*", "*.down_proj*"),
        ),
        num_key_value_heads=heads,
        moe_intermediate_size=width,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        q_lora_rank=24,
        kv_lora_rank=24,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=16,
        n_group=1,
        topk_group=1,
        topk_method="greedy",
        special="keys and values from a latent of fixed rank; a dense layer first",
    ),
    hf(
        "DeepSeek V3",
        "DeepseekV3ForCausalLM",
        MOE.but(
            {
                "*.kv_a_proj_with_mqa.weight": BOTTLENECK,
                "*.q_a_proj.weight": BOTTLENECK,
                "*.mlp.*_proj.weight": HIDDEN,
            },
            ("*.o_proj.*", "*.down_proj*"),
        ),
        num_key_value_heads=heads,
        moe_intermediate_size=width,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        q_lora_rank=24,
        kv_lora_rank=24,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=16,
        n_group=2,
        topk_group=1,
        special="sigmoid scores with a correction bias; latent attention",
    ),
    hf(
        "Phi-3.5 MoE",
        "PhimoeForCausalLM",
        untied("*.embed_tokens.weight", "*.o_proj.*", "*.experts.down_proj").but(
            {"*.router.weight": ROUTER, **STACK}
        ),
        settings=MULTI,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    hf(
        "Granite MoE",
        "GraniteMoeForCausalLM",
        LLAMA_TIED.but({"*.router.weight": ROUTER, **STACK}, ("*.o_proj.*", "*.experts.down_proj")),
        settings=MULTI,
        num_local_experts=4,
        num_experts_per_tok=2,
        **JOINED,
    ),
    hf(
        "JetMoE",
        "JetMoeForCausalLM",
        LLAMA_TIED.but(
            {
                "*.router.layer.weight": ROUTER,
                "*.input_linear.weight": EXPERT,
                "*.output_linear.weight": EXPERT,
            },
            ("*.output_linear.weight", "*.experts.bias", "*.mlp.bias"),
        ),
        num_key_value_heads=heads,
        kv_channels=HEAD,
        num_local_experts=4,
        num_experts_per_tok=2,
        special="mixtures of attention heads, too",
    ),
    hf(
        "Ernie 4.5 MoE",
        "Ernie4_5_MoeForCausalLM",
        LLAMA_TIED.but({"*.mlp.gate.weight": ROUTER, **STACK}, ("*.o_proj.*", "*.down_proj*")),
        settings=MULTI,
        moe_intermediate_size=width,
        moe_num_experts=4,
        moe_k=2,
        moe_num_shared_experts=1,
        special="a dense layer first",
    ),
    hf(
        "Llama 4",
        "Llama4ForCausalLM",
        LLAMA.but({"*.router.weight": ROUTER, **STACK}, ("*.o_proj.*", "*.down_proj*")),
        config="Llama4TextConfig",
        settings=MULTI,
        intermediate_size_mlp=twice,
        num_local_experts=4,
        special="dense and sparse layers by turns; a shared expert",
    ),
)

STATE_SPACES = (
    hf(
        "Mamba",
        "MambaForCausalLM",
        tied("*.embeddings.weight", "backbone.norm_f.*", "*.out_proj.*").but(
            {"*.x_proj.weight": BOTTLENECK}
        ),
        settings=TEXT,
        hidden_size=width,
        num_hidden_layers=depth,
        state_size=4,
        time_step_rank=4,
        inputs=unmasked,
        special="state-space layers",
        fields={"proved": True},
    ),
    hf(
        "Mamba 2",
        "Mamba2ForCausalLM",
        untied("*.embeddings.weight", "*.out_proj.*"),
        settings=TEXT,
        hidden_size=width,
        num_hidden_layers=depth,
        state_size=4,
        num_heads=lambda n, d: 2 * n // HEAD,
        head_dim=HEAD,
        n_groups=1,
        chunk_size=4,
        inputs=unmasked,
        special="state-space layers",
        fields={"proved": True},
    ),
    hf(
        "FalconMamba",
        "FalconMambaForCausalLM",
        untied("*.embeddings.weight", "*.out_proj.*").but({"*.x_proj.weight": BOTTLENECK}),
        settings=TEXT,
        hidden_size=width,
        num_hidden_layers=depth,
        state_size=4,
        time_step_rank=4,
        inputs=unmasked,
        special="norms on the state's inputs",
        **UNTIED,
    ),
    hf(
        "RWKV",
        "RwkvForCausalLM",
        Truth(
            kinds={
                "*.embeddings.weight": EMBEDDING,
                "head.weight": READOUT,
                "*.time_mix_*": VECTOR,
            },
            ends=("*.attention.output.*", "*.feed_forward.value.*"),
        ),
        settings=TEXT,
        hidden_size=width,
        attention_hidden_size=width,
        intermediate_size=twice,
        num_hidden_layers=depth,
        context_length=32,
        inputs=unmasked,
        special="a recurrence over time; branches by gates",
    ),
    hf(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        gemma(
            "*.linear_out.*",
            "*.o_proj.*",
            "*.down_proj.*",
            norm="*model.final_norm",
        ),
        settings=MULTI,
        lru_width=width,
        attention_window_size=8,
        block_types=("recurrent", "attention"),
        special="linear recurrences and attention by turns",
        fields={"hints": {"hooks": True}},
    ),
    hf(
        "Jamba",
        "JambaForCausalLM",
        LLAMA.but(
            {"*.x_proj.weight": BOTTLENECK, "*.router.weight": ROUTER, **STACK},
            ("*.o_proj.*", "*.out_proj.*", "*.down_proj*"),
        ),
        settings=MULTI,
        num_experts=4,
        num_experts_per_tok=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
        use_mamba_kernels=False,
        inputs=unmasked,
        special="state spaces, attention and mixtures of experts",
    ),
    hf(
        "LFM 2",
        "Lfm2ForCausalLM",
        tied("*.embed_tokens.weight", "model.embedding_norm.*", "*.out_proj.*", "*.w2.*"),
        block_auto_adjust_ff_dim=False,
        settings=MULTI,
        layer_types=lambda n, d: ["conv", "full_attention"] * (d // 2),
        special="short gated convolutions and attention",
    ),
    hf(
        "Qwen3-Next",
        "Qwen3NextForCausalLM",
        LLAMA.but(
            {"*.mlp.gate.weight": ROUTER, "*.shared_expert_gate.weight": ROUTER, **STACK},
            ("*.o_proj.*", "*.out_proj.*", "*.down_proj*"),
        ),
        settings=MULTI,
        layer_types=lambda n, d: ["linear_attention", "full_attention"] * (d // 2),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=width,
        num_experts=4,
        num_experts_per_tok=2,
        linear_num_key_heads=heads,
        linear_num_value_heads=heads,
        linear_key_head_dim=HEAD,
        linear_value_head_dim=HEAD,
        inputs=unmasked,
        special="gated delta rule and gated attention",
    ),
    hf(
        "xLSTM",
        "xLSTMForCausalLM",
        untied("*.embeddings.weight", "*.out_proj.*", "*.proj_down.*"),
        config="xLSTMConfig",
        settings=TEXT,
        hidden_size=width,
        num_hidden_layers=depth,
        num_heads=heads,
        qk_dim_factor=1.0,
        v_dim_factor=1.0,
        ffn_proj_factor=2.0,
        inputs=unmasked,
        special="matrix memories with exponential gates",
        fields={"widths": (64, 256)},
    ),
)

ENTRIES = (*DENSE, *GEMMAS, *MIXTURES, *STATE_SPACES)
