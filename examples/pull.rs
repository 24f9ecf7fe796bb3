//! Any model by name: downloads it if it is not here, with progress, and tells where it is and what is known of it.
//!
//! `cargo run --release --example pull -- hf:USER/REPO:Q4_K_M`

use smidgen_host::hub::{Options, pull};
use smidgen_host::{Progress, Stage};
use std::error::Error;

/// Prints what is told before the first byte, and each tenth of the download.
#[derive(Default)]
struct Tenths(u64);

impl Progress for Tenths {
    fn update(&mut self, stage: Stage, done: u64, total: u64) {
        let tenths = 10 * done / total.max(1);
        if stage == Stage::Downloading && tenths > self.0 {
            self.0 = tenths;
            eprintln!("{} %", 10 * tenths);
        }
    }

    fn note(&mut self, line: &str) {
        eprintln!("{line}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: pull NAME")?;
    let entry = pull(&name, &Options::from_environment(), &mut Tenths::default())?;
    println!(
        "{} ({} bytes, {})",
        entry.name(),
        entry.bytes(),
        entry.licence.as_deref().unwrap_or("licence not stated")
    );
    for file in &entry.files {
        println!("{}", file.path.display());
    }
    Ok(())
}
