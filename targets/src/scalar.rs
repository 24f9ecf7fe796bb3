//! The law itself as a table: every other table is laid over this one, and must equal it.

use crate::{Kernels, MatMul, Rows, Tile};
use smidgen_quant::{Format, Input};

/// Each output is the law's product of one row with one token.
pub(crate) fn matmul(w: &Rows, x: &Input, out: &mut Tile) {
    w.by_law(x, out, 0);
}

macro_rules! table {
    ($($format:ident)*) => { [$({ let _ = Format::$format; matmul as MatMul }),*] };
}

/// The scalar law.
pub const KERNELS: Kernels = Kernels {
    name: "scalar",
    matmul: table!(F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL),
    quantize_q8: smidgen_quant::activation::quantize_q8,
    quantize_q8k: smidgen_quant::activation::quantize_q8k,
    rms_norm: smidgen_quant::ops::rms_norm,
    layer_norm: smidgen_quant::ops::layer_norm,
    silu_mul: smidgen_quant::ops::silu_mul,
    gelu: smidgen_quant::ops::gelu,
    gelu_tanh: smidgen_quant::ops::gelu_tanh,
    gelu_quick: smidgen_quant::ops::gelu_quick,
    rope: smidgen_quant::ops::rope,
    add: smidgen_quant::ops::add,
    round: smidgen_quant::ops::round,
    finite: smidgen_quant::ops::finite,
    store: smidgen_quant::attention::store,
    attention: smidgen_quant::attention::attention,
};
