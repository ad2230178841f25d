"""Operations by what they do to the size of a signal: data alone.

A new operation of a known kind is one word here.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


VIEWS = words(
    """
    view _unsafe_view reshape t transpose permute expand squeeze unsqueeze slice select split
    split_with_sizes unbind unfold as_strided repeat movedim flatten _reshape_alias numpy_T
    expand_as diagonal chunk narrow swapaxes pixel_shuffle pixel_unshuffle unsafe_split
    unsafe_chunk view_as unflatten repeat_interleave alias_copy im2col col2im
    split_with_sizes_copy view_copy
    """
)
"""Operations that move entries, whole."""

RESHAPED = VIEWS - words(
    "expand expand_as repeat repeat_interleave unfold as_strided im2col col2im movedim"
)
"""Views that have every entry once at most."""

SLICES = words("slice select split split_with_sizes chunk narrow unsafe_split unbind")
"""Views of a part of the entries."""

COPIES = words(
    """
    neg clone _to_copy contiguous detach alias lift_fresh lift_fresh_copy to real imag
    view_as_real view_as_complex _conj resolve_conj resolve_neg tril triu roll flip
    constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
    masked_fill dropout native_dropout masked_select conj_physical conj
    """
)
"""Operations that keep every entry, drop it or change its sign."""

POSITIVE = words(
    """
    relu leaky_relu abs prelu _prelu_kernel max_pool2d_with_indices max_pool3d_with_indices
    avg_pool2d avg_pool3d avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d mean sum amax
    amin adaptive_max_pool2d upsample_nearest2d upsample_nearest1d upsample_bilinear2d
    upsample_bicubic2d upsample_linear1d upsample_trilinear3d upsample_nearest3d
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d cumsum rrelu
    grid_sampler_2d im2col col2im
    """
)
"""Operations that are multiplied by a positive factor when their input is."""

BOUNDED = words("hardtanh clamp clamp_min clamp_max threshold")
"""Operations that cut off large entries; the size of the others is kept."""

NONLINEAR = words(
    """
    gelu silu sigmoid tanh exp log log1p log2 softplus elu selu mish hardswish hardsigmoid sin
    cos erf expm1 logsumexp celu atan log_sigmoid_forward logcumsumexp exp2 sinh cosh asin
    acos tan erfc erfinv logit lgamma digamma softshrink hardshrink special_expm1 glu
    nll_loss_forward nll_loss2d_forward mse_loss binary_cross_entropy_with_logits
    binary_cross_entropy smooth_l1_loss huber_loss kl_div xlogy polar
    """
)
"""Functions with a scale of their own: their input has to have one size at all widths."""

ONE_SIGN = words(
    """
    abs relu sigmoid hardsigmoid exp exp2 softplus cosh softmax _softmax _safe_softmax
    log_softmax _log_softmax log_sigmoid_forward
    """
)
"""Functions whose results have one sign, whatever that of their input."""

SOFTMAXES = words("softmax _softmax _safe_softmax")
LOG_SOFTMAXES = words("log_softmax _log_softmax")

NORMS = words(
    """
    native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training cudnn_batch_norm _fused_rms_norm rms_norm
    instance_norm _batch_norm_with_update batch_norm _native_batch_norm_legit_functional
    _batch_norm_no_update
    """
)

STEPS = words("sign round floor ceil trunc eq ne lt le gt ge")
"""Functions of steps: they keep nothing of the size of their input, or round it."""

QUANTIZED = words(
    """
    fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams fake_quantize_per_channel_affine
    fake_quantize_per_channel_affine_cachemask _fake_quantize_learnable_per_tensor_affine
    _fake_quantize_learnable_per_channel_affine
    """
)
"""Roundings to a grid, whose step is the second argument."""

SORTED = words("topk sort")

COMPARISONS = words(
    """
    argmax argmin arange zeros_like ones_like full_like empty_like
    new_zeros new_ones nonzero isnan isfinite isinf logical_not
    logical_and logical_or logical_xor bitwise_not bitwise_and bitwise_or multinomial one_hot
    rand_like randn_like any all isin _local_scalar_dense new_full new_empty empty
    scalar_tensor full zeros ones bernoulli histc unique _unique2 unique_dim bincount
    searchsorted bucketize argsort new_empty_strided empty_strided remainder fmod floor_divide
    normal_functional uniform exponential rand randn randint randperm is_same_size
    _is_all_true fill zero normal random
    """
)
"""Operations whose result has a size of its own, whatever that of their input."""

ORTHONORMAL = words("linalg_matrix_exp linalg_householder_product linalg_qr")
"""Functions of a weight whose first result has columns of length one, or of that order."""

LOOKUPS = words(
    """
    embedding index index_select gather take_along_dim embedding_bag _embedding_bag
    _unsafe_index take _embedding_bag_forward_only
    """
)

PLACED = words(
    """
    write copy index_put _index_put_impl scatter scatter_add scatter_reduce index_add
    index_copy slice_scatter select_scatter where masked_scatter maximum minimum lerp addcmul
    addcdiv index_fill _unsafe_index_put fmax fmin index_reduce
    """
)
"""Operations that put several values into one."""

FACTORS = words("mul div true_divide")
"""Products and quotients entry by entry."""

TOTALS = words("add sub rsub addmm baddbmm addmv")
"""Sums and differences entry by entry, some of them with a product."""

PRODUCTS = words("mm bmm mv dot vdot addmm baddbmm addmv addbmm _grouped_mm")
CONVOLUTIONS = words(
    """
    convolution _convolution conv2d convolution_overrideable _slow_conv2d_forward
    """
)

KEPT = VIEWS | COPIES | POSITIVE | BOUNDED

REDUCTIONS = words(
    """
    sum mean linalg_vector_norm norm var std var_mean std_mean amax max amin min prod median nanmean
    aminmax
    """
)
