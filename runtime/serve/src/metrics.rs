//! `/metrics` in Prometheus' text form. What llama.cpp's server counts has its names.

use crate::engine::Stats;
use crate::models::Totals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of histograms in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// What is counted beside the engine's own numbers.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Seconds from a request to the first text of a choice.
    pub(crate) first_token: Histogram,
    /// Seconds between tokens of a choice.
    pub(crate) between_tokens: Histogram,
    /// Seconds from a request to the end of a choice.
    pub(crate) whole: Histogram,
    /// Answers by the first digit of their status, from 200 on.
    answers: [AtomicU64; 4],
    /// Connections that were refused.
    pub(crate) refused: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let histogram = || Histogram::new(BOUNDS);
        Metrics {
            first_token: histogram(),
            between_tokens: histogram(),
            whole: histogram(),
            answers: Default::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(count) = usize::from(status / 100).checked_sub(2).and_then(|class| self.answers.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All numbers as text.
    pub(crate) fn text(&self, totals: &Totals) -> String {
        let mut registry = Registry::default();
        let mut add = |name: &str, help: &str, histogram: &Histogram| registry.register(name, help, histogram.clone());
        add(
            "smidgen:time_to_first_token_seconds",
            "Time from a request to the first text of an answer",
            &self.first_token,
        );
        add("smidgen:time_between_tokens_seconds", "Time between tokens of an answer", &self.between_tokens);
        add("smidgen:request_seconds", "Time from a request to the end of an answer", &self.whole);
        registry.register_collector(Box::new(self.numbers(totals)));
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &registry);
        of_prometheus(&text)
    }

    fn numbers(&self, totals: &Totals) -> Numbers {
        let stats = &totals.stats;
        let &Stats { running, waiting, .. } = stats;
        let mut all = Numbers::default();
        let count = |all: &mut Numbers, name, help, value: u64| all.counters.push((name, help, value as f64));
        count(&mut all, "llamacpp:prompt_tokens", "Tokens of prompts that were computed", stats.prompt_tokens);
        count(&mut all, "llamacpp:tokens_predicted", "Tokens that were generated", stats.generated_tokens);
        count(&mut all, "llamacpp:n_decode", "Passes that computed something", stats.passes);
        count(
            &mut all,
            "smidgen:cached_tokens",
            "Tokens of prompts that were taken from the cache",
            stats.cached_tokens,
        );
        count(&mut all, "smidgen:requests", "Requests that were taken", stats.requests);
        count(&mut all, "smidgen:requests_refused", "Requests that were refused by the engine", stats.refused);
        count(&mut all, "smidgen:requests_cancelled", "Requests whose client went away", stats.cancelled);
        count(&mut all, "smidgen:requests_failed", "Requests that failed", stats.failures);
        let refused = self.refused.load(Ordering::Relaxed);
        count(&mut all, "smidgen:connections_refused", "Connections that were refused as there were too many", refused);
        let names = [
            ("smidgen:answers_2xx", "Answers with a status of 2xx"),
            ("smidgen:answers_3xx", "Answers with a status of 3xx"),
            ("smidgen:answers_4xx", "Answers with a status of 4xx"),
            ("smidgen:answers_5xx", "Answers with a status of 5xx"),
        ];
        for ((name, help), answers) in names.into_iter().zip(&self.answers) {
            count(&mut all, name, help, answers.load(Ordering::Relaxed));
        }
        all.counters.push(("smidgen:busy_seconds", "Seconds that passes took", stats.busy_seconds));
        let gauge = |all: &mut Numbers, name, help, value: u64| all.gauges.push((name, help, value as f64));
        gauge(&mut all, "llamacpp:requests_processing", "Streams that run", running);
        gauge(&mut all, "llamacpp:requests_deferred", "Requests that wait", waiting);
        gauge(&mut all, "llamacpp:kv_cache_tokens", "Tokens that the caches hold", stats.held_tokens);
        let room = totals.room;
        let share = if room == 0 { 0.0 } else { stats.held_tokens as f64 / room as f64 };
        all.gauges.push(("llamacpp:kv_cache_usage_ratio", "Share of the caches that is held", share));
        gauge(&mut all, "smidgen:streams_paused", "Streams that wait for their reader", stats.paused);
        gauge(&mut all, "smidgen:kv_cache_bytes", "Bytes of the caches", totals.cache_bytes);
        gauge(&mut all, "smidgen:session_bytes", "Bytes of the session beside the weights", totals.session_bytes);
        gauge(&mut all, "smidgen:models_loaded", "Models that are open", totals.loaded);
        machine(&mut all);
        all
    }
}

/// What Linux tells of the process and the machine; elsewhere nothing.
fn machine(all: &mut Numbers) {
    let read = |path| std::fs::read_to_string(path).ok();
    if let Some(status) = read("/proc/self/status") {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        if let Some(kib) = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()) {
            all.gauges.push(("smidgen:resident_bytes", "Bytes of the process that are in memory", kib * 1024.0));
        }
    }
    if let Some(stat) = read("/proc/self/stat") {
        // The name before may contain spaces; major faults are the tenth field after it.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        if let Some(faults) = fields.split_whitespace().nth(9).and_then(|field| field.parse().ok()) {
            all.counters.push(("smidgen:major_faults", "Page faults that read from a disk", faults));
        }
    }
    if let Some(milli) = read("/sys/class/thermal/thermal_zone0/temp").and_then(|text| text.trim().parse::<f64>().ok())
    {
        all.gauges.push(("smidgen:soc_celsius", "Temperature of the first thermal zone", milli / 1000.0));
    }
    // The firmware of a Raspberry Pi: undervoltage, a capped frequency, throttling, each now and since the start.
    let throttled = read("/sys/devices/platform/soc/soc:firmware/get_throttled");
    if let Some(bits) = throttled.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()) {
        all.gauges.push(("smidgen:soc_throttled_bits", "Bits of a Raspberry Pi's get_throttled", bits.into()));
    }
}

type Number = (&'static str, &'static str, f64);

#[derive(Debug, Default)]
struct Numbers {
    counters: Vec<Number>,
    gauges: Vec<Number>,
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, help, value) in &self.counters {
            let counter = ConstCounter::new(*value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, value) in &self.gauges {
            let gauge = ConstGauge::new(*value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// From the form of OpenMetrics to that of Prometheus, where the name of a counter has its ending in every line.
fn of_prometheus(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let (hash, kind, name) = (words.next(), words.next(), words.next());
        match (hash, kind, name, words.next()) {
            (Some("#"), Some(kind), Some(name), Some(rest)) if counters.contains(&name) => {
                out.push_str(&format!("# {kind} {name}_total {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_of_prometheus() {
        let metrics = Metrics::new();
        metrics.first_token.observe(0.15);
        metrics.answered(200);
        metrics.answered(404);
        metrics.answered(99);
        let text = metrics.text(&Totals::default());
        for line in [
            "# HELP llamacpp:tokens_predicted_total Tokens that were generated",
            "# TYPE llamacpp:tokens_predicted_total counter",
            "# TYPE llamacpp:requests_processing gauge",
            "llamacpp:requests_processing 0.0",
            "# TYPE smidgen:time_to_first_token_seconds histogram",
            "smidgen:time_to_first_token_seconds_bucket{le=\"0.1\"} 0",
            "smidgen:time_to_first_token_seconds_bucket{le=\"0.2\"} 1",
            "smidgen:answers_2xx_total 1.0",
            "smidgen:answers_4xx_total 1.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert!(!text.contains("EOF"));
    }
}
