//! Links what a release build for Linux can do without out of it, or into it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=no-unwind-tables.ld");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let gnu = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if variable("PROFILE") != "release" || !gnu {
        return;
    }
    // Unwind tables are a tenth of the program: a release build ends at a panic by its hook (see the profile) and is stripped, so nothing reads
    // them. These linkers know no scripts; that of musl is called without a compiler, and has other words for them.
    if !["mold", "gold"].iter().any(|linker| variable("CARGO_ENCODED_RUSTFLAGS").contains(linker)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/no-unwind-tables.ld", variable("CARGO_MANIFEST_DIR"));
    }
    // The standard library asks for GCC's unwinder. With it inside, the program needs no shared library but the C library's.
    let built_here =
        variable("HOST") == variable("TARGET") && !variable("CARGO_CFG_TARGET_FEATURE").contains("crt-static");
    let found = || Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().ok();
    if let Some(output) = found().filter(|_| built_here)
        && let Some(folder) =
            Path::new(String::from_utf8_lossy(&output.stdout).trim()).parent().filter(|folder| folder.is_absolute())
    {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}
