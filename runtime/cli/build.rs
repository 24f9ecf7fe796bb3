//! Links GCC's unwinder into the program, so that it needs no shared library but the C library's.
//!
//! The standard library asks the linker for the shared `libgcc_s`. A linker script of that name, found first, gives it the static
//! half of the same library instead.

use std::env;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let dir = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        std::fs::write(dir.join("libgcc_s.so"), "INPUT(-lgcc_eh)\n")?;
        println!("cargo::rustc-link-search=native={}", dir.display());
    }
    Ok(())
}
