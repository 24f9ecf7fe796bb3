//! Records of measured runs (`docs/records/*.json`), and the tables and the chart that `docs/performance.md` shows of them.
//!
//! A record is one run on one machine: its class, date, versions, limits, and for each file, engine and number of threads the medians over
//! the rounds. A number may be a pair, the least and the most that were seen. `docs/performance.md` marks the place of the table of a class:
//!
//! ```text
//! <!-- records: avx2 -->
//! <!-- end of records -->
//! ```

use super::chart::{Bar, Group, Panel, chart};
use super::{short, table};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Classes of machines, each of which has one table.
pub const CLASSES: [&str; 4] = ["avx2", "avx512", "amx", "arm64"];

/// The unit of rates. A record in another unit (instructions) is no part of the chart.
pub const TOKENS_PER_SECOND: &str = "tokens/s";

const BEGIN: &str = "<!-- records: ";
const END: &str = "<!-- end of records -->";
const NONE: &str = "–";
/// Smidgen's engines, the one that the tables prefer first.
const OURS: [&str; 2] = ["Smidgen, packed", "Smidgen"];

/// One run on one machine.
#[derive(Clone, Debug)]
pub struct Record {
    /// The file's name without its ending.
    pub name: String,
    /// The JSON object.
    pub value: Value,
}

/// The least and the most of several values; often the same.
#[derive(Clone, Copy)]
struct Span(f64, f64);

impl Span {
    fn of(value: &Value) -> Option<Span> {
        match value {
            Value::Array(pair) => Some(Span(pair.first()?.as_f64()?, pair.get(1)?.as_f64()?)),
            value => value.as_f64().map(|value| Span(value, value)),
        }
    }

    fn show(self, of: impl Fn(f64) -> String) -> String {
        let (low, high) = (of(self.0), of(self.1));
        if low == high { low } else { format!("{low}–{high}") }
    }
}

/// Rounds to hundredths, as ratios are written.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A ratio with two decimals, of which a last zero is left out: transcribed ones often have one only.
fn ratio_text(value: f64) -> String {
    let text = format!("{value:.2}");
    text.strip_suffix('0').map(String::from).unwrap_or(text)
}

/// The folder `docs` of the workspace.
pub fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

impl Record {
    fn new(name: String, value: Value) -> Result<Record, String> {
        let record = Record { name, value };
        for key in ["class", "label", "machine", "date", "source", "kernels", "unit"] {
            if record.text(key).is_empty() {
                return Err(format!("{}: \"{key}\" is missing or no text", record.name));
            }
        }
        if !CLASSES.contains(&record.text("class")) {
            return Err(format!("{}: \"class\" must be one of {}", record.name, CLASSES.join(", ")));
        }
        Ok(record)
    }

    fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or("")
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.value[key].as_array().into_iter().flatten()
    }

    /// Files in order, each once.
    fn files(&self) -> Vec<&str> {
        distinct(self.list("medians").chain(self.list("ratios")).filter_map(|row| row["file"].as_str()))
    }

    /// Engines other than Smidgen, each once.
    fn peers(&self) -> Vec<&str> {
        let named = self.list("ratios").filter_map(|row| row["peer"].as_str());
        let measured = self.list("medians").filter_map(|row| row["engine"].as_str());
        distinct(named.chain(measured).filter(|name| !OURS.contains(name)))
    }

    fn threads(&self) -> impl Iterator<Item = u64> {
        self.list("medians").chain(self.list("ratios")).filter_map(|row| row["threads"].as_u64())
    }

    fn median(&self, file: &str, engine: &str, threads: u64, key: &str) -> Option<Span> {
        let row = self.list("medians").find(|row| {
            row["file"] == file && row["engine"] == engine && row["threads"] == threads && !row[key].is_null()
        })?;
        Span::of(&row[key])
    }

    /// A figure of Smidgen's, of packed files if there are figures of these.
    fn ours(&self, file: &str, threads: u64, key: &str) -> Option<Span> {
        OURS.iter().find_map(|engine| self.median(file, engine, threads, key))
    }

    /// How many times a peer's rate Smidgen's is: as recorded, or by the medians.
    fn ratio(&self, file: &str, peer: &str, threads: u64, key: &str) -> Option<Span> {
        let recorded = |engine: &str| {
            let row = self.list("ratios").find(|row| {
                row["file"] == file
                    && row["engine"] == engine
                    && row["peer"] == peer
                    && row["threads"] == threads
                    && !row[key].is_null()
            })?;
            Span::of(&row[key])
        };
        let computed = |engine: &&str| {
            let (ours, theirs) = (self.median(file, engine, threads, key)?, self.median(file, peer, threads, key)?);
            Some(Span(hundredths(ours.0 / theirs.1), hundredths(ours.1 / theirs.0)))
        };
        OURS.iter().find_map(|engine| recorded(engine)).or_else(|| OURS.iter().find_map(computed))
    }

    /// One line below the table: where the figures come from.
    fn footnote(&self) -> String {
        let mut line = format!("- **{}**, {}: {}", self.heading(), self.text("date"), self.text("machine"));
        if let Some(rounds) = self.value["rounds"].as_u64() {
            let _ = write!(line, "; rounds: {rounds}");
        }
        for (key, unit) in [("read_gb_per_second", "GB/s read from memory"), ("int8_gops", "GOPS int8")] {
            let values: Vec<_> =
                self.list("limits").filter_map(|limit| Span::of(&limit[key])).map(|span| span.show(short)).collect();
            if !values.is_empty() {
                let _ = write!(line, "; {} {unit}", values.join(" / "));
            }
        }
        let versions = self.value["versions"].as_object().into_iter().flatten();
        for (engine, version) in versions {
            let _ = write!(line, "; {engine} {}", version.as_str().unwrap_or("?"));
        }
        let _ = write!(line, " ([record](records/{}.json), {}).", self.name, self.text("source"));
        line
    }

    fn heading(&self) -> String {
        format!("{}, {}", self.text("label"), self.text("kernels"))
    }
}

/// Values in order, each once.
fn distinct<'v>(values: impl Iterator<Item = &'v str>) -> Vec<&'v str> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// All records of a folder, by name.
pub fn read(folder: &Path) -> Result<Vec<Record>, String> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{shown}: {error}"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let record = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Record::new(name, value)
    };
    paths.iter().map(record).collect()
}

/// The table of a class, and a line for each of its records.
fn class_table(class: &str, records: &[Record]) -> String {
    let records: Vec<&Record> = records.iter().filter(|record| record.text("class") == class).collect();
    let peers = distinct(records.iter().flat_map(|record| record.peers()));
    let mut threads: Vec<u64> = records.iter().flat_map(|record| record.threads()).collect();
    threads.sort_unstable();
    threads.dedup();
    let cell = |of: &dyn Fn(u64) -> Option<String>| {
        let cells: Vec<Option<String>> = threads.iter().map(|n| of(*n)).collect();
        if cells.iter().all(Option::is_none) {
            return NONE.to_string();
        }
        cells.into_iter().map(|cell| cell.unwrap_or(NONE.into())).collect::<Vec<_>>().join(" / ")
    };
    let percent = |value: f64| format!("{:.0}", 100.0 * value);

    let unit = records.first().map_or("", |record| record.text("unit"));
    let mut head: Vec<String> = vec!["machine, kernels".into(), "file".into(), format!("prefill, {unit}")];
    head.extend([format!("decode, {unit}"), "decode, % of read limit".into()]);
    for peer in &peers {
        head.extend([format!("prefill ÷ {peer}"), format!("decode ÷ {peer}")]);
    }
    let mut rows = Vec::new();
    for record in &records {
        for (i, file) in record.files().into_iter().enumerate() {
            let mut row = vec![if i == 0 { record.heading() } else { String::new() }, file.to_string()];
            for key in ["prefill", "decode"] {
                row.push(cell(&|n| Some(record.ours(file, n, key)?.show(short))));
            }
            row.push(cell(&|n| Some(record.ours(file, n, "decode_of_read_limit")?.show(percent))));
            for peer in &peers {
                for key in ["prefill", "decode"] {
                    row.push(cell(&|n| Some(record.ratio(file, peer, n, key)?.show(ratio_text))));
                }
            }
            rows.push(row);
        }
    }
    // A column that no record of the class fills is left out.
    let used: Vec<bool> = (0..head.len()).map(|i| rows.iter().any(|row| row[i] != NONE)).collect();
    let keep = |row: Vec<String>| -> Vec<String> {
        row.into_iter().zip(&used).filter_map(|(cell, used)| used.then_some(cell)).collect()
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(keep).collect();
    let mut out = table(&keep(head), &rows);
    out.push('\n');
    for record in records {
        let _ = writeln!(out, "{}", record.footnote());
    }
    out
}

/// The document with the tables of all classes at the places that are marked for them.
pub fn with_tables(document: &str, records: &[Record]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = document;
    let mut placed = Vec::new();
    while let Some(at) = rest.find(BEGIN) {
        let after = &rest[at + BEGIN.len()..];
        let (class, after) = after.split_once(" -->\n").ok_or(format!("no end of the line {BEGIN}"))?;
        let (_, after) = after.split_once(END).ok_or(format!("no {END} after {BEGIN}{class}"))?;
        if !records.iter().any(|record| record.text("class") == class) {
            return Err(format!("there is no record of the class {class}"));
        }
        placed.push(class);
        let _ = write!(out, "{}{BEGIN}{class} -->\n{}{END}", &rest[..at], class_table(class, records));
        rest = after;
    }
    out.push_str(rest);
    match records.iter().find(|record| !placed.contains(&record.text("class"))) {
        Some(record) => Err(format!("{}: there is no {BEGIN}{} -->", record.name, record.text("class"))),
        None => Ok(out),
    }
}

/// The chart of all records of rates: how many times llama.cpp's rate Smidgen's is, with as many threads as there were.
pub fn ratios_chart(records: &[Record]) -> String {
    let panel = |title: &str, key: &str| {
        let rates = records.iter().filter(|record| record.text("unit") == TOKENS_PER_SECOND);
        let groups = rates.filter_map(|record| {
            let threads = record.threads().max()?;
            let peer = record.peers().into_iter().find(|peer| peer.starts_with("llama.cpp"))?;
            let bar = |(kind, file): (usize, &str)| {
                let ratio = record.ratio(file, peer, threads, key)?;
                let value = hundredths((ratio.0 + ratio.1) / 2.0);
                Some(Bar { label: file.into(), value, note: " ×".into(), kind })
            };
            let bars = record.files().into_iter().enumerate().filter_map(bar).collect();
            Some(Group { label: format!("{}: ÷ {peer}, threads: {threads}", record.heading()), bars, limit: None })
        });
        Panel { title: title.into(), groups: groups.collect() }
    };
    let panels = [panel("Prefill, Smidgen ÷ llama.cpp", "prefill"), panel("Decoding, Smidgen ÷ llama.cpp", "decode")];
    let foot = "From docs/records. Where a record has a range, its middle. 1 × is as fast as llama.cpp.";
    chart("Smidgen's rates as multiples of llama.cpp's, on the same files", foot, &panels)
}

/// Name and text of each document that is made from records, as it should be.
pub fn documents(docs: &Path) -> Result<[(&'static str, String); 2], String> {
    let records = read(&docs.join("records"))?;
    let path = docs.join("performance.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = with_tables(&text, &records).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok([("performance.md", text), ("race.svg", ratios_chart(&records))])
}

/// The names of the documents that are not what the records say.
pub fn stale(docs: &Path) -> Result<Vec<&'static str>, String> {
    let documents = documents(docs)?;
    let differs = |(name, text): (&'static str, String)| {
        let is_there = std::fs::read_to_string(docs.join(name)).is_ok_and(|found| found == text);
        (!is_there).then_some(name)
    };
    Ok(documents.into_iter().filter_map(differs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_as_the_records_say() {
        let stale = stale(&docs()).unwrap();
        assert!(stale.is_empty(), "{stale:?}: cargo bench -p smidgen-tests --bench race -- --tables docs");
    }

    fn record() -> Record {
        let value = json!({
            "class": "avx2", "label": "Zen 9", "machine": "one core", "date": "2026-11-30", "source": "made up",
            "kernels": "avx2", "unit": "tokens/s", "limits": [{ "threads": 1, "read_gb_per_second": [10, 12] }],
            "medians": [
                { "file": "Q4_0", "engine": "Smidgen", "threads": 1, "prefill": 10, "decode": 5 },
                { "file": "Q4_0", "engine": "Smidgen, packed", "threads": 1, "prefill": 12, "decode": 6 },
                { "file": "Q4_0", "engine": "llama.cpp", "threads": 1, "prefill": 8, "decode": 4 },
            ],
            "ratios": [{ "file": "Q4_0", "engine": "Smidgen, packed", "peer": "llama.cpp", "threads": 1, "decode": [1.4, 1.6] }],
        });
        Record::new("made-up".into(), value).unwrap()
    }

    #[test]
    fn a_table_replaces_the_one_that_was_there() {
        let document = "before\n<!-- records: avx2 -->\nold\n<!-- end of records -->\nafter\n";
        let new = with_tables(document, &[record()]).unwrap();
        assert!(new.starts_with("before\n<!-- records: avx2 -->\n| machine, kernels") && new.ends_with("-->\nafter\n"));
        assert!(!new.contains("old"));
        // The packed file's rates; the recorded ratio before the computed one; a limit that was seen as a range.
        let row = new.lines().find(|line| line.contains("Q4_0")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells, ["", "Zen 9, avx2", "Q4_0", "12.0", "6.00", "1.5", "1.4–1.6", ""]);
        assert!(new.contains("; 10.0–12.0 GB/s read from memory"));
        assert_eq!(with_tables(&new, &[record()]).unwrap(), new);
    }

    #[test]
    fn a_record_without_a_place_and_a_place_without_a_record_are_errors() {
        assert!(with_tables("no place", &[record()]).unwrap_err().contains("made-up"));
        let document =
            "<!-- records: amx -->\n<!-- end of records -->\n<!-- records: avx2 -->\n<!-- end of records -->\n";
        assert!(with_tables(document, &[record()]).unwrap_err().contains("amx"));
        assert!(with_tables("<!-- records: avx2 -->\n", &[record()]).is_err());
        assert!(Record::new("empty".into(), json!({})).is_err());
    }
}
