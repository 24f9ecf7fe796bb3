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


classes = []
marks = []
pairs = []
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
    if unicodedata.category(c) == "Mn":
        marks.append(point << 42 | first << 21 | second)
    if second and unicodedata.normalize("NFC", c) == c:
        pairs.append(first << 42 | second << 21 | point)

pairs.sort()
print(f"""//! Canonical combining classes and compositions. Written by compose.py from Unicode {unicodedata.unidata_version}; do not edit.

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
    let at = PAIRS.binary_search_by_key(&wanted, |&pair| pair >> 21).ok()?;
    char::from_u32(*PAIRS.get(at)? as u32 & 0x1f_ffff)
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
    ("`first << 42 | second << 21 | composed`, ascending.", "PAIRS", pairs, "u64", 6, 16),
    ("`code point << 42 | first part << 21 | second part`, ascending.", "MARKS", marks, "u64", 6, 16),
]:
    print(f"/// {text}\n#[rustfmt::skip]\nstatic {name}: [{kind}; {len(values)}] = [")
    print("\n".join(rows(values, width, digits)))
    print("];" if name == "MARKS" else "];\n")
