//! libsmidgen, the library file. All functions are in `smidgen-capi`, which is compiled for size; a crate of its own sets the level at
//! which the whole is optimized when it is linked, and has what belongs to a library alone: its allocator.

pub use smidgen_capi::*;

#[global_allocator]
static ALLOCATOR: smidgen_capi::Reserve = smidgen_capi::Reserve;
