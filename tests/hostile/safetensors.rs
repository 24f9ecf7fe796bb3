//! Files that a robust reader of safetensors must refuse: with an error that names the tensor or the offset, without a panic, and without
//! an allocation that the file's length does not explain.

use smidgen_convert::safetensors::{Error, SafeTensors};
use smidgen_tests::Random;
use smidgen_tests::checkpoint::{Stored, raw, safetensors};

fn refused(header: &str, data: &[u8]) -> Error {
    SafeTensors::parse(&raw(header, data)).expect_err(header)
}

fn good() -> Vec<u8> {
    let tensors = [
        Stored::floats("a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        Stored { name: "ids".into(), dtype: "I64", shape: vec![1, 2], data: vec![7; 16] },
        Stored { name: "half".into(), dtype: "F16", shape: vec![5], data: vec![1; 10] },
        Stored::floats("scalar", &[], &[8.0]),
        Stored::floats("empty", &[0, 4], &[]),
    ];
    safetensors(&tensors)
}

#[test]
fn a_good_file_is_read() {
    let file = good();
    let tensors = SafeTensors::parse(&file).unwrap().tensors;
    let shape = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
    assert_eq!(tensors.len(), 5);
    assert_eq!((shape("a"), shape("scalar"), shape("empty")), (Some(vec![2, 3]), Some(vec![]), Some(vec![0, 4])));
    let a = tensors.iter().find(|tensor| tensor.name == "a").unwrap();
    assert_eq!(a.data[20..], 6.0_f32.to_le_bytes());
    assert!(SafeTensors::parse(&raw("{}", &[])).unwrap().tensors.is_empty());
    assert!(SafeTensors::parse(&raw("{} \n  ", &[])).is_ok());
}

#[test]
fn truncation_at_every_byte_and_bytes_after_the_end() {
    let mut file = good();
    for len in 0..file.len() {
        SafeTensors::parse(&file[..len]).expect_err("a truncated file");
    }
    file.push(0);
    let offset = file.len() as u64 - 1;
    assert_eq!(SafeTensors::parse(&file).unwrap_err(), Error::Gap { offset, bytes: 1 });
}

#[test]
fn headers() {
    let lengths = [u64::MAX, 1 << 63, 100_000_001, 100_000_000, 3];
    for length in lengths {
        let error = SafeTensors::parse(&[&length.to_le_bytes()[..], b"{}"].concat()).unwrap_err();
        assert!(matches!(error, Error::HeaderLength { .. } | Error::Truncated { field: "header", .. }), "{error}");
    }
    for (header, offset) in [
        ("", 8),
        ("[]", 8),
        ("{\"a\" 1}", 13),
        ("{\"a\": {\"dtype\": \"F32\",\n \"shape\": [true], \"data_offsets\": [0, 4]}}", 44),
        ("{\"a\": {\"dtype\": \"F32\"}}", 30),
        ("{\"a\": {\"dtype\": \"F32\", \"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4]}}", 39),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4], \"x\": 1}}", 69),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", 43),
        ("{\"\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4]}}", 12),
        ("{}{}", 10),
    ] {
        let error = refused(header, &[0; 4]);
        let Error::Header { offset: found, reason } = &error else { panic!("{header}: {error}") };
        assert!(found.abs_diff(offset) <= 4, "{header}: {offset} expected, {found}: {reason}");
        assert!(!error.to_string().contains('\n') && !reason.contains("line"), "{error}");
    }
    let bytes = [&2_u64.to_le_bytes()[..], &[b'{', 0xff]].concat();
    assert!(matches!(SafeTensors::parse(&bytes), Err(Error::Header { .. })));
    let deep = format!("{{\"__metadata__\": {}", "[".repeat(1 << 20));
    assert!(matches!(refused(&deep, &[]), Error::Header { .. }));
}

#[test]
fn tensors() {
    let one = |dtype: &str, shape: &str, offsets: &str, bytes: usize| {
        let header = format!("{{\"w\": {{\"dtype\": \"{dtype}\", \"shape\": {shape}, \"data_offsets\": {offsets}}}}}");
        let error = refused(&header, &vec![0; bytes]);
        assert!(error.to_string().contains('w'), "{error}");
        error
    };
    let tensor = || String::from("w");
    assert_eq!(one("Q4", "[1]", "[0, 4]", 4), Error::UnknownDtype { tensor: tensor(), dtype: "Q4".into() });
    assert_eq!(one("F32", "[2]", "[0, 4]", 4), Error::Size { tensor: tensor(), found: 4, expected: 8 });
    assert_eq!(one("F32", "[1]", "[4, 0]", 4), Error::Backwards { tensor: tensor(), start: 4, end: 0 });
    assert!(matches!(one("F32", "[2]", "[0, 8]", 4), Error::PastEnd { .. }));
    let (end, start) = (u64::MAX, u64::MAX - 4);
    assert!(matches!(one("F32", "[1]", &format!("[{start}, {end}]"), 4), Error::PastEnd { end: u64::MAX, .. }));
    for shape in ["[18446744073709551615]", "[4294967296, 4294967296]", "[9223372036854775808, 2]"] {
        assert_eq!(one("F32", shape, "[0, 0]", 0), Error::Shape { tensor: tensor() }, "{shape}");
    }
    assert_eq!(
        one("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]", 4),
        Error::Dimensions { tensor: tensor(), dimensions: 9, most: 8 }
    );
}

#[test]
fn overlaps_gaps_and_duplicates() {
    let two = |names: [&str; 2], offsets: [[u64; 2]; 2], bytes: usize| {
        let entry = |i: usize| {
            let [start, end] = offsets[i];
            format!(
                "\"{}\": {{\"dtype\": \"U8\", \"shape\": [{}], \"data_offsets\": [{start}, {end}]}}",
                names[i],
                end - start
            )
        };
        let header = format!("{{{}, {}}}", entry(0), entry(1));
        (header.len() as u64 + 8, refused(&header, &vec![0; bytes]))
    };
    let (base, error) = two(["a", "b"], [[0, 4], [3, 7]], 7);
    assert_eq!(error, Error::Overlap { tensor: "b".into(), offset: base + 3 });
    let (base, error) = two(["a", "b"], [[0, 4], [5, 7]], 7);
    assert_eq!(error, Error::Gap { offset: base + 4, bytes: 1 });
    let (base, error) = two(["a", "b"], [[1, 4], [4, 7]], 7);
    assert_eq!(error, Error::Gap { offset: base, bytes: 1 });
    assert_eq!(two(["a", "a"], [[0, 4], [4, 7]], 7).1, Error::Duplicate { tensor: "a".into() });
}

#[test]
fn any_damage_is_an_error_or_another_good_file() {
    let good = good();
    let mut random = Random(5);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
        }
        if let Ok(file) = SafeTensors::parse(&bytes) {
            let total: usize = file.tensors.iter().map(|tensor| tensor.data.len()).sum();
            assert!(total < bytes.len());
        }
    }
}
