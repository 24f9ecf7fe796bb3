//! Progress on stderr, where it is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use smidgen_host::{Progress, Stage};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A bar that counts `unit`s.
pub(crate) fn bar(total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(&format!("{{msg}} {{bar:30}} {{pos}}/{{len}} {unit} {{eta}}")) {
        bar.set_style(style);
    }
    bar
}

/// A bar that counts bytes.
pub(crate) fn bytes(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// How often a line tells of a download where stderr is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// The bar of a download. Where stderr is no terminal, a line at the start of each stage, and for a long download one every ten seconds.
pub(crate) struct PullBar {
    bar: ProgressBar,
    stage: Option<Stage>,
    /// When the stage began, with how many bytes, and when it was told of last.
    began: (Instant, u64),
    told: Instant,
}

impl PullBar {
    pub(crate) fn new() -> PullBar {
        let now = Instant::now();
        PullBar { bar: ProgressBar::hidden(), stage: None, began: (now, 0), told: now }
    }

    /// Bytes, rate and time left, as a line.
    fn line(&mut self, done: u64, total: u64) {
        let (since, before) = self.began;
        let seconds = since.elapsed().as_secs_f64();
        let rate = done.saturating_sub(before) as f64 / seconds.max(1e-3);
        let left = total.saturating_sub(done) as f64 / rate.max(1.0);
        let mega = |bytes: u64| bytes as f64 / 1e6;
        let of = if total > 0 { format!(" of {:.0} MB, {left:.0} s left", mega(total)) } else { " MB".into() };
        crate::tell(format_args!("smidgen: {:.0}{of}, {:.1} MB/s\n", mega(done), rate / 1e6));
        self.told = Instant::now();
    }
}

impl Progress for PullBar {
    fn update(&mut self, stage: Stage, done: u64, total: u64) {
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.bar.finish_and_clear();
            let name = match stage {
                Stage::Waiting => "waiting for another pull",
                Stage::Downloading => "downloading",
                Stage::Unpacking => "unpacking",
                Stage::Packing => "packing",
                Stage::Converting => "converting",
            };
            let now = Instant::now();
            (self.began, self.told) = ((now, done), now);
            if std::io::stderr().is_terminal() {
                // What was there before is no part of the rate.
                self.bar = bytes(total).with_position(done);
                self.bar.reset_eta();
                self.bar.set_message(name);
            } else {
                crate::tell(format_args!("smidgen: {name}\n"));
            }
        }
        if stage == Stage::Downloading && self.bar.is_hidden() && self.told.elapsed() >= LINES {
            self.line(done, total);
        }
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }

    fn note(&mut self, line: &str) {
        self.bar.suspend(|| crate::tell(format_args!("smidgen: {line}\n")));
    }
}

impl Drop for PullBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
