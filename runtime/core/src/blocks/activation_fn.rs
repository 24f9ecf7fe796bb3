//! The functions between the products of a feed-forward network.

use crate::exec::Exec;
use smidgen_quant::math;
use smidgen_quant::ops::{self, Xielu};

/// A function of each number by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ActivationFn {
    /// See [`smidgen_quant::math::silu`].
    Silu,
    /// See [`smidgen_quant::math::gelu`].
    Gelu,
    /// See [`smidgen_quant::math::gelu_tanh`].
    GeluTanh,
    /// See [`smidgen_quant::math::gelu_quick`].
    GeluQuick,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)²`
    ReluSquared,
    /// See [`smidgen_quant::math::tanh`].
    Tanh,
    /// See [`ops::xielu`].
    Xielu(Xielu),
}

impl ActivationFn {
    /// The function of every number of a row, in place.
    pub(crate) fn apply(&self, exec: &Exec, x: &mut [f32]) {
        match self {
            ActivationFn::Silu => ops::silu(x),
            ActivationFn::Gelu => (exec.kernels.gelu)(x),
            ActivationFn::GeluTanh => (exec.kernels.gelu_tanh)(x),
            ActivationFn::GeluQuick => (exec.kernels.gelu_quick)(x),
            ActivationFn::Relu => ops::relu(x),
            ActivationFn::ReluSquared => ops::relu_squared(x),
            ActivationFn::Tanh => x.iter_mut().for_each(|x| *x = math::tanh(*x)),
            ActivationFn::Xielu(by) => ops::xielu(x, by),
        }
    }

    /// The function of `gate`, times `up`, in place of `gate`.
    pub(crate) fn gated(&self, exec: &Exec, gate: &mut [f32], up: &[f32]) {
        if let ActivationFn::Silu = self {
            return (exec.kernels.silu_mul)(gate, up);
        }
        self.apply(exec, gate);
        ops::mul(gate, up);
    }
}
