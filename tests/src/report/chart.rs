//! Charts of horizontal bars, as SVG.

use super::short;
use std::fmt::Write;

/// Bars on one scale.
pub struct Panel {
    /// The quantity that the bars show, with its unit.
    pub title: String,
    /// The groups of bars, from the top.
    pub groups: Vec<Group>,
}

/// Bars that belong together.
#[derive(Default)]
pub struct Group {
    /// The heading of the group; none if it is empty.
    pub label: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
    /// The value at which a line crosses the group.
    pub limit: Option<f64>,
}

/// A bar.
pub struct Bar {
    /// The name to the left of the bar.
    pub label: String,
    /// The length of the bar.
    pub value: f64,
    /// A text right after the value.
    pub note: String,
    /// Bars of one kind have one colour.
    pub kind: usize,
}

const COLOURS: [&str; 8] = ["#7fb3d5", "#1f618d", "#d5a17f", "#a04000", "#7d6608", "#76448a", "#616a6b", "#148f77"];
const WIDTH: f64 = 560.0;
const LABELS: f64 = 170.0;
const NOTES: f64 = 120.0;
const BAR: f64 = 15.0;
const HEAD: f64 = 44.0;

/// A chart with panels side by side. `foot` is the line below.
pub fn chart(title: &str, foot: &str, panels: &[Panel]) -> String {
    let height_of =
        |panel: &Panel| -> f64 { panel.groups.iter().map(|group| BAR * (group.bars.len() as f64 + 1.6)).sum() };
    let height = panels.iter().map(height_of).fold(0.0, f64::max) + 2.0 * HEAD + 24.0;
    let width = WIDTH * panels.len() as f64;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"11\">"
    );
    let _ = writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    text(&mut out, 12.0, 22.0, "start", "#111111", 15, title);
    text(&mut out, 12.0, height - 10.0, "start", "#555555", 11, foot);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut out, WIDTH * i as f64, panel);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, left: f64, panel: &Panel) {
    let values = panel.groups.iter().flat_map(|group| group.bars.iter().map(|bar| bar.value).chain(group.limit));
    let most = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let x = |value: f64| left + LABELS + value / most * (WIDTH - LABELS - NOTES);
    text(out, left + 12.0, HEAD, "start", "#111111", 13, &panel.title);
    let mut y = HEAD + 12.0;
    for group in &panel.groups {
        let top = y + BAR;
        if !group.label.is_empty() {
            text(out, left + 12.0, top - 4.0, "start", "#111111", 11, &group.label);
        }
        y = top;
        for bar in &group.bars {
            text(out, left + LABELS - 6.0, y + BAR - 4.0, "end", "#333333", 11, &bar.label);
            let colour = COLOURS[bar.kind % COLOURS.len()];
            let long = x(bar.value) - x(0.0);
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{long:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                x(0.0),
                y + 1.0,
                BAR - 2.0
            );
            let said = format!("{}{}", short(bar.value), bar.note);
            text(out, x(bar.value) + 4.0, y + BAR - 4.0, "start", "#333333", 11, &said);
            y += BAR;
        }
        if let Some(limit) = group.limit {
            let _ = writeln!(
                out,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{top:.1}\" y2=\"{y:.1}\" stroke=\"#c0392b\" stroke-width=\"2\" stroke-dasharray=\"4 2\"/>",
                x(limit)
            );
            text(out, x(limit) + 4.0, top - 3.0, "start", "#c0392b", 10, &format!("limit {}", short(limit)));
        }
        y += 0.6 * BAR;
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, size: u32, said: &str) {
    let said = said.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-size=\"{size}\">{said}</text>"
    );
}
