//! Rows 1 to 39 of the hostile table: files that the GGUF reader must refuse, each with its exact error, built in code.

mod mutations;
mod raw;

use raw::{HEADER, Raw, array, claim, good, refused, text, walk};
use smidgen::{Key, LoadError, Model};
use smidgen_gguf::{Error, Gguf, MAX_KEY, MAX_METADATA, MAX_TENSORS, TensorType, Value, ValueKind};

#[test]
fn the_good_file_is_accepted() {
    good().accepted();
    walk(&good().build_as(2, 32));
}

#[test]
fn h01_empty_file() {
    refused(b"", Error::Truncated { field: "magic", offset: 0, needed: 4, left: 0 });
}

#[test]
fn h02_truncation_at_every_byte() {
    let raw = good();
    let file = raw.build();
    let data_at = file.len() - raw.data.len();
    for len in 0..file.len() {
        let error = Gguf::parse(&file[..len]).expect_err("a truncated file");
        let as_expected = match error {
            Error::Truncated { offset, needed, left, .. } => {
                len < data_at && needed > left && offset + left == len as u64
            }
            Error::CountTooLarge { count, limit, .. } => len < data_at && count > limit,
            Error::DataPastEnd { end, len: found, .. } => found == len as u64 && end > found,
            _ => false,
        };
        assert!(as_expected, "cut at {len}: {error}");
        let field = match len {
            0..4 => "magic",
            4..8 => "version",
            8..16 => "n_tensors",
            16..24 => "n_kv",
            _ => continue,
        };
        assert!(matches!(error, Error::Truncated { field: found, .. } if found == field), "cut at {len}: {error}");
    }
}

#[test]
fn h03_bad_magic() {
    for magic in [*b"GGML", *b"FUGG", *b"gguf", [0; 4]] {
        let mut file = good().build();
        file[..4].copy_from_slice(&magic);
        refused(&file, Error::BadMagic { found: magic });
    }
}

#[test]
fn h04_version_0_1_4() {
    for version in [0, 1, 4, u32::MAX] {
        refused(&good().build_as(version, 32), Error::UnsupportedVersion { version });
    }
}

#[test]
fn h05_big_endian_file() {
    let error = Error::BigEndian { version: 3 };
    refused(&good().build_as(3u32.swap_bytes(), 32), error);
    assert!(error.to_string().contains("the file is big-endian"));
}

#[test]
fn h06_n_tensors_all_ones() {
    for count in [u64::MAX, u64::MAX / 2, 1 << 63] {
        let raw = Raw::new().data(100).counts(count, 0);
        let limit = (raw.build().len() as u64 - HEADER) / 25;
        raw.refused(Error::CountTooLarge { field: "n_tensors", offset: 8, count, limit });
    }
}

#[test]
fn h07_n_kv_all_ones() {
    for count in [u64::MAX, u64::MAX / 2, 1 << 63] {
        let raw = Raw::new().data(100).counts(0, count);
        let limit = (raw.build().len() as u64 - HEADER) / 14;
        raw.refused(Error::CountTooLarge { field: "n_kv", offset: 16, count, limit });
    }
}

#[test]
fn h08_counts_above_what_the_bytes_can_hold() {
    let tensor = Raw::new().tensor("t", &[], 24, 0);
    tensor.clone().counts(2, 0).refused(Error::CountTooLarge { field: "n_tensors", offset: 8, count: 2, limit: 1 });
    let kv = Raw::new().kv("k", 0, [1]);
    kv.clone().accepted();
    kv.counts(0, 2).refused(Error::CountTooLarge { field: "n_kv", offset: 16, count: 2, limit: 1 });
    let both = tensor.kv("k", 0, [1]);
    both.counts(1, 2).refused(Error::CountTooLarge { field: "n_kv", offset: 16, count: 2, limit: 1 });
    let zeros = Raw::new().data(4 << 20).counts(MAX_TENSORS + 1, 0);
    zeros.refused(Error::CountTooLarge { field: "n_tensors", offset: 8, count: MAX_TENSORS + 1, limit: MAX_TENSORS });
    let zeros = Raw::new().data(4 << 20).counts(0, MAX_METADATA + 1);
    zeros.refused(Error::CountTooLarge { field: "n_kv", offset: 16, count: MAX_METADATA + 1, limit: MAX_METADATA });
}

#[test]
fn h09_key_length_all_ones() {
    for length in [u64::MAX, 1 << 63, u64::MAX - 31] {
        let raw = Raw::new().raw_kv(&claim(length, &[b'k'; 20]));
        raw.refused(Error::BadLength { field: "metadata key", offset: HEADER, length, limit: MAX_KEY });
    }
}

#[test]
fn h10_key_past_the_end() {
    let raw = Raw::new().raw_kv(&claim(21, &[b'k'; 20]));
    raw.refused(Error::Truncated { field: "metadata key", offset: HEADER + 8, needed: 21, left: 20 });
}

#[test]
fn h11_key_empty_or_over_64_kib() {
    let refuse = |length: u64| {
        let raw = Raw::new().kv(&"k".repeat(length as usize), 0, [1]).data(1);
        raw.refused(Error::BadLength { field: "metadata key", offset: HEADER, length, limit: MAX_KEY });
    };
    refuse(0);
    refuse(MAX_KEY + 1);
    refuse(MAX_KEY + 2);
    Raw::new().kv(&"k".repeat(MAX_KEY as usize), 0, [1]).accepted();
}

#[test]
fn h12_key_not_utf8_or_with_nul() {
    let record = |key: &[u8]| Raw::new().raw_kv(&[&text(key)[..], &0u32.to_le_bytes(), &[1]].concat());
    for key in [&b"\xff"[..], b"k\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"] {
        record(key).refused(Error::NotUtf8 { field: "metadata key", offset: HEADER });
    }
    for key in [&b"\0"[..], b"k\0", b"general.alignment\0"] {
        record(key).refused(Error::NulByte { field: "metadata key", offset: HEADER });
    }
}

#[test]
fn h12_strings_that_nobody_reads_need_not_be_utf8() {
    let strings = array(8, 2, &[text(b"ok"), text(b"\x80")].concat());
    let nested = array(9, 1, &strings);
    let raw = Raw::new().kv("a", 8, text(b"caf\xe9")).kv("b", 9, &strings).kv("c", 9, &nested).kv("d", 8, text(b"d"));
    raw.accepted();
    let bytes = raw.build();
    let file = Gguf::parse(&bytes).unwrap();
    let value = file.get("a").unwrap();
    assert_eq!((value.as_str(), value.not_utf8(), value.kind()), (None, Some(HEADER + 13), ValueKind::Str));
    assert!(matches!(value, Value::NotUtf8 { bytes: b"caf\xe9", .. }));
    // An array's first such string, by its place in the file.
    let place = bytes.windows(9).position(|nine| nine == text(b"\x80")).unwrap() as u64;
    let value = file.get("b").unwrap();
    assert_eq!(value.not_utf8(), Some(place));
    let strings = value.as_array().unwrap();
    assert!(strings.strings().is_none());
    assert_eq!(strings.iter().map(|text| text.as_str()).collect::<Vec<_>>(), [Some("ok"), None]);
    let inner = file.get("c").and_then(|value| value.as_array()).and_then(|array| array.iter().next()).unwrap();
    assert_eq!(inner.not_utf8(), Some(place + 13 + 12 + 12 + 10 + 9));
    assert_eq!(file.get("d").and_then(|value| value.as_str()), Some("d"));
}

#[test]
fn h12_strings_that_are_read_must_be_utf8() {
    let raw = Raw::new().kv("general.architecture", 8, text(b"llam\xe1"));
    let bytes = raw.build();
    let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap_err();
    let offset = HEADER + 8 + 20 + 4;
    let key = Key { architecture: "general", name: "architecture" };
    assert_eq!(error, LoadError::NotUtf8 { key, offset });
    assert_eq!(error.to_string(), format!("general.architecture is not UTF-8 (at byte {offset})"));
}

#[test]
fn h13_duplicate_key() {
    let raw = Raw::new().kv("a", 0, [1]).kv("b", 0, [2]).kv("a", 4, [1, 0, 0, 0]);
    raw.refused(Error::Duplicate { field: "metadata key", offset: HEADER + 28, first: HEADER });
    let twice = Raw::new().kv("general.alignment", 4, 32u32.to_le_bytes());
    let twice = twice.kv("general.alignment", 4, 64u32.to_le_bytes());
    twice.refused(Error::Duplicate { field: "metadata key", offset: HEADER + 33, first: HEADER });
}

#[test]
fn h13_duplicate_among_many_keys() {
    let record = |i: u64| format!("key.{i:05}");
    let mut raw =
        (0..MAX_METADATA - 1).fold(Raw::new(), |raw, i| raw.kv(&record(i * 7919 % 4093 + i / 4093 * 4093), 0, [0]));
    raw.clone().kv("another", 0, [0]).accepted();
    let offset = raw.records_at();
    raw = raw.kv(&record(0), 0, [0]);
    raw.refused(Error::Duplicate { field: "metadata key", offset, first: HEADER });
}

#[test]
fn h14_unknown_value_type() {
    for id in [13, 14, 255, u32::MAX] {
        let raw = Raw::new().kv("k", id, [0; 16]);
        raw.refused(Error::UnknownValueType { field: "metadata value type", offset: HEADER + 9, id });
    }
}

#[test]
fn h15_string_of_1_gib_in_a_small_file() {
    let raw = Raw::new().kv("k", 8, claim(1 << 30, b"short"));
    raw.refused(Error::Truncated { field: "string value", offset: HEADER + 21, needed: 1 << 30, left: 5 });
    let raw = Raw::new().kv("k", 8, claim(u64::MAX, b"short"));
    raw.refused(Error::Truncated { field: "string value", offset: HEADER + 21, needed: u64::MAX, left: 5 });
}

#[test]
fn h16_array_count_times_size_overflows() {
    for (kind, count) in [(4, 1 << 62), (12, 1 << 61), (10, u64::MAX), (2, (1 << 63) + 1)] {
        let raw = Raw::new().kv("k", 9, array(kind, count, &[0; 64]));
        raw.refused(Error::SizeOverflow { field: "array elements", offset: HEADER + 25 });
    }
    let raw = Raw::new().kv("k", 9, array(0, u64::MAX, &[0; 64]));
    raw.refused(Error::Truncated { field: "array elements", offset: HEADER + 25, needed: u64::MAX, left: 64 });
    let raw = Raw::new().kv("k", 9, array(5, 1 << 30, &[0; 64]));
    raw.refused(Error::Truncated { field: "array elements", offset: HEADER + 25, needed: 1 << 32, left: 64 });
}

#[test]
fn h17_string_array_past_the_end() {
    let elements = [text(b"one"), text(b"two")].concat();
    let raw = Raw::new().kv("k", 9, array(8, 3, &elements));
    raw.refused(Error::Truncated { field: "array string", offset: HEADER + 25 + 22, needed: 8, left: 0 });
    let raw = Raw::new().kv("k", 9, array(8, u64::MAX, &elements));
    raw.refused(Error::Truncated { field: "array string", offset: HEADER + 25 + 22, needed: 8, left: 0 });
    let raw = Raw::new().kv("k", 9, array(8, 2, &[text(b"one"), claim(4, b"two")].concat()));
    raw.refused(Error::Truncated { field: "array string", offset: HEADER + 25 + 19, needed: 4, left: 3 });
    let raw = Raw::new().kv("k", 9, array(8, 2, &[text(b"one"), claim(u64::MAX, b"two")].concat()));
    raw.refused(Error::Truncated { field: "array string", offset: HEADER + 25 + 19, needed: u64::MAX, left: 3 });
}

#[test]
fn h18_deeply_nested_arrays() {
    let nest = |depth: u32| {
        let outer = array(9, 1, b"").repeat(depth as usize - 1);
        Raw::new().kv("k", 9, [outer, array(0, 1, &[1])].concat())
    };
    (1..=4).for_each(|depth| nest(depth).accepted());
    for depth in [5, 6, 1_000, 100_000] {
        nest(depth).refused(Error::NestedTooDeep { offset: HEADER + 13 + 4 * 12 });
    }
}

#[test]
fn h19_array_of_unknown_type() {
    for id in [13, u32::MAX] {
        for count in [0, 1, u64::MAX] {
            let raw = Raw::new().kv("k", 9, array(id, count, &[0; 16]));
            raw.refused(Error::UnknownValueType { field: "array element type", offset: HEADER + 13, id });
        }
    }
}

#[test]
fn h20_bool_neither_0_nor_1() {
    for value in [2, 0x80, 0xFF] {
        Raw::new().kv("k", 7, [value]).refused(Error::BadBool { offset: HEADER + 13, value });
        let raw = Raw::new().kv("k", 9, array(7, 4, &[0, 1, value, 3]));
        raw.refused(Error::BadBool { offset: HEADER + 27, value });
    }
}

#[test]
fn h21_alignment_zero() {
    alignment(0);
}

#[test]
fn h22_alignment_not_a_power_of_two() {
    [1, 2, 4, 3, 12, 24, 33, 48, u32::MAX].into_iter().for_each(alignment);
}

#[test]
fn h23_alignment_2_to_the_31() {
    [1 << 31, 1 << 30, 1 << 21].into_iter().for_each(alignment);
    for good in [8u32, 16, 64, 4096, 1 << 20] {
        let raw = Raw::new().kv("general.alignment", 4, good.to_le_bytes()).tensor("t", &[3], 24, 0).data(3);
        walk(&raw.build_as(3, good as usize));
    }
}

#[track_caller]
fn alignment(value: u32) {
    let raw = Raw::new().kv("general.alignment", 4, value.to_le_bytes());
    raw.refused(Error::BadAlignment { offset: HEADER + 8 + 17 + 4, value });
}

#[test]
fn h24_alignment_of_the_wrong_type() {
    for found in ValueKind::ALL {
        let value = match found {
            ValueKind::U32 => continue,
            ValueKind::Str => text(b"32"),
            ValueKind::Array => array(4, 1, &32u32.to_le_bytes()),
            ValueKind::Bool => vec![1],
            number => [&[32], &[0; 8][..number.size() - 1]].concat(),
        };
        let raw = Raw::new().kv("general.alignment", found.id(), value);
        raw.refused(Error::AlignmentType { offset: HEADER + 8 + 17, found: *found });
    }
}

#[test]
fn h25_more_than_4_dimensions() {
    for n_dims in [5, 6, 255, 1 << 30, u32::MAX] {
        let raw = Raw::new().raw_tensor(&text(b"t"), n_dims, &[1; 6], 0, 0).data(64);
        raw.refused(Error::TooManyDims { offset: HEADER + 9, n_dims });
    }
}

#[test]
fn h26_zero_dimension() {
    for (index, dims) in [(0, vec![0]), (1, vec![32, 0]), (2, vec![1, 1, 0, 0]), (3, vec![1, 1, 1, 0])] {
        let raw = Raw::new().tensor("t", &dims, 0, 0).data(64);
        let offset = HEADER + 13 + 8 * u64::from(index);
        raw.refused(Error::BadDimension { offset, index, value: 0 });
    }
}

#[test]
fn h27_dimension_of_2_to_the_63() {
    for value in [1 << 63, u64::MAX, u64::MAX - 31] {
        let raw = Raw::new().tensor("t", &[32, value], 0, 0).data(64);
        raw.refused(Error::BadDimension { offset: HEADER + 21, index: 1, value });
    }
}

#[test]
fn h28_product_overflow() {
    let error = Error::SizeOverflow { field: "tensor element count", offset: HEADER + 13 };
    for dims in [&[1 << 32, 1 << 32][..], &[1 << 32, 1 << 31], &[1 << 62, 4, 1 << 62, 4], &[i64::MAX as u64, 3]] {
        Raw::new().tensor("t", dims, 24, 0).data(64).refused(error);
    }
    // 2^32 * 2^32 wraps to 0, and then 0 * 5 would be small.
    Raw::new().tensor("t", &[1 << 32, 1 << 32, 5], 24, 0).data(64).refused(error);
}

#[test]
fn h29_byte_size_overflow() {
    let error = Error::SizeOverflow { field: "tensor byte size", offset: HEADER + 13 };
    Raw::new().tensor("t", &[1 << 62], 28, 0).data(64).refused(error);
    Raw::new().tensor("t", &[1 << 31, 1 << 31], 0, 0).data(64).refused(error);
    Raw::new().tensor("t", &[1 << 32, 1 << 30], 8, 0).data(64).refused(Error::DataPastEnd {
        offset: HEADER + 33,
        end: 96 + (1 << 62) / 32 * 34,
        len: 96 + 64,
    });
}

#[test]
fn h30_padding_overflow_near_the_end() {
    let last = u64::MAX - 31;
    let raw = Raw::new().tensor("t", &[1], 24, last).data(64);
    raw.refused(Error::SizeOverflow { field: "tensor data end", offset: HEADER + 25 });
    // Ends one byte below 2^64 (tensor data begins at byte 64); rounded up to the alignment, it would wrap to 0.
    let raw = Raw::new().tensor("t", &[31], 24, last - 64).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: u64::MAX, len: 128 });
    let raw = Raw::new().tensor("t", &[i64::MAX as u64], 24, 0).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: i64::MAX as u64 + 64, len: 128 });
    // Near the end of a 32-bit usize.
    let raw = Raw::new().tensor("t", &[(1 << 32) - 65], 24, 0).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: u32::MAX.into(), len: 128 });
}

#[test]
fn h31_unknown_or_removed_type() {
    for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 255, u32::MAX] {
        let raw = Raw::new().tensor("t", &[256], id, 0).data(2048);
        raw.refused(Error::UnknownTensorType { offset: HEADER + 21, id });
    }
    for kind in TensorType::ALL {
        let data = kind.bytes(kind.block_len() * 3).unwrap();
        Raw::new().tensor("t", &[kind.block_len(), 3], kind.id(), 0).data(data as usize).accepted();
    }
}

#[test]
fn h32_row_not_a_multiple_of_the_block() {
    for kind in TensorType::ALL.iter().filter(|k| k.block_len() > 1) {
        let block = kind.block_len();
        for row in [1, block - 1, block + 1, block / 2] {
            // The count of elements is whole blocks; the rows are not.
            let raw = Raw::new().tensor("t", &[row, block], kind.id(), 0).data(1 << 18);
            raw.refused(Error::PartialBlock { offset: HEADER + 13, row, block });
        }
    }
}

#[test]
fn h33_misaligned_offset() {
    for value in [1, 4, 8, 16, 31, 33] {
        let raw = Raw::new().tensor("t", &[4], 0, value).data(256);
        raw.refused(Error::Misaligned { offset: HEADER + 25, value, alignment: 32 });
    }
    let raw = Raw::new().kv("general.alignment", 4, 64u32.to_le_bytes()).tensor("t", &[4], 0, 32).data(256);
    raw.refused(Error::Misaligned { offset: raw.records_at() + 25, value: 32, alignment: 64 });
}

#[test]
fn h34_offset_plus_size_overflow() {
    let error = Error::SizeOverflow { field: "tensor data end", offset: HEADER + 25 };
    Raw::new().tensor("t", &[1 << 60], 0, u64::MAX - 31).data(256).refused(error);
    Raw::new().tensor("t", &[1 << 60], 0, 3 << 62).data(256).refused(error);
    Raw::new().tensor("t", &[16], 0, u64::MAX - 63).data(256).refused(error);
}

#[test]
fn h35_data_past_the_end() {
    let raw = Raw::new().tensor("t", &[64], 0, 0).data(255);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 320, len: 319 });
    let raw = Raw::new().tensor("t", &[1], 24, 256).data(256);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 321, len: 320 });
    let raw = Raw::new().tensor("t", &[1], 24, 0);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 65, len: 57 });
    let raw = Raw::new().tensor("t", &[1], 24, 1 << 40).data(1);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: (1 << 40) + 65, len: 65 });
}

#[test]
fn h36_overlapping_tensors() {
    // Records of 33 bytes each; tensor data begins at byte 128.
    let three = |offsets: [u64; 3]| {
        let names = ["a", "b", "c"].into_iter().zip(offsets);
        names.fold(Raw::new(), |raw, (name, offset)| raw.tensor(name, &[33], 24, offset)).data(256)
    };
    let at = |i: u64| HEADER + 33 * i;
    three([0, 0, 64]).refused(Error::Overlap { offset: at(1), other: at(0) });
    three([0, 32, 64]).refused(Error::Overlap { offset: at(1), other: at(0) });
    three([64, 128, 96]).refused(Error::Overlap { offset: at(2), other: at(0) });
    three([128, 0, 96]).refused(Error::Overlap { offset: at(0), other: at(2) });
    three([128, 0, 64]).accepted();
    three([128, 64, 0]).accepted();
}

#[test]
fn h36_overlap_among_many_in_disorder() {
    let n = 20_000u64;
    let offset = |i: u64| i * 7919 % n * 32;
    let build = |odd: Option<u64>| {
        let offset = |i| if Some(i) == odd { offset(i) - 32 } else { offset(i) };
        (0..n).fold(Raw::new(), |raw, i| raw.tensor(&format!("{i:05}"), &[1], 24, offset(i))).data(32 * n as usize)
    };
    assert!(Gguf::parse(&build(None).build()).is_ok());
    let other = (0..n).find(|&i| offset(i) + 32 == offset(12_345)).unwrap();
    let (first, second) = (other.min(12_345), other.max(12_345));
    let record = 8 + 5 + 4 + 8 + 4 + 8;
    build(Some(12_345)).refused(Error::Overlap { offset: HEADER + second * record, other: HEADER + first * record });
}

#[test]
fn h37_duplicate_name() {
    let raw = Raw::new().tensor("a", &[8], 24, 0).tensor("b", &[8], 24, 32).tensor("a", &[8], 24, 64).data(128);
    raw.refused(Error::Duplicate { field: "tensor name", offset: HEADER + 66, first: HEADER });
}

#[test]
fn h37_duplicate_among_as_many_as_there_can_be() {
    let n = MAX_TENSORS;
    let name = |i: u64| format!("t{:05}", (n - i) * 40_503 % n);
    let build = |repeat: Option<u64>| {
        let name = |i| if Some(i) == repeat { name(7) } else { name(i) };
        (0..n).fold(Raw::new(), |raw, i| raw.tensor(&name(i), &[1], 24, 32 * (n - 1 - i))).data(32 * n as usize)
    };
    assert!(Gguf::parse(&build(None).build()).is_ok());
    let record = 8 + 6 + 4 + 8 + 4 + 8;
    let error = Error::Duplicate { field: "tensor name", offset: HEADER + 60_000 * record, first: HEADER + 7 * record };
    build(Some(60_000)).refused(error);
}

#[test]
fn h38_name_of_64_bytes() {
    let named = |length: u64| Raw::new().tensor(&"n".repeat(length as usize), &[8], 24, 0).data(8);
    for length in [0, 64, 65, 1_000] {
        named(length).refused(Error::BadLength { field: "tensor name", offset: HEADER, length, limit: 63 });
    }
    named(63).accepted();
    for length in [u64::MAX, 1 << 63] {
        let raw = Raw::new().raw_tensor(&claim(length, b"t"), 1, &[8], 24, 0).data(8);
        raw.refused(Error::BadLength { field: "tensor name", offset: HEADER, length, limit: 63 });
    }
    let raw = Raw::new().raw_tensor(&text(b"a\xffb"), 1, &[8], 24, 0).data(8);
    raw.refused(Error::NotUtf8 { field: "tensor name", offset: HEADER });
    let raw = Raw::new().raw_tensor(&text(b"a\0b"), 1, &[8], 24, 0).data(8);
    raw.refused(Error::NulByte { field: "tensor name", offset: HEADER });
}

#[test]
fn h39_sum_of_sizes_beyond_a_32_bit_usize() {
    let half = 1 << 31;
    let raw = Raw::new().tensor("a", &[half], 24, 0).tensor("b", &[half], 24, half).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 96 + half, len: 160 });
    // A size of 2^32 + 16 is 16 in 32 bits.
    let raw = Raw::new().tensor("a", &[(1 << 32) + 16], 24, 0).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 64 + (1 << 32) + 16, len: 128 });
    let raw = Raw::new().tensor("a", &[16], 24, 1 << 32).data(64);
    raw.refused(Error::DataPastEnd { offset: HEADER + 25, end: 64 + (1 << 32) + 16, len: 128 });
    let raw = Raw::new().kv("k", 8, claim((1 << 32) + 2, b"ab"));
    raw.refused(Error::Truncated { field: "string value", offset: HEADER + 21, needed: (1 << 32) + 2, left: 2 });
}

#[test]
fn more_long_arrays_than_are_remembered_can_still_be_looked_up() {
    let strings = |i: u64| array(8, 3, &[text(b"x"), text(b""), text(i.to_string().as_bytes())].concat());
    let raw =
        (0..100).fold(Raw::new(), |raw, i| raw.kv(&format!("k{i}"), 9, strings(i)).kv(&format!("v{i}"), 0, [i as u8]));
    let file = raw.build();
    walk(&file);
    let file = Gguf::parse(&file).unwrap();
    for i in 0..100u64 {
        let last =
            file.get(&format!("k{i}")).and_then(|v| v.as_array()).and_then(|a| a.strings()).and_then(|s| s.last());
        assert_eq!(last, Some(i.to_string().as_str()));
        assert_eq!(file.get(&format!("v{i}")).and_then(|v| v.as_u64()), Some(i));
    }
    assert!(size_of::<Gguf<'_>>() <= 1024);
}
