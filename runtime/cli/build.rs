//! Leaves unwind tables, a tenth of the program, out of it: a release build ends at a panic by its hook (see the profile) and is stripped, so
//! nothing reads them.

fn main() {
    println!("cargo:rerun-if-changed=no-unwind-tables.ld");
    let variable = |name| std::env::var(name).unwrap_or_default();
    // These linkers know no scripts; that of musl is called without a compiler, and has other words for them.
    let other_linker = ["mold", "gold"].iter().any(|linker| variable("CARGO_ENCODED_RUSTFLAGS").contains(linker));
    let gnu = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if variable("PROFILE") == "release" && gnu && !other_linker {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/no-unwind-tables.ld", variable("CARGO_MANIFEST_DIR"));
    }
}
