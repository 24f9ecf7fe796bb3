//! The board's memory.

use std::{env, fs, path::Path};

fn main() {
    let board = ["an386", "an500", "microbit"]
        .into_iter()
        .find(|board| env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some());
    let memory = match board {
        Some("microbit") => "FLASH : ORIGIN = 0, LENGTH = 256K\nRAM : ORIGIN = 0x20000000, LENGTH = 16K",
        Some(_) => "FLASH : ORIGIN = 0, LENGTH = 4M\nRAM : ORIGIN = 0x20000000, LENGTH = 4M",
        None => panic!("choose a board: --features an386, an500 or microbit"),
    };
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("memory.x"), format!("MEMORY {{\n{memory}\n}}\n")).expect("written");
    // No interrupt has a name of its own.
    fs::write(Path::new(&out).join("device.x"), "").expect("written");
    println!("cargo:rustc-link-search={}", Path::new(&out).display());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SMIDGEN_MODEL");
    println!("cargo:rerun-if-env-changed=SMIDGEN_WAV");
}
