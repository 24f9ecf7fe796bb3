//! Reports of measurements: numbers, Markdown tables, charts, and the records that `docs/performance.md` is made from.

pub mod chart;
pub mod records;

use std::fmt::Write;

/// The middle value, or the mean of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().wrapping_sub(1) / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// A table in Markdown, numbers to the right.
pub fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        rows.iter()
            .chain([&head.to_vec()])
            .filter_map(|row| row.get(i))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_text =
        |i: usize| rows.iter().any(|row| row.get(i).is_some_and(|cell| cell.starts_with(char::is_alphabetic)));
    let mut out = String::new();
    let mut line = |row: &[String]| {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if is_text(i) { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
        }
        out.push_str("|\n");
    };
    line(head);
    let rules: Vec<String> =
        (0..head.len())
            .map(|i| {
                if is_text(i) { "-".repeat(widths[i]) } else { format!("{}:", "-".repeat(widths[i].saturating_sub(1))) }
            })
            .collect();
    line(&rules);
    rows.iter().for_each(|row| line(row));
    out
}

/// A number with as many digits as it is worth.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
