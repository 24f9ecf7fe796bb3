#!/usr/bin/env python3
"""Writes decompose.rs: canonical decompositions and non-spacing marks, for the removal of accents.

Unicode 15.1, as unicode.py; Python 3.13 has it, and so has the package unicodedata2 == 15.1.0.
Usage: python3 decompose.py > decompose.rs
"""

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

assert unicodedata.unidata_version == "15.1.0", unicodedata.unidata_version


def rows(values, width, digits):
    for i in range(0, len(values), width):
        yield "    " + " ".join(f"0x{v:0{digits}x}," for v in values[i : i + width])


# Compatibility ideographs, whose decompositions are one character each.
BLOCKS = [(0xF900, 0xFADA), (0x2F800, 0x2FA1E)]

marks = []
pairs = []
ideographs = []
inside = False
for point in range(0x110000):
    mark = unicodedata.category(chr(point)) == "Mn"
    if mark != inside:
        marks.append(point)
        inside = mark
    parts = unicodedata.decomposition(chr(point)).split()
    if any(first <= point < end for first, end in BLOCKS):
        assert len(parts) < 2
        ideographs.append(int(parts[0], 16) if parts else 0)
        continue
    if mark or not parts or parts[0].startswith("<"):
        continue
    first, second = (int(part, 16) for part in (parts + ["0"])[:2])
    pairs.append(point << 42 | first << 21 | second)

print(f"""//! Canonical decompositions and non-spacing marks. Written by decompose.py from Unicode {unicodedata.unidata_version}; do not edit.

/// Whether `c` is a non-spacing mark, `\\\\p{{Mn}}`.
pub(super) fn is_mark(c: char) -> bool {{
    c >= '\\u{{300}}' && MARKS.partition_point(|&mark| mark <= c as u32) % 2 == 1
}}

/// One step of the canonical decomposition: the first part, and the second if there is one. The second has none of its own.
/// Hangul syllables are not in the table.
pub(super) fn decompose(c: char) -> Option<(char, Option<char>)> {{
    if c < '\\u{{C0}}' {{
        return None;
    }}
    let block = match c {{
        '\\u{{F900}}'..='\\u{{FAD9}}' => Some(c as usize - 0xF900),
        '\\u{{2F800}}'..='\\u{{2FA1D}}' => Some(c as usize - 0x2F800 + (0xFADA - 0xF900)),
        _ => None,
    }};
    if let Some(at) = block {{
        let point = IDEOGRAPHS.get(at).filter(|&&point| point > 0);
        return point.and_then(|&point| char::from_u32(point)).map(|first| (first, None));
    }}
    let at = PAIRS.binary_search_by_key(&(c as u64), |&pair| pair >> 42).ok()?;
    let pair = *PAIRS.get(at)?;
    let part = |bits: u64| char::from_u32(bits as u32 & 0x1f_ffff);
    Some((part(pair >> 21)?, part(pair).filter(|&second| second != '\\0')))
}}
""".replace("\\\\", "\\"))
print("/// Code points at which marks begin and end, in turns.")
print(f"#[rustfmt::skip]\nstatic MARKS: [u32; {len(marks)}] = [")
print("\n".join(rows(marks, 12, 5)))
print("];\n")
print("/// `code point << 42 | first part << 21 | second part`, ascending. Marks and `IDEOGRAPHS` are left out.")
print(f"#[rustfmt::skip]\npub(super) static PAIRS: [u64; {len(pairs)}] = [")
print("\n".join(rows(pairs, 6, 16)))
print("];\n")
print("/// What the characters from U+F900 and from U+2F800 on decompose to; 0 for nothing.")
print(f"#[rustfmt::skip]\nstatic IDEOGRAPHS: [u32; {len(ideographs)}] = [")
print("\n".join(rows(ideographs, 12, 5)))
print("];")
