//! Progress on stderr, where it is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use smidgen_host::{Progress, Stage};
use std::io::IsTerminal;

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

/// The bar of a download. Where stderr is no terminal, a line at the start of each stage.
pub(crate) struct PullBar {
    bar: ProgressBar,
    stage: Option<Stage>,
}

impl PullBar {
    pub(crate) fn new() -> PullBar {
        PullBar { bar: ProgressBar::hidden(), stage: None }
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
            if std::io::stderr().is_terminal() {
                self.bar = bytes(total);
                self.bar.set_message(name);
            } else {
                crate::tell(format_args!("smidgen: {name}\n"));
            }
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
