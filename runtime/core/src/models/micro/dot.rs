//! The innermost loops: the law that other machines' functions must return.

/// The sum of the products of two rows of int8, as long as the shorter one.
#[inline(always)]
pub(super) fn dot(weights: &[u8], inputs: &[u8]) -> i32 {
    let mut sum = 0_i32;
    for (&weight, &input) in weights.iter().zip(inputs) {
        sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(input as i8));
    }
    sum
}

/// Adds the products of neighbours to as many sums.
#[inline(always)]
pub(super) fn multiply_add<const N: usize>(sums: &mut [i32; N], weights: &[u8; N], inputs: &[u8; N]) {
    for ((sum, &weight), &input) in sums.iter_mut().zip(weights).zip(inputs) {
        *sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(input as i8));
    }
}
