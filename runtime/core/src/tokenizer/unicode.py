#!/usr/bin/env python3
"""Writes unicode.rs: the category of every code point that the pre-tokenizers ask about.

Unicode 15.1, the version that llama.cpp splits by; Python 3.13 has it, and so has the package unicodedata2 == 15.1.0.
Usage: python3 unicode.py > unicode.rs
"""

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

assert unicodedata.unidata_version == "15.1.0", unicodedata.unidata_version

NAMES = ["Other", "Letter", "Number", "Punctuation", "Symbol", "Mark", "Space"]
# The property White_Space, which is what \s means.
SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def category(point):
    if point in SPACES:
        return 6
    return {"L": 1, "N": 2, "P": 3, "S": 4, "M": 5}.get(unicodedata.category(chr(point))[0], 0)


def rows(values, width, digits):
    for i in range(0, len(values), width):
        yield "    " + " ".join(f"0x{v:0{digits}x}," for v in values[i : i + width])


ranges = []
pages = []
previous = None
for point in range(0x110000):
    if point % 256 == 0 and point <= 0x10000:
        # The range that holds the first code point of the page: the one before the next to be written, or that one itself.
        pages.append(len(ranges) - (category(point) == previous))
    if category(point) != previous:
        previous = category(point)
        ranges.append(point << 3 | previous)

print(f"""//! Unicode categories. Written by unicode.py from Unicode {unicodedata.unidata_version}; do not edit.

/// The property of a character that a pre-tokenizer can ask for: the first letter of its general category, or the property White_Space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {{""")
for name, doc in zip(NAMES, ["None of the following.", "`\\p{L}`", "`\\p{N}`", "`\\p{P}`", "`\\p{S}`", "`\\p{M}`", "`\\s`"]):
    print(f"    /// {doc}\n    {name},")
print("""}

use Category::{Letter, Mark, Number, Other, Punctuation, Space, Symbol};

/// The category of `c`.
pub(super) fn category(c: char) -> Category {
    let point = c as u32;
    if let Some(&bits) = ASCII.get(point as usize) {
        return named(u32::from(bits));
    }
    beyond_ascii(point)
}

// Not inlined, for the sake of the size of all that asks.
#[inline(never)]
fn beyond_ascii(point: u32) -> Category {
    let page = (point >> 8) as usize;
    let (from, to) = match (PAGES.get(page), PAGES.get(page + 1)) {
        (Some(&from), Some(&to)) => (from as usize, to as usize + 1),
        _ => (PAGES.last().map_or(0, |&last| last as usize), RANGES.len()),
    };
    let ranges = RANGES.get(from..to).unwrap_or(&RANGES);
    let after = ranges.partition_point(|&range| range >> 3 <= point);
    named(ranges.get(after.wrapping_sub(1)).map_or(0, |range| range & 7))
}

fn named(bits: u32) -> Category {
    match bits {
        1 => Letter,
        2 => Number,
        3 => Punctuation,
        4 => Symbol,
        5 => Mark,
        6 => Space,
        _ => Other,
    }
}
""")
print("#[rustfmt::skip]\nstatic ASCII: [u8; 128] = [")
print("\n".join("    " + " ".join(f"{category(p)}," for p in range(i, i + 32)) for i in range(0, 128, 32)))
print("];\n")
print("/// By the high byte of a code point below 0x10000: the index in `RANGES` of the range its page starts in; last, that of 0x10000.")
print(f"#[rustfmt::skip]\nstatic PAGES: [u16; {len(pages)}] = [")
print("\n".join(rows(pages, 16, 3)))
print("];\n")
print("/// `first code point << 3 | category`, ascending; a range ends where the next begins.")
print(f"#[rustfmt::skip]\nstatic RANGES: [u32; {len(ranges)}] = [")
print("\n".join(rows(ranges, 10, 6)))
print("];")
