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


def rows(values, width, digits):
    for i in range(0, len(values), width):
        yield "    " + " ".join(f"0x{v:0{digits}x}," for v in values[i : i + width])


points, ends, texts, known, length = [], [], [], {}, 0
for point in range(0x110000):
    if 0xD800 <= point < 0xE000:
        continue
    text = unicodedata.normalize("NFKD", chr(point))
    if text == unicodedata.normalize("NFD", chr(point)):
        continue
    points.append(point)
    texts.append(text)
    length += len(text.encode())
    ends.append(length)

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
    let at = POINTS.binary_search(&(c as u32)).ok()?;
    let end = usize::from(*ENDS.get(at)?);
    let start = at.checked_sub(1).and_then(|before| ENDS.get(before)).map_or(0, |&end| usize::from(end));
    TEXT.get(start..end)
}}

/// Code points, ascending.
#[rustfmt::skip]
static POINTS: [u32; {len(points)}] = [""")
print("\n".join(rows(points, 12, 5)))
print(f"""];

/// Where in `TEXT` the decomposition of each ends, in bytes.
#[rustfmt::skip]
static ENDS: [u16; {len(ends)}] = [""")
print("\n".join(rows(ends, 16, 4)))
print(f"""];

/// Decompositions one after another.
#[rustfmt::skip]
static TEXT: &str = "\\""")
print("\\\n".join(lines) + '";')
