//! `smidgen list`, `show`, `remove`, `prune`, `import` and `verify`.

use crate::args::{ImportArgs, ListArgs, PruneArgs, RemoveArgs, ShowArgs, VerifyArgs};
use crate::{Outcome, progress, tell};
use serde_json::{Value, json};
use smidgen_gguf::Gguf;
use smidgen_host::hub::Bytes;
use smidgen_host::hub::shelf::{Entry, Imported, Shelf, Verdict};
use smidgen_host::machine::{Fit, kept_bandwidth};
use smidgen_host::{Form, ModelFile};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Characters of a template or a system prompt that are shown.
const SHOWN_CHARS: usize = 200;

pub(crate) fn list(args: &ListArgs) -> Outcome {
    let shelf = Shelf::open()?;
    let entries = whole(&shelf);
    let mut out = std::io::stdout().lock();
    if args.json {
        let entries: Vec<_> = entries.iter().map(|entry| entry_json(&shelf, entry)).collect();
        writeln!(out, "{:#}", Value::from(entries))?;
        return Ok(());
    }
    let mut rows = vec![["NAME", "SIZE", "QUANT", "FORM", "USED", "FROM"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let quant = entry.quant.clone().unwrap_or_else(|| "-".into());
        let used = shelf.used(entry).map_or_else(|| "-".into(), ago);
        let form = if entry.is_packed() { "packed" } else { "plain" }.to_owned();
        [entry.name().to_owned(), Bytes(entry.bytes()).to_string(), quant, form, used, entry.source.clone()]
    }));
    table(&rows, &mut out)?;
    for missing in entries.iter().filter_map(missing) {
        tell(format_args!("smidgen: warning: {missing}\n"));
    }
    Ok(())
}

/// What is said of an entry of which a file is gone or has changed.
pub(crate) fn missing(entry: &Entry) -> Option<String> {
    let (name, file) = (entry.name(), entry.missing()?);
    let (path, bytes) = (file.path.display(), file.bytes);
    Some(format!("{name}: {path} is not there with its {bytes} bytes; remove it with 'smidgen remove {name}'"))
}

pub(crate) fn show(args: &ShowArgs) -> Outcome {
    let shelf = Shelf::open()?;
    let mut entries = shelf.named(&args.name);
    entries.sort_by_key(|entry| (entry.missing().is_some(), !entry.is_packed()));
    let entry = entries.first().ok_or_else(|| shelf.unknown(&args.name))?;
    if let Some(missing) = missing(entry) {
        return Err(missing.into());
    }
    let path = entry.files.first().map(|file| file.path.as_path()).unwrap_or(Path::new(""));
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let about = About::of(&parts);
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut value = entry_json(&shelf, entry);
        value["architecture"] = json!(about.architecture);
        value["parameters"] = json!(about.parameters);
        value["context"] = json!(about.context);
        value["types"] = json!(about.types);
        value["chat_template"] = json!(about.has_template);
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    let mut rows: Vec<(&str, String)> = entry.names.iter().map(|name| ("name", name.clone())).collect();
    for file in &entry.files {
        let packed = if file.form == Form::Packed { ", packed" } else { "" };
        rows.push(("file", format!("{} ({}{packed})", file.path.display(), Bytes(file.bytes))));
        rows.extend(file.sha256.iter().map(|sha256| ("sha256", sha256.clone())));
    }
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let since = UNIX_EPOCH.checked_add(std::time::Duration::from_secs(entry.pulled));
    rows.push(("quant", known(&entry.quant)));
    rows.push(("licence", known(&entry.licence)));
    rows.push(("from", entry.source.clone()));
    rows.push((if entry.imported { "imported" } else { "pulled" }, since.map_or_else(String::new, ago)));
    rows.extend(shelf.used(entry).map(|used| ("used", ago(used))));
    rows.push(("architecture", known(&about.architecture)));
    rows.push(("parameters", about.parameters.to_string()));
    rows.push(("context", about.context.map_or_else(|| "unknown".into(), |context| format!("{context} tokens"))));
    for (kind, (tensors, weights)) in &about.types {
        rows.push(("type", format!("{kind}: {tensors} tensors, {weights} weights")));
    }
    rows.push(("chat template", if about.has_template { "yes" } else { "no" }.into()));
    let fit = fit(entry, &parts);
    rows.extend(fit.map(|fit| ("memory", fit.to_string())));
    let limit = || fit?.limit(kept_bandwidth(shelf.cache())?.bytes_per_second);
    rows.extend(limit().map(|limit| ("speed", format!("{limit}, by the bandwidth of memory"))));
    for (key, value) in entry.defaults.as_ref().and_then(Value::as_object).into_iter().flatten() {
        rows.push(("default", format!("{} = {}", key.escape_debug(), shown(value))));
    }
    for (name, value) in rows {
        writeln!(out, "{name:<14} {value}")?;
    }
    Ok(())
}

pub(crate) fn remove(args: &RemoveArgs) -> Outcome {
    let shelf = Shelf::open()?;
    for name in &args.names {
        for removed in shelf.remove(name)? {
            writeln!(std::io::stdout(), "removed {removed}")?;
        }
    }
    Ok(())
}

pub(crate) fn prune(args: &PruneArgs) -> Outcome {
    let pruned = Shelf::open()?.prune(args.keep.0, args.dry_run)?;
    let mut out = std::io::stdout().lock();
    let done = if args.dry_run { "would remove" } else { "removed" };
    for removed in &pruned.removed {
        writeln!(out, "{done} {removed}")?;
    }
    let freed = pruned.removed.iter().fold(0_u64, |sum, removed| sum.saturating_add(removed.bytes));
    writeln!(out, "{done} {} in all, {} left", Bytes(freed), Bytes(pruned.left))?;
    for passed in &pruned.passed {
        tell(format_args!("smidgen: passed over: {passed}\n"));
    }
    Ok(())
}

pub(crate) fn import(args: &ImportArgs) -> Outcome {
    let shelf = Shelf::open()?;
    if args.paths.is_empty() {
        let (places, found) = shelf.import_caches()?;
        let is_none = found.is_empty();
        told(found)?;
        if is_none {
            let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            writeln!(std::io::stdout(), "no models found in {}", places.join(", "))?;
        }
        return Ok(());
    }
    for path in &args.paths {
        match shelf.import(path, args.name.as_deref())?.as_slice() {
            // What was asked for by its path is an error.
            [Imported::Left { path, reason }] => return Err(format!("{}: {reason}", path.display()).into()),
            found => told(found.to_vec())?,
        }
    }
    Ok(())
}

/// Prints what became of files.
fn told(found: Vec<Imported>) -> Outcome {
    let mut out = std::io::stdout().lock();
    for imported in found {
        match imported {
            Imported::Added { name, path, bytes } => {
                writeln!(out, "added {name} ({}) {}", Bytes(bytes), path.display())?
            }
            Imported::Here { name, path } => writeln!(out, "here already {name} {}", path.display())?,
            Imported::Left { path, reason } => tell(format_args!("smidgen: left {}: {reason}\n", path.display())),
        }
    }
    Ok(())
}

pub(crate) fn verify(args: &VerifyArgs) -> Outcome {
    let shelf = Shelf::open()?;
    let mut entries = Vec::new();
    let mut damaged: Vec<Box<dyn Error>> = Vec::new();
    if args.names.is_empty() {
        for entry in shelf.entries() {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => damaged.push(error.into()),
            }
        }
    }
    for name in &args.names {
        let named = shelf.named(name);
        if named.is_empty() {
            return Err(shelf.unknown(name).into());
        }
        entries.extend(named.into_iter().filter(|entry| !entries.contains(entry)).collect::<Vec<_>>());
    }
    for entry in &entries {
        let bar = progress::bytes(entry.bytes());
        bar.set_message("verifying");
        let checked = shelf.verify(entry, &mut |done, _| bar.set_position(done));
        bar.finish_and_clear();
        for file in &checked {
            writeln!(std::io::stdout(), "{} {}: {}", entry.name(), file.path.display(), file.verdict)?;
        }
        if checked.iter().any(|file| matches!(file.verdict, Verdict::Damaged(_))) {
            let name = entry.name();
            let again =
                if entry.imported { "get the file again as you got it, and import it" } else { "pull it again" };
            damaged.push(format!("{name} is damaged; remove it with 'smidgen remove {name}', then {again}").into());
        }
    }
    let Some(last) = damaged.pop() else { return Ok(()) };
    for error in damaged {
        tell(format_args!("smidgen: {error}\n"));
    }
    Err(last)
}

/// The entries that can be read; others are told.
fn whole(shelf: &Shelf) -> Vec<Entry> {
    let mut entries = Vec::new();
    for entry in shelf.entries() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => tell(format_args!("smidgen: warning: {error}\n")),
        }
    }
    entries.sort_by(|a, b| a.name().cmp(b.name()));
    entries
}

fn entry_json(shelf: &Shelf, entry: &Entry) -> Value {
    let files: Vec<_> = entry
        .files
        .iter()
        .map(|file| {
            json!({
                "path": file.path.display().to_string(),
                "bytes": file.bytes,
                "sha256": file.sha256,
                "packed": file.form == Form::Packed,
            })
        })
        .collect();
    let used = shelf.used(entry).and_then(|used| used.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
    json!({
        "name": entry.name(),
        "names": entry.names,
        "key": entry.key,
        "bytes": entry.bytes(),
        "quant": entry.quant,
        "licence": entry.licence,
        "source": entry.source,
        "pulled": entry.pulled,
        "used": used,
        "imported": entry.imported,
        "complete": entry.missing().is_none(),
        "files": files,
        "defaults": entry.defaults,
    })
}

/// What a GGUF file's header says of a model.
struct About {
    architecture: Option<String>,
    parameters: u64,
    context: Option<u64>,
    /// Tensors and weights of each type.
    types: BTreeMap<&'static str, (u64, u64)>,
    has_template: bool,
}

impl About {
    fn of(parts: &[Gguf]) -> About {
        let first = parts.first();
        let get = |key: &str| first.and_then(|first| first.get(key));
        let architecture = get("general.architecture").and_then(|value| value.as_str().map(printable));
        let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for tensor in parts.iter().flat_map(Gguf::tensors) {
            let (tensors, weights) = types.entry(tensor.kind.name()).or_default();
            (*tensors, *weights) = (*tensors + 1, weights.saturating_add(tensor.elements()));
        }
        About {
            parameters: types.values().fold(0, |sum, (_, weights)| sum.saturating_add(*weights)),
            context: architecture.as_ref().and_then(|name| get(&format!("{name}.context_length"))?.as_u64()),
            has_template: get("tokenizer.chat_template").is_some(),
            architecture,
            types,
        }
    }
}

/// Whether a language model fits into memory with the context that `run` has.
fn fit(entry: &Entry, parts: &[Gguf]) -> Option<Fit> {
    let model = smidgen::Model::parse(parts).ok()?;
    Fit::of(entry.bytes(), &model, &smidgen::Options::new(model.context().min(crate::run::CONTEXT))).ok()
}

/// A text without what would act on a terminal.
fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

/// The beginning of a value, on one line.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let first: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if first.len() < text.len() { "…" } else { "" };
    format!("{}{more}", printable(&first))
}

/// Rows with their columns below each other.
fn table(rows: &[[String; 6]], out: &mut impl Write) -> std::io::Result<()> {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// How long ago something was.
fn ago(time: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(time).map_or(0, |since| since.as_secs());
    let units = [("year", 365 * 86_400), ("month", 30 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60)];
    match units.iter().find(|(_, unit)| seconds >= *unit) {
        Some((name, unit)) => {
            let number = seconds / unit;
            format!("{number} {name}{} ago", if number == 1 { "" } else { "s" })
        }
        None => "just now".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_ago() {
        let of = |seconds| ago(SystemTime::now() - Duration::from_secs(seconds));
        for (seconds, text) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3 * 86_400 + 100, "3 days ago"),
            (61 * 86_400, "2 months ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(of(seconds), text);
        }
        assert_eq!(ago(SystemTime::now() + Duration::from_secs(1000)), "just now");
    }
}
