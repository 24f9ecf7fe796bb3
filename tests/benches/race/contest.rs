//! The race itself: the order of the runs, and the tables, charts and records of their figures.

use crate::Twins;
use crate::common::limits::{MEMORY, peaks, read_bandwidth};
use crate::common::{self, Outcome, median, processor, short, table};
use crate::runners::{Busy, Peer, Rates, Task, smidgen};
use serde_json::{Value, json};
use smidgen::Model;
use smidgen_host::ModelFile;
use smidgen_targets::KernelSet;
use smidgen_tests::report::chart::{Bar, Group, Panel, chart};
use smidgen_tests::report::records;
use std::path::Path;

pub(crate) struct Contest {
    pub(crate) kernels: &'static KernelSet,
    pub(crate) threads: Vec<usize>,
    pub(crate) prompt: usize,
    pub(crate) decoded: usize,
    pub(crate) rounds: usize,
    pub(crate) busy: usize,
    pub(crate) peers: Vec<Peer>,
}

/// All figures of one engine on one file with a number of threads, a round each.
struct Lane {
    name: String,
    threads: usize,
    quiet: Vec<Rates>,
    busy: Vec<Rates>,
}

/// Tokens per second that the machine's limits allow for a file.
struct Limits {
    prefill: Option<f64>,
    decode: f64,
}

/// Facts about the run that a record holds beside its figures.
pub(crate) struct About {
    /// The record's name; without one none is written.
    pub(crate) record: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) machine: Option<String>,
    pub(crate) class: Option<String>,
}

impl About {
    /// Fails before anything is measured if the record could not be written.
    pub(crate) fn check(&self) -> Outcome {
        if let Some(name) = &self.record
            && (name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)))
        {
            return Err(format!("--record {name}: letters, digits, '-', '_' and '.' only").into());
        }
        if let Some(class) = &self.class
            && !records::CLASSES.contains(&class.as_str())
        {
            return Err(format!("--class {class}: must be one of {}", records::CLASSES.join(", ")).into());
        }
        Ok(())
    }
}

const OURS: [&str; 2] = ["Smidgen", "Smidgen, packed"];

fn prefill(rates: &Rates) -> f64 {
    rates.prefill
}

fn decode(rates: &Rates) -> f64 {
    rates.decode
}

fn middle(rates: &[Rates], of: fn(&Rates) -> f64) -> f64 {
    median(rates.iter().map(of)).unwrap_or(0.0)
}

/// The median of the ratios of each round.
fn ratio(a: &[Rates], b: &[Rates], of: fn(&Rates) -> f64) -> f64 {
    median(a.iter().zip(b).map(|(a, b)| of(a) / of(b))).unwrap_or(0.0)
}

impl Contest {
    pub(crate) fn run(&self, files: &[Twins], json: Option<&Path>, svg: Option<&Path>, about: &About) -> Outcome {
        println!(
            "Target {}; prefill {}, decode {}; rounds: {}.",
            self.kernels.name, self.prompt, self.decoded, self.rounds
        );
        let peak = peaks(self.kernels.name).int8;
        let mut machine = Vec::new();
        for threads in &self.threads {
            let (read, int8) = (read_bandwidth(MEMORY, *threads), peak.map(|peak| peak * *threads as f64));
            let int8_text = int8.map_or("unknown".into(), |int8| short(int8 / 1e9));
            println!("Limits, threads: {threads}: {} GB/s read from memory, {int8_text} GOPS int8.", short(read / 1e9));
            machine.push((read, int8));
        }
        println!();

        let mut all = Vec::new();
        for file in files {
            let (bytes, operations) = work_of(&file.plain)?;
            let limits: Vec<Limits> = machine
                .iter()
                .map(|(read, int8)| Limits { prefill: int8.map(|int8| int8 / operations), decode: read / bytes })
                .collect();
            let lanes = self.race(file)?;
            self.tell(file, &lanes, &limits);
            all.push((file, lanes, limits));
        }
        if let Some(path) = json {
            let figures: Vec<_> =
                all.iter().flat_map(|(file, lanes, _)| lanes.iter().map(|lane| self.figures(file, lane))).collect();
            let document = json!({ "machine": processor(), "target": self.kernels.name, "figures": figures });
            std::fs::write(path, serde_json::to_string_pretty(&document)?)?;
        }
        if let Some(path) = svg {
            std::fs::write(path, self.draw(&all))?;
        }
        if let Some(name) = &about.record {
            let path = records::docs().join("records").join(format!("{name}.json"));
            let record = self.record(about, &machine, &all)?;
            std::fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// The run as a record: see `smidgen_tests::report::records`.
    fn record(
        &self,
        about: &About,
        machine: &[(f64, Option<f64>)],
        all: &[(&Twins, Vec<Lane>, Vec<Limits>)],
    ) -> Outcome<Value> {
        let hundredths = |value: f64| (value * 100.0).round() / 100.0;
        let (mut medians, mut ratios) = (Vec::new(), Vec::new());
        let per = OURS.len() + self.peers.len();
        for (file, lanes, limits) in all {
            for (group, limits) in lanes.chunks(per).zip(limits) {
                for (i, lane) in group.iter().enumerate() {
                    let (p, d) = (middle(&lane.quiet, prefill), middle(&lane.quiet, decode));
                    medians.push(json!({
                        "file": file.name,
                        "engine": lane.name,
                        "threads": lane.threads,
                        "prompt_tokens": self.prompt,
                        "decoded_tokens": self.decoded,
                        "prefill": hundredths(p),
                        "decode": hundredths(d),
                        "prefill_of_int8_peak": limits.prefill.map(|limit| hundredths(p / limit)),
                        "decode_of_read_limit": hundredths(d / limits.decode),
                    }));
                    for peer in group[OURS.len()..].iter().filter(|_| i < OURS.len()) {
                        ratios.push(json!({
                            "file": file.name,
                            "engine": lane.name,
                            "peer": peer.name,
                            "threads": lane.threads,
                            "prefill": hundredths(ratio(&lane.quiet, &peer.quiet, prefill)),
                            "decode": hundredths(ratio(&lane.quiet, &peer.quiet, decode)),
                        }));
                    }
                }
            }
        }
        let mut versions = serde_json::Map::new();
        versions.insert("Smidgen".into(), common::version().into());
        let first = &all.first().ok_or("no file")?.0.plain;
        for peer in &self.peers {
            versions.insert(peer.name().into(), peer.version(first)?.into());
        }
        let limit = |(threads, (read, int8)): (&usize, &(f64, Option<f64>))| {
            let int8 = int8.map(|int8| (int8 / 1e9).round());
            json!({ "threads": threads, "read_gb_per_second": hundredths(read / 1e9), "int8_gops": int8 })
        };
        Ok(json!({
            "class": about.class.as_deref().unwrap_or_else(|| common::class()),
            "label": about.label.clone().unwrap_or_else(processor),
            "machine": about.machine.clone().unwrap_or_else(processor),
            "date": common::today(),
            "source": "measured",
            "versions": versions,
            "kernels": self.kernels.name,
            "unit": records::TOKENS_PER_SECOND,
            "rounds": self.rounds,
            "limits": self.threads.iter().zip(machine).map(limit).collect::<Vec<_>>(),
            "medians": medians,
            "ratios": ratios,
        }))
    }

    /// Every engine in turn, round after round.
    fn race(&self, file: &Twins) -> Outcome<Vec<Lane>> {
        let names: Vec<&str> = OURS.into_iter().chain(self.peers.iter().map(Peer::name)).collect();
        let lane =
            |(threads, name): (usize, &str)| Lane { name: name.into(), threads, quiet: Vec::new(), busy: Vec::new() };
        let mut lanes: Vec<Lane> =
            self.threads.iter().flat_map(|t| names.iter().map(move |name| lane((*t, name)))).collect();
        for round in 0..self.rounds {
            for (i, lane) in lanes.iter_mut().enumerate() {
                eprint!(
                    "\r{}: round {} of {}, {}, threads: {}\x1b[K",
                    file.name,
                    round + 1,
                    self.rounds,
                    lane.name,
                    lane.threads
                );
                let task = Task {
                    threads: lane.threads,
                    prompt: self.prompt,
                    decoded: self.decoded,
                    target: self.kernels.name,
                };
                let measure = || match i % names.len() {
                    0 => smidgen(&file.plain, task),
                    1 => smidgen(&file.packed, task),
                    peer => self.peers[peer - OURS.len()].measure(&file.plain, task),
                };
                lane.quiet.push(measure()?);
                if self.busy > 0 {
                    let _busy = Busy::start(self.busy)?;
                    lane.busy.push(measure()?);
                }
            }
        }
        eprint!("\r\x1b[K");
        Ok(lanes)
    }

    /// Prints the tables of a file.
    fn tell(&self, file: &Twins, lanes: &[Lane], limits: &[Limits]) {
        println!("## {}\n", file.name);
        let mut head: Vec<String> =
            ["engine", "threads", "prefill", "of int8 peak", "decode", "of read limit"].map(String::from).into();
        for peer in &self.peers {
            head.push(format!("prefill ÷ {}", peer.name()));
            head.push(format!("decode ÷ {}", peer.name()));
        }
        let per = OURS.len() + self.peers.len();
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        let mut rows = Vec::new();
        for (group, limits) in lanes.chunks(per).zip(limits) {
            for (i, lane) in group.iter().enumerate() {
                let (p, d) = (middle(&lane.quiet, prefill), middle(&lane.quiet, decode));
                let of_peak = limits.prefill.map_or("–".into(), |limit| percent(p / limit));
                let mut row = vec![
                    lane.name.clone(),
                    lane.threads.to_string(),
                    short(p),
                    of_peak,
                    short(d),
                    percent(d / limits.decode),
                ];
                for peer in &group[OURS.len()..] {
                    for of in [prefill, decode] {
                        let ratio = format!("{:.2}", ratio(&lane.quiet, &peer.quiet, of));
                        row.push(if i < OURS.len() { ratio } else { "–".into() });
                    }
                }
                rows.push(row);
            }
        }
        println!("{}", table(&head, &rows));

        let first = &lanes[..per];
        let mut rows = Vec::new();
        for group in lanes.chunks(per).skip(1) {
            for (lane, base) in group.iter().zip(first) {
                let ratios = [prefill, decode].map(|of| format!("{:.2}", ratio(&lane.quiet, &base.quiet, of)));
                let [p, d] = ratios;
                rows.push(vec![lane.name.clone(), format!("{} ÷ {}", lane.threads, base.threads), p, d]);
            }
        }
        if !rows.is_empty() {
            println!("{}", table(&["engine", "threads", "prefill", "decode"].map(String::from), &rows));
        }
        if self.busy > 0 {
            let head =
                ["engine", "threads", "prefill, busy", "lost", "decode, busy", "lost", "fair loss"].map(String::from);
            let rows: Vec<_> = lanes.iter().map(|lane| self.busy_row(lane)).collect();
            println!("With {} busy beside it:\n\n{}", self.busy, table(&head, &rows));
        }
    }

    /// The rates that an engine loses to busy neighbours, and the loss that a fair scheduler would cause.
    fn busy_row(&self, lane: &Lane) -> Vec<String> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
        let (threads, runnable) = (lane.threads as f64, (lane.threads + self.busy) as f64);
        let fair = (cores / runnable).min(1.0) * threads / threads.min(cores);
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        let lost = |of| percent(1.0 - ratio(&lane.busy, &lane.quiet, of));
        let rate = |of| short(middle(&lane.busy, of));
        vec![
            lane.name.clone(),
            lane.threads.to_string(),
            rate(prefill),
            lost(prefill),
            rate(decode),
            lost(decode),
            percent(1.0 - fair),
        ]
    }

    fn figures(&self, file: &Twins, lane: &Lane) -> serde_json::Value {
        let of = |rates: &[Rates], of: fn(&Rates) -> f64| rates.iter().map(of).collect::<Vec<f64>>();
        json!({
            "file": file.name,
            "engine": lane.name,
            "threads": lane.threads,
            "prompt_tokens": self.prompt,
            "decoded_tokens": self.decoded,
            "prefill_tokens_per_second": of(&lane.quiet, prefill),
            "decode_tokens_per_second": of(&lane.quiet, decode),
            "busy_processes": self.busy,
            "busy_prefill_tokens_per_second": of(&lane.busy, prefill),
            "busy_decode_tokens_per_second": of(&lane.busy, decode),
        })
    }

    fn draw(&self, all: &[(&Twins, Vec<Lane>, Vec<Limits>)]) -> String {
        let per = OURS.len() + self.peers.len();
        let panel = |title: String, of: fn(&Rates) -> f64, limit: fn(&Limits) -> Option<f64>| {
            let groups = all.iter().flat_map(|(file, lanes, limits)| {
                lanes.chunks(per).zip(limits).map(move |(group, limits)| Group {
                    label: format!("{}, threads: {}", file.name, group.first().map_or(0, |lane| lane.threads)),
                    bars: group
                        .iter()
                        .enumerate()
                        .map(|(kind, lane)| Bar {
                            label: lane.name.clone(),
                            value: middle(&lane.quiet, of),
                            note: String::new(),
                            kind,
                        })
                        .collect(),
                    limit: limit(limits),
                })
            });
            Panel { title, groups: groups.collect() }
        };
        let panels = [
            panel(format!("Prefill of {} tokens, tokens/s", self.prompt), prefill, |limits| limits.prefill),
            panel(format!("Decoding {} tokens, tokens/s", self.decoded), decode, |limits| Some(limits.decode)),
        ];
        let title = format!("Smidgen ({}) and its peers", self.kernels.name);
        let foot = format!(
            "{}. Medians of {} rounds. Limits: int8 peak, and bytes read from memory.",
            processor(),
            self.rounds
        );
        chart(&title, &foot, &panels)
    }
}

/// Bytes of weights that a token reads, and int8 operations that it takes, the head left out (a prompt needs it once).
fn work_of(path: &Path) -> Outcome<(f64, f64)> {
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let model = model.decoder()?;
    let head = &model.head.weight;
    let (mut bytes, mut operations) = (head.rows() * head.row_bytes(), 0);
    for product in model.layers.iter().flat_map(|layer| layer.products()) {
        bytes += product.weight.rows() * product.weight.row_bytes();
        operations += 2 * product.weight.rows() * product.weight.cols();
    }
    Ok((bytes as f64, operations as f64))
}
