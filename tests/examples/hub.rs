//! Serves a folder of models as a hub on this machine: `hub FOLDER [--port N]`. The folder's first two levels are users and repositories, and
//! what is in these, at any depth, their files. All are read into memory.

use smidgen_tests::hub::Hub;
use std::error::Error;
use std::path::{Path, PathBuf};

/// What a folder has, in order.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let entry = entry?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

fn add(hub: &Hub, id: &str, prefix: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    for (name, path) in entries(folder)? {
        if path.is_dir() {
            add(hub, id, &format!("{prefix}{name}/"), &path)?;
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{id}/{prefix}{name}: {} bytes", bytes.len());
        // As the hub's `.gitattributes` have it.
        let is_lfs = name.ends_with(".gguf") || name.ends_with(".safetensors") || bytes.len() > 10 << 20;
        let repository = hub.repository(id).file(&format!("{prefix}{name}"), bytes);
        if is_lfs {
            repository.lfs();
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, port) = match words.as_slice() {
        [folder] => (folder, "0"),
        [folder, "--port", port] | ["--port", port, folder] => (folder, *port),
        _ => return Err("hub FOLDER [--port N]".into()),
    };
    let port = port.parse().map_err(|_| format!("--port {port}: a number up to 65535 is needed"))?;
    let hub = Hub::start_at(port, None)?;
    for (user, folder) in entries(Path::new(folder))?.into_iter().filter(|(_, path)| path.is_dir()) {
        for (name, folder) in entries(&folder)?.into_iter().filter(|(_, path)| path.is_dir()) {
            add(&hub, &format!("{user}/{name}"), "", &folder)?;
        }
    }
    println!("{}", hub.endpoint());
    loop {
        std::thread::park();
    }
}
