//! Names the shared library: what links against it asks for this name when it starts.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../abi.txt");
    let of = |name: &str| env::var(name).unwrap_or_default();
    // The ABI's major number; its first line is `constant SMIDGEN_ABI_VERSION 65536u`.
    let version = include_str!("../abi.txt").lines().next().and_then(|line| line.split(' ').nth(2));
    let version: u32 = version.and_then(|version| version.trim_end_matches('u').parse().ok()).unwrap_or(0);
    let major = version >> 16;
    match (of("CARGO_CFG_TARGET_OS").as_str(), of("CARGO_CFG_TARGET_VENDOR").as_str()) {
        ("android", _) => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libsmidgen.so");
            // Devices with pages of 16 KiB load nothing that is aligned to less.
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
        }
        ("linux", _) => println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libsmidgen.so.{major}"),
        (_, "apple") => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libsmidgen.dylib"),
        _ => {}
    }
}
