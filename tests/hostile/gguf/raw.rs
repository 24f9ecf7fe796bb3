//! A builder of GGUF files in which everything can be wrong, and a walk over what the reader accepts.

use smidgen_gguf::{Error, Gguf, MAX_KEY, Value, ValueKind};

/// Bytes of the header: magic, version, n_tensors, n_kv.
pub(crate) const HEADER: u64 = 24;

/// A file as raw parts; nothing is checked, everything can be wrong.
#[derive(Clone, Default)]
pub(crate) struct Raw {
    /// `None`: the number of records there are.
    pub(crate) n_tensors: Option<u64>,
    pub(crate) n_kv: Option<u64>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) kv: u64,
    pub(crate) records: Vec<u8>,
    pub(crate) tensors: u64,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// A text that claims another length than it has.
pub(crate) fn claim(length: u64, bytes: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), bytes].concat()
}

pub(crate) fn array(element: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

impl Raw {
    pub(crate) fn new() -> Raw {
        Raw::default()
    }

    pub(crate) fn kv(self, key: &str, kind: u32, value: impl AsRef<[u8]>) -> Raw {
        self.raw_kv(&[&text(key.as_bytes())[..], &kind.to_le_bytes(), value.as_ref()].concat())
    }

    pub(crate) fn raw_kv(mut self, record: &[u8]) -> Raw {
        self.metadata.extend(record);
        self.kv += 1;
        self
    }

    pub(crate) fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Raw {
        self.raw_tensor(&text(name.as_bytes()), dims.len() as u32, dims, kind, offset)
    }

    pub(crate) fn raw_tensor(mut self, name: &[u8], n_dims: u32, dims: &[u64], kind: u32, offset: u64) -> Raw {
        self.records.extend(name);
        self.records.extend(n_dims.to_le_bytes());
        self.records.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        self.records.extend(kind.to_le_bytes());
        self.records.extend(offset.to_le_bytes());
        self.tensors += 1;
        self
    }

    pub(crate) fn data(mut self, bytes: usize) -> Raw {
        self.data = (0..bytes).map(|i| i as u8).collect();
        self
    }

    pub(crate) fn counts(mut self, n_tensors: u64, n_kv: u64) -> Raw {
        self.n_tensors = Some(n_tensors);
        self.n_kv = Some(n_kv);
        self
    }

    /// Where the tensor records begin.
    pub(crate) fn records_at(&self) -> u64 {
        HEADER + self.metadata.len() as u64
    }

    /// The file in version 3, data aligned to 32.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.build_as(3, 32)
    }

    pub(crate) fn build_as(&self, version: u32, alignment: usize) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(version.to_le_bytes());
        file.extend(self.n_tensors.unwrap_or(self.tensors).to_le_bytes());
        file.extend(self.n_kv.unwrap_or(self.kv).to_le_bytes());
        file.extend(&self.metadata);
        file.extend(&self.records);
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(alignment), 0);
            file.extend(&self.data);
        }
        file
    }

    #[track_caller]
    pub(crate) fn refused(&self, expected: Error) {
        refused(&self.build(), expected);
    }

    #[track_caller]
    pub(crate) fn accepted(&self) {
        walk(&self.build());
    }
}

#[track_caller]
pub(crate) fn refused(bytes: &[u8], expected: Error) {
    match Gguf::parse(bytes) {
        Ok(_) => panic!("accepted, where this was expected: {expected}"),
        Err(error) => assert_eq!(error, expected, "said: {error}"),
    }
}

/// Uses every accessor of an accepted file, and checks what they promise.
#[track_caller]
pub(crate) fn walk(bytes: &[u8]) {
    let file = match Gguf::parse(bytes) {
        Ok(file) => file,
        Err(error) => panic!("refused: {error}"),
    };
    walk_file(&file, bytes);
}

pub(crate) fn walk_file(file: &Gguf<'_>, bytes: &[u8]) {
    let mut keys = 0;
    for (key, value) in file.metadata() {
        assert!(!key.is_empty() && key.len() as u64 <= MAX_KEY);
        let found = file.get(key).expect("a key that is there");
        assert_eq!(found.kind(), value.kind());
        walk_value(value);
        keys += 1;
    }
    assert_eq!(keys, file.metadata().len());
    assert!(file.get("no such key").is_none());
    let mut extents = Vec::new();
    for tensor in file.tensors() {
        assert_eq!(file.tensor(tensor.name).map(|t| t.offset), Some(tensor.offset));
        assert_eq!(Some(tensor.data.len() as u64), tensor.kind.bytes(tensor.elements()));
        assert!(tensor.offset.is_multiple_of(file.alignment()));
        let start = usize::try_from(tensor.offset).unwrap();
        assert_eq!(bytes[start..][..tensor.data.len()].as_ptr(), tensor.data.as_ptr());
        assert_eq!(tensor.shape().len(), tensor.n_dims as usize);
        extents.push((start, start + tensor.data.len()));
    }
    assert_eq!(extents.len(), file.tensors().len());
    extents.sort();
    assert!(extents.windows(2).all(|w| w[0].1 <= w[1].0));
}

pub(crate) fn walk_value(value: Value<'_>) {
    let Value::Array(array) = value else { return };
    assert_eq!(array.iter().count(), array.len());
    if let Some(strings) = array.strings() {
        assert_eq!(strings.count(), array.len());
    } else if array.kind() == ValueKind::Str {
        assert!(value.not_utf8().is_some());
    } else if array.kind() != ValueKind::Array {
        assert_eq!(array.bytes().len(), array.len() * array.kind().size());
    }
    array.iter().for_each(walk_value);
}

/// A good file with every kind of value, arrays of each, a nested array, and tensors of several types. Its last byte is data.
pub(crate) fn good() -> Raw {
    let mut raw = Raw::new().kv("general.architecture", 8, text(b"llama"));
    for kind in ValueKind::ALL.iter().filter(|k| k.size() > 0) {
        let value = vec![1; kind.size()];
        raw = raw.kv(&format!("scalar.{kind}"), kind.id(), &value);
        raw = raw.kv(&format!("array.{kind}"), 9, array(kind.id(), 3, &value.repeat(3)));
    }
    let strings = array(8, 3, &[text(b""), text("é".as_bytes()), text(b"<s>")].concat());
    let nested = array(9, 2, &[strings.clone(), array(4, 1, &[7, 0, 0, 0])].concat());
    raw.kv("array.string", 9, strings)
        .kv("array.array", 9, nested)
        .kv("array.empty", 9, array(8, 0, b""))
        .kv("general.alignment", 4, 32u32.to_le_bytes())
        .tensor("a", &[32, 2], 2, 0)
        .tensor("b", &[3, 5, 1, 2], 0, 64)
        .tensor("c", &[], 24, 192)
        .tensor("d", &[256], 14, 224)
        .data(224 + 210)
}
