//! The loops of int8 networks ([`smidgen_quant::int8`]), as fast as the processor that the build is for does them. Microcontrollers have one
//! processor, so this is no table.

#[cfg(all(target_arch = "arm", feature = "armv7em"))]
pub use crate::armv7em::{depthwise, filters};
#[cfg(not(all(target_arch = "arm", feature = "armv7em")))]
pub use smidgen_quant::int8::{depthwise, filters};
