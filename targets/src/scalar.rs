//! The reference as a kernel set: every other set is laid over this one, and must equal it.

use crate::{Format, KernelSet, MatMul, Tile, WeightMatrix};
use smidgen_quant::{Input, activation, attention, ops};

/// Each output is the reference's product of one row with one token.
pub(crate) fn matmul(w: &WeightMatrix, x: &Input, out: &mut Tile) {
    w.by_reference(x, out, 0);
}

/// The scalar reference.
pub const KERNELS: KernelSet = KernelSet {
    name: "scalar",
    matmul: [matmul as MatMul; Format::ALL.len()],
    quantize_q8: activation::quantize_q8,
    quantize_q8k: activation::quantize_q8k,
    rms_norm: ops::rms_norm,
    layer_norm: ops::layer_norm,
    silu_mul: ops::silu_mul,
    gelu: ops::gelu,
    gelu_tanh: ops::gelu_tanh,
    gelu_quick: ops::gelu_quick,
    softcap: ops::softcap,
    rope: ops::rope,
    add: ops::add,
    round: ops::round,
    finite: ops::finite,
    store: attention::store,
    attention: attention::attention,
};
