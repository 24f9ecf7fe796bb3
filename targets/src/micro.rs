//! The loops of int8 networks ([`smidgen_quant::int8`]), as fast as the processor that the build is for does them. A build for a microcontroller is
//! for one processor, so nothing is chosen at run time.

#[cfg(all(target_arch = "arm", feature = "armv7em"))]
pub use crate::armv7em::{depthwise, filters};
#[cfg(not(all(target_arch = "arm", feature = "armv7em")))]
pub use smidgen_quant::int8::{depthwise, filters};
