//! The writer: what it writes is read back alike, and what no reader would accept it refuses.
#![cfg(feature = "std")]

use std::io::{self, Write};

use smidgen_gguf::{Error, Gguf, MAX_METADATA, NewTensor, TensorType, Value, ValueKind, WriteError, Writer};

fn parse(bytes: &[u8]) -> Gguf<'_> {
    Gguf::parse(bytes).expect("what the writer wrote")
}

#[test]
fn an_empty_file() {
    let bytes = Writer::new().write(&[], Vec::new()).unwrap();
    let file = parse(&bytes);
    assert_eq!((file.version(), file.alignment(), file.data_offset()), (3, 32, 32));
    assert_eq!((file.metadata().len(), file.tensors().len(), bytes.len()), (0, 0, 32));
}

#[test]
fn values_of_every_kind_come_back() {
    let mut writer = Writer::new();
    writer.metadata("u8", 200u8).unwrap();
    writer.metadata("i8", -100i8).unwrap();
    writer.metadata("u16", 60_000u16).unwrap();
    writer.metadata("i16", -30_000i16).unwrap();
    writer.metadata("u32", u32::MAX).unwrap();
    writer.metadata("i32", i32::MIN).unwrap();
    writer.metadata("u64", u64::MAX).unwrap();
    writer.metadata("i64", i64::MIN).unwrap();
    writer.metadata("f32", 0.1f32).unwrap();
    writer.metadata("f64", 1e300f64).unwrap();
    writer.metadata("bool", true).unwrap();
    writer.metadata("text", "tëxt").unwrap();
    writer.metadata("texts", &["", "ab", "日本"][..]).unwrap();
    writer.metadata("floats", &[1.5f32, -0.0][..]).unwrap();
    writer.metadata("bools", &[true, false][..]).unwrap();
    writer.metadata("none", &[0i64; 0][..]).unwrap();
    let bytes = writer.write(&[], Vec::new()).unwrap();
    let file = parse(&bytes);
    let get = |key| file.get(key).unwrap();

    assert_eq!((get("u8").kind(), get("u8").as_u64(), get("u8").as_i64()), (ValueKind::U8, Some(200), Some(200)));
    assert_eq!((get("i8").as_u64(), get("i8").as_i64()), (None, Some(-100)));
    assert_eq!(get("u16").as_u64(), Some(60_000));
    assert_eq!(get("i16").as_i64(), Some(-30_000));
    assert_eq!(get("u32").as_u64(), Some(u32::MAX.into()));
    assert_eq!(get("i32").as_i64(), Some(i32::MIN.into()));
    assert_eq!((get("u64").as_u64(), get("u64").as_i64()), (Some(u64::MAX), None));
    assert_eq!((get("i64").as_u64(), get("i64").as_i64()), (None, Some(i64::MIN)));
    assert_eq!((get("f32").as_f32(), get("f32").as_u64()), (Some(0.1), None));
    assert_eq!(get("f64").as_f32(), Some(f32::INFINITY));
    assert_eq!((get("bool").as_bool(), get("bool").as_u64()), (Some(true), None));
    assert_eq!((get("text").as_str(), get("text").as_bool()), (Some("tëxt"), None));
    let texts = get("texts").as_array().unwrap();
    assert_eq!(texts.strings().unwrap().collect::<Vec<_>>(), ["", "ab", "日本"]);
    let floats = get("floats").as_array().unwrap();
    assert!(floats.strings().is_none());
    assert_eq!(floats.bytes(), [1.5f32.to_le_bytes(), (-0.0f32).to_le_bytes()].concat());
    assert_eq!(floats.iter().filter_map(|v| v.as_f32()).collect::<Vec<_>>(), [1.5, -0.0]);
    let bools = get("bools").as_array().unwrap();
    assert_eq!(bools.iter().filter_map(|v| v.as_bool()).collect::<Vec<_>>(), [true, false]);
    let none = get("none").as_array().unwrap();
    assert_eq!((none.kind(), none.len(), none.is_empty()), (ValueKind::I64, 0, true));

    let mut copy = Writer::new();
    for (key, value) in file.metadata() {
        copy.metadata(key, value).unwrap();
    }
    assert_eq!(copy.write(&[], Vec::new()).unwrap(), bytes, "copied values give the same file");
}

#[test]
fn nested_arrays_can_be_copied() {
    let mut bytes = Writer::new().write(&[], Vec::new()).unwrap();
    bytes.truncate(24);
    bytes[16] = 1;
    let nested: [&[u8]; 6] = [
        &[1, 0, 0, 0, 0, 0, 0, 0, b'k', 9, 0, 0, 0, 9, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 3],
        &[8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        b"ab",
    ];
    bytes.extend(nested.concat());
    let file = parse(&bytes);
    let mut copy = Writer::new();
    copy.metadata("k", file.get("k").unwrap()).unwrap();
    let copy = copy.write(&[], Vec::new()).unwrap();
    assert_eq!(copy[..bytes.len()], bytes);
    let mut inner = parse(&copy).get("k").unwrap().as_array().unwrap().iter();
    let Some(Value::Array(numbers)) = inner.next() else { panic!("an array of arrays") };
    assert_eq!(numbers.bytes(), [1, 2, 3]);
    let Some(Value::Array(texts)) = inner.next() else { panic!("an array of arrays") };
    assert_eq!(texts.strings().unwrap().collect::<Vec<_>>(), ["ab"]);
    assert!(inner.next().is_none());
}

#[test]
fn tensors_of_every_type_come_back() {
    for alignment in [8u32, 32, 256, 1 << 20] {
        let data: Vec<u8> = (0..10_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let shapes: Vec<_> = TensorType::ALL.iter().map(|k| (k.name(), [k.block_len() * 2, 3, 1])).collect();
        let tensors: Vec<NewTensor<'_>> = (TensorType::ALL.iter().zip(&shapes).enumerate())
            .map(|(i, (&kind, (name, dims)))| {
                let data = &data[i..][..kind.block_bytes() as usize * 6];
                NewTensor { name, dims, kind, data }
            })
            .collect();
        let mut writer = Writer::new();
        writer.metadata("general.alignment", alignment).unwrap();
        let bytes = writer.write(&tensors, Vec::new()).unwrap();
        let file = parse(&bytes);
        assert_eq!(file.alignment(), u64::from(alignment));
        assert_eq!(file.tensors().len(), tensors.len());
        assert!((bytes.len() as u64).is_multiple_of(file.alignment()), "the last tensor is padded too");
        for (read, written) in file.tensors().zip(&tensors) {
            assert_eq!((read.name, read.kind, read.shape()), (written.name, written.kind, written.dims));
            assert_eq!((read.data, read.dims[3], read.n_dims), (written.data, 1, 3));
            assert!(read.offset.is_multiple_of(file.alignment()));
        }
    }
}

#[test]
fn streamed_in_pieces_gives_the_same_file() {
    let data: Vec<u8> = (0..360).map(|i| i as u8).collect();
    let tensors = [
        NewTensor { name: "a", dims: &[32, 5], kind: TensorType::Q4_0, data: &data[..90] },
        NewTensor { name: "b", dims: &[90], kind: TensorType::F32, data: &data },
    ];
    let whole = Writer::new().write(&tensors, Vec::new()).unwrap();
    for piece in [1, 7, 30, 90, 360] {
        let mut writer = Writer::new();
        for tensor in &tensors {
            writer.tensor(tensor.name, tensor.dims, tensor.kind).unwrap();
        }
        let mut out = writer.start(Vec::new()).unwrap();
        for tensor in &tensors {
            assert_eq!(out.expected(), Some((tensor.name, tensor.data.len() as u64)));
            tensor.data.chunks(piece).for_each(|piece| out.data(piece).unwrap());
        }
        assert_eq!(out.expected(), None);
        assert_eq!(out.finish().unwrap(), whole);
    }
}

#[test]
fn wrong_sizes_and_wrong_order_are_refused() {
    let start = || {
        let mut writer = Writer::new();
        writer.tensor("a", &[4], TensorType::I8).unwrap();
        writer.tensor("b", &[4], TensorType::I8).unwrap();
        writer.start(Vec::new()).unwrap()
    };
    let wrong = |result: Result<(), WriteError>, name: &str, expected: u64, found: u64| match result {
        Err(WriteError::WrongSize { name: n, expected: e, found: f }) => {
            assert_eq!((&*n, e, f), (name, expected, found))
        }
        other => panic!("{other:?}"),
    };
    wrong(start().tensor("a", &[0; 3]), "a", 4, 3);
    wrong(start().tensor("a", &[0; 5]), "a", 4, 5);
    wrong(start().data(&[0; 8]), "a", 4, 8);
    let mut out = start();
    out.data(&[0; 1]).unwrap();
    wrong(out.tensor("a", &[0; 3]), "a", 3, 3);
    wrong(out.finish().map(drop), "a", 3, 0);
    wrong(start().finish().map(drop), "a", 4, 0);
    let error = start().tensor("b", &[0; 4]).unwrap_err();
    assert!(matches!(error, WriteError::WrongTensor { name, expected: Some(e) } if name == "b" && e == "a"));
    let mut out = start();
    out.tensor("a", &[0; 4]).unwrap();
    out.tensor("b", &[0; 4]).unwrap();
    assert!(matches!(out.tensor("c", &[]), Err(WriteError::WrongTensor { expected: None, .. })));
    assert!(matches!(out.data(&[0]), Err(WriteError::NoTensorLeft { found: 1 })));
    out.data(&[]).unwrap();
    let short = NewTensor { name: "t", dims: &[4], kind: TensorType::F32, data: &[0; 15] };
    wrong(Writer::new().write(&[short], Vec::new()).map(drop), "t", 16, 15);
}

#[test]
fn what_no_reader_accepts_is_refused() {
    let mut writer = Writer::new();
    writer.metadata("k", 1u8).unwrap();
    assert!(matches!(writer.metadata("k", "again"), Err(WriteError::DuplicateKey { key }) if key == "k"));
    for key in ["", "a\0b", &"k".repeat(65_536)] {
        assert!(matches!(writer.metadata(key, 1u8), Err(WriteError::Refused { .. })));
    }
    let refused = |result| match result {
        Err(WriteError::Refused { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(writer.metadata("general.alignment", 24u32));
    assert!(matches!(error, Error::BadAlignment { value: 24, .. }));
    let error = refused(writer.metadata("general.alignment", 32u64));
    assert!(matches!(error, Error::AlignmentType { found: ValueKind::U64, .. }));

    writer.tensor("t", &[32], TensorType::Q4_0).unwrap();
    assert!(
        matches!(writer.tensor("t", &[1], TensorType::F32), Err(WriteError::DuplicateTensor { name }) if name == "t")
    );
    let error = refused(writer.tensor("u", &[48], TensorType::Q4_0));
    assert!(matches!(error, Error::PartialBlock { row: 48, block: 32, .. }));
    let error = refused(writer.tensor("u", &[1; 5], TensorType::F32));
    assert!(matches!(error, Error::TooManyDims { n_dims: 5, .. }));
    let error = refused(writer.tensor("u", &[4, 0], TensorType::F32));
    assert!(matches!(error, Error::BadDimension { index: 1, value: 0, .. }));
    let error = refused(writer.tensor(&"n".repeat(64), &[4], TensorType::F32));
    assert!(matches!(error, Error::BadLength { length: 64, limit: 63, .. }));

    for i in 1..MAX_METADATA {
        writer.metadata(&i.to_string(), 0u8).unwrap();
    }
    assert!(matches!(writer.metadata("one more", 0u8), Err(WriteError::TooMany { limit: MAX_METADATA, .. })));
    let mut huge = Writer::new();
    for name in ["a", "b", "c"] {
        huge.tensor(name, &[1 << 60], TensorType::F64).unwrap_or_else(|e| panic!("{e}"));
    }
    assert!(matches!(huge.start(Vec::new()), Err(WriteError::TooLarge)));
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tensor = NewTensor { name: "t", dims: &[100], kind: TensorType::F32, data: &[0; 400] };
    let size = Writer::new().write(&[tensor], Vec::new()).unwrap().len();
    for room in 0..size {
        assert!(matches!(Writer::new().write(&[tensor], Full(room)), Err(WriteError::Io(_))));
    }
    assert!(Writer::new().write(&[tensor], Full(size)).is_ok());
}
