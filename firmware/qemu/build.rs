//! The board's memory.

use std::{env, fs, path::Path};

fn main() {
    let board = ["an386", "an500", "an505", "an547", "microbit"]
        .into_iter()
        .find(|board| env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some());
    let memory = match board {
        Some("microbit") => "FLASH : ORIGIN = 0, LENGTH = 256K\nRAM : ORIGIN = 0x20000000, LENGTH = 16K",
        // What the secure side, in which it starts, sees of the two static memories.
        Some("an505") => "FLASH : ORIGIN = 0x10000000, LENGTH = 4M\nRAM : ORIGIN = 0x38000000, LENGTH = 4M",
        // Code in the tightly coupled memory, data in the secure side's static memory.
        Some("an547") => "FLASH : ORIGIN = 0, LENGTH = 512K\nRAM : ORIGIN = 0x31000000, LENGTH = 4M",
        Some(_) => "FLASH : ORIGIN = 0, LENGTH = 4M\nRAM : ORIGIN = 0x20000000, LENGTH = 4M",
        None => panic!("choose a board: --features an386, an500, an505, an547 or microbit"),
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
