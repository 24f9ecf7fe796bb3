#!/usr/bin/env python3
"""Writes compat.rs: the compatibility decompositions (NFKD) that are not canonical ones.

Unicode 15.1, as unicode.py; Python 3.13 has it, and so has the package unicodedata2 == 15.1.0.
Usage: python3 compat.py > compat.rs
"""

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

assert unicodedata.unidata_version == "15.1.0", unicodedata.unidata_version


# Most code points of a run: as many lengths are added up to find a text.
LONGEST = 64
runs, lengths, texts, last, length = [], [], [], None, 0
for point in range(0x110000):
    if 0xD800 <= point < 0xE000:
        continue
    text = unicodedata.normalize("NFKD", chr(point))
    if text == unicodedata.normalize("NFD", chr(point)):
        continue
    if point - 1 != last or len(lengths) - runs[-1][1] == LONGEST:
        runs.append((point, len(lengths), length))
    last = point
    texts.append(text)
    lengths.append(len(text.encode()))
    length += lengths[-1]

spelled = "".join(texts)
lines = [""]
for c in spelled:
    shown = f"\\u{{{ord(c):x}}}" if ord(c) < 0x20 or ord(c) > 0x7E or c in '"\\' else c
    if len(lines[-1]) + len(shown) > 120:
        lines.append("")
    # A space at the start of a line would be lost.
    lines[-1] += "\\x20" if c == " " and not lines[-1] else shown
print(f"""//! Compatibility decompositions. Written by compat.py from Unicode {unicodedata.unidata_version}; do not edit.

/// The full compatibility decomposition of `c`, where it is not the canonical one.
pub(super) fn compatible(c: char) -> Option<&'static str> {{
    let after = RUNS.partition_point(|run| run.0 <= c as u32);
    let (first, number, start) = *RUNS.get(after.checked_sub(1)?)?;
    let run = LENGTHS.get(number.into()..RUNS.get(after).map_or(LENGTHS.len(), |next| next.1.into()))?;
    let at = (c as u32 - first) as usize;
    let length = *run.get(at)?;
    let start = usize::from(start) + run.iter().take(at).copied().map(usize::from).sum::<usize>();
    TEXT.get(start..start + usize::from(length))
}}

/// Runs of code points, ascending: the first, how many come before it, and where in `TEXT` its decomposition begins.
#[rustfmt::skip]
static RUNS: [(u32, u16, u16); {len(runs)}] = [""")
for i in range(0, len(runs), 6):
    print("    " + " ".join(f"(0x{run[0]:05x}, {run[1]}, {run[2]})," for run in runs[i : i + 6]))
print(f"""];

/// The lengths of decompositions, in bytes.
#[rustfmt::skip]
static LENGTHS: [u8; {len(lengths)}] = [""")
for i in range(0, len(lengths), 32):
    print("    " + " ".join(f"{length}," for length in lengths[i : i + 32]))
print(f"""];

/// Decompositions one after another.
#[rustfmt::skip]
static TEXT: &str = "\\""")
print("\\\n".join(lines) + '";')
