#!/usr/bin/env python3
"""Writes compose.rs: what canonical composition (NFC) needs beside decompose.rs.

Unicode 15.1, as unicode.py; Python 3.13 has it, and so has the package unicodedata2 == 15.1.0.
Usage: python3 compose.py > compose.rs
"""

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

assert unicodedata.unidata_version == "15.1.0", unicodedata.unidata_version


def rows(values, width, digits):
    for i in range(0, len(values), width):
        yield "    " + " ".join(f"0x{v:0{digits}x}," for v in values[i : i + width])


# As in decompose.py.
BLOCKS = [(0xF900, 0xFADA), (0x2F800, 0x2FA1E)]

classes = []
marks = []
pairs = []
decomposed = 0
composed = []
inside = 0
for point in range(0x110000):
    c = chr(point)
    if unicodedata.combining(c) != inside:
        inside = unicodedata.combining(c)
        classes.append(point << 8 | inside)
    parts = unicodedata.decomposition(c).split()
    if not parts or parts[0].startswith("<"):
        continue
    first, second = (int(part, 16) for part in (parts + ["0"])[:2])
    is_mark = unicodedata.category(c) == "Mn"
    if second and unicodedata.normalize("NFC", c) == c:
        composed.append((first, second, len(marks) if is_mark else decomposed, is_mark))
    if is_mark:
        marks.append(point << 42 | first << 21 | second)
    elif not any(start <= point < end for start, end in BLOCKS):
        decomposed += 1

# Places in decompose.rs' table, and after them those in the table of marks.
pairs = [place + (decomposed if is_mark else 0) for _, _, place, is_mark in sorted(composed)]
print(f"""//! Canonical combining classes and compositions. Written by compose.py from Unicode {unicodedata.unidata_version}; do not edit.

use super::decompose::PAIRS;

/// The canonical combining class; 0 for what begins a sequence.
pub(super) fn class(c: char) -> u8 {{
    if c < '\\u{{300}}' {{
        return 0;
    }}
    let after = CLASSES.partition_point(|&class| class >> 8 <= c as u32);
    after.checked_sub(1).and_then(|at| CLASSES.get(at)).map_or(0, |&class| class as u8)
}}

/// The character that two become, if they do. Hangul syllables are not in the table.
pub(super) fn compose(first: char, second: char) -> Option<char> {{
    let wanted = (first as u64) << 21 | second as u64;
    let at = COMPOSED.binary_search_by_key(&wanted, |&place| pair(place) & ((1 << 42) - 1)).ok()?;
    char::from_u32((pair(*COMPOSED.get(at)?) >> 42) as u32)
}}

/// A character and its parts, by their place in the table of decompositions or, after its end, in that of marks.
fn pair(place: u16) -> u64 {{
    let place = usize::from(place);
    PAIRS.get(place).or_else(|| MARKS.get(place.wrapping_sub(PAIRS.len()))).copied().unwrap_or_default()
}}

/// One step of the canonical decomposition of a non-spacing mark.
pub(super) fn decompose_mark(c: char) -> Option<(char, Option<char>)> {{
    let at = MARKS.binary_search_by_key(&(c as u64), |&pair| pair >> 42).ok()?;
    let pair = *MARKS.get(at)?;
    let part = |bits: u64| char::from_u32(bits as u32 & 0x1f_ffff);
    Some((part(pair >> 21)?, part(pair).filter(|&second| second != '\\0')))
}}
""")
for text, name, values, kind, width, digits in [
    ("`code point << 8 | class` from there on, ascending.", "CLASSES", classes, "u32", 10, 8),
    ("Places of the pairs that become one character, ascending by their parts.", "COMPOSED", pairs, "u16", 18, 3),
    ("`code point << 42 | first part << 21 | second part`, ascending.", "MARKS", marks, "u64", 6, 16),
]:
    print(f"/// {text}\n#[rustfmt::skip]\nstatic {name}: [{kind}; {len(values)}] = [")
    print("\n".join(rows(values, width, digits)))
    print("];" if name == "MARKS" else "];\n")
