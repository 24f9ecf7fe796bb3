//! libsmidgen, the library file: all that it does is in `smidgen-abi`, which is compiled for size.

pub use smidgen_abi::*;
