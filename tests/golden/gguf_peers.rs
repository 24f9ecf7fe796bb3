//! Second opinions on GGUF: the crate gguf-rs and the PyPI package `gguf` read what our writer writes, we read what the PyPI
//! package writes, and all read the same in real files.
//!
//! The Python half needs `python3` with the packages gguf and numpy. Without them it fails, unless `SMIDGEN_SKIP_PYTHON=1`.
//! Real files are looked for in `SMIDGEN_SHARED`, or else in `shared` beside the workspace.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use gguf_rs::{ByteOrder, GGUFContainer};
use smidgen_gguf::{Array, Gguf, NewTensor, NewValue, TensorType, Value, ValueKind, Writer};

/// Types whose size gguf-rs 0.1.8 gets wrong: it takes every type from id 10 up for blocks of 256, and Q8_1 for 40 bytes.
const MISSIZED_BY_GGUF_RS: [TensorType; 9] = [
    TensorType::Q8_1,
    TensorType::IQ4_NL,
    TensorType::I8,
    TensorType::I16,
    TensorType::I32,
    TensorType::I64,
    TensorType::F64,
    TensorType::BF16,
    TensorType::MXFP4,
];

/// Types that gguf-rs 0.1.8 does not know (on id 40 it panics).
const UNKNOWN_TO_GGUF_RS: [TensorType; 3] = [TensorType::NVFP4, TensorType::Q1_0, TensorType::Q2_0];

/// Types that the PyPI package, version 0.19, mis-sizes (Q8_1: 40 bytes where ggml has 36) or does not know (Q2_0).
const NOT_IN_PYPI_GGUF: [TensorType; 2] = [TensorType::Q8_1, TensorType::Q2_0];

/// Real files with a head of this many bytes and more are not given to the PyPI package, which takes 10 s and more for one.
const PYTHON_HEAD: u64 = 1 << 20;

/// Prints every field and tensor in the lines that `dump` makes, one file after the other.
const PYTHON_DUMP: &str = r#"
import sys, zlib
from gguf import GGUFReader, GGUFValueType as T
NAMES = {T.UINT8: 'u8', T.INT8: 'i8', T.UINT16: 'u16', T.INT16: 'i16', T.UINT32: 'u32', T.INT32: 'i32', T.FLOAT32: 'f32',
         T.BOOL: 'bool', T.STRING: 'string', T.UINT64: 'u64', T.INT64: 'i64', T.FLOAT64: 'f64'}
def plain(part, kind):
    if kind == T.STRING: return bytes(part).hex()
    if kind in (T.FLOAT32, T.FLOAT64): return part.tobytes()[::-1].hex()
    return str(int(part[0]))
def dump(path):
    reader = GGUFReader(path)
    lines = [f"alignment {reader.alignment}", f"data {reader.data_offset}"]
    for name, field in reader.fields.items():
        if name.startswith('GGUF.'):
            if name == 'GGUF.version': lines.insert(0, f"version {field.parts[0][0]}")
            continue
        values = [field.parts[i] for i in field.data]
        if field.types[0] == T.ARRAY:
            kind = field.types[1] if values else None
            head = NAMES[kind] if values else 'empty'
            lines.append(' '.join(['kv', name, f'array {head}'] + [plain(v, kind) for v in values]))
        else:
            lines.append(f"kv {name} {NAMES[field.types[0]]} {plain(values[0], field.types[0])}")
    for t in reader.tensors:
        dims = ','.join(str(int(d)) for d in t.shape)
        lines.append(f"tensor {t.name} {t.tensor_type.name} {dims} {t.data_offset} {t.n_bytes} {zlib.crc32(t.data.tobytes()):08x}")
    return lines
for path in sys.argv[1:]:
    try:
        lines = dump(path)
    except Exception as e:
        lines = [f"error {type(e).__name__}: {e}".replace('\n', ' ')]
    sys.stdout.buffer.write(('\n'.join(lines) + '\n\n').encode())
"#;

/// Writes a file with every kind of value and many types of tensor by the PyPI package's writer.
const PYTHON_WRITE: &str = r#"
import sys, numpy as np
from gguf import GGUFWriter, GGUFValueType as T, GGMLQuantizationType as Q, GGML_QUANT_SIZES
w = GGUFWriter(sys.argv[1], 'llama')
if sys.argv[2] != '32': w.add_custom_alignment(int(sys.argv[2]))
w.add_uint8('u8', 255); w.add_int8('i8', -128); w.add_uint16('u16', 65535); w.add_int16('i16', -32768)
w.add_uint32('u32', 2**32 - 1); w.add_int32('i32', -2**31); w.add_uint64('u64', 2**64 - 1); w.add_int64('i64', -2**63)
w.add_float32('f32', 0.1); w.add_float64('f64', -0.1); w.add_bool('yes', True); w.add_bool('no', False)
w.add_string('text', 'naïve 日本語 \U0001F600')
w.add_array('ints', [1, -2, 3]); w.add_array('floats', [0.5, -1.5]); w.add_array('bools', [True, False, True])
w.add_array('strings', ['<s>', 'é', 'Ġthe', 'a' * 300] + [f'token {i}' for i in range(1000)])
for kind in ('UINT8', 'INT8', 'UINT16', 'INT16', 'UINT32', 'INT32', 'UINT64', 'INT64', 'FLOAT32', 'FLOAT64'):
    w.add_key_value('array.' + kind, [1, 2, 3], T.ARRAY, sub_type=T[kind])
rng = np.random.default_rng(1)
for t in (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64):
    w.add_tensor('plain.' + np.dtype(t).name, rng.integers(-100, 100, (3, 5)).astype(t))
for q in Q:
    block, size = GGML_QUANT_SIZES[q]
    if block > 1 and q != Q.Q8_1:
        w.add_tensor('quant.' + q.name, rng.integers(0, 256, (2, 3, 2 * size), dtype=np.uint8), raw_dtype=q)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
"#;

/// The interpreter that has both packages; `None` if the caller allows to skip.
fn python() -> Option<&'static str> {
    let usable = |name: &&str| {
        Command::new(name).args(["-c", "import gguf, numpy"]).output().is_ok_and(|out| out.status.success())
    };
    let found = ["python3", "python"].into_iter().find(usable);
    if found.is_none() {
        let skip = std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1");
        assert!(skip, "no python3 with the packages gguf and numpy; install them, or set SMIDGEN_SKIP_PYTHON=1");
        println!("SKIPPED by SMIDGEN_SKIP_PYTHON: the PyPI package gguf as a second opinion");
    }
    found
}

fn run(python: &str, script: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(python);
    let out = command.env("PYTHONUTF8", "1").args(["-c", script]).args(arguments).output().expect("python starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8 from python")
}

fn python_dumps(python: &str, files: &[&Path]) -> Vec<String> {
    let text = run(python, PYTHON_DUMP, files);
    let dumps: Vec<String> = text.split_terminator("\n\n").map(|d| format!("{d}\n")).collect();
    assert_eq!(dumps.len(), files.len());
    dumps
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gguf-peers-{}-{name}", std::process::id()))
}

/// A file in the folder for temporary files, removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Temporary {
        let path = temporary(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn plain(value: Value<'_>) -> String {
    match value {
        Value::F32(v) => format!("{:08x}", v.to_bits()),
        Value::F64(v) => format!("{:016x}", v.to_bits()),
        Value::Bool(v) => u8::from(v).to_string(),
        Value::Str(v) => hex(v.as_bytes()),
        Value::Array(_) => panic!("a nested array"),
        integer => {
            integer.as_i64().map(i128::from).or(integer.as_u64().map(i128::from)).expect("an integer").to_string()
        }
    }
}

fn array_line(array: Array<'_>) -> String {
    let kind = if array.is_empty() { "empty" } else { array.kind().name() };
    array.iter().fold(format!("array {kind}"), |line, value| line + " " + &plain(value))
}

/// The text that `PYTHON_DUMP` prints, made by our reader.
fn dump(file: &Gguf<'_>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "version {}\nalignment {}\ndata {}", file.version(), file.alignment(), file.data_offset());
    for (key, value) in file.metadata() {
        let _ = match value {
            Value::Array(array) => writeln!(out, "kv {key} {}", array_line(array)),
            value => writeln!(out, "kv {key} {} {}", value.kind(), plain(value)),
        };
    }
    for tensor in file.tensors() {
        let dims: Vec<String> = tensor.shape().iter().map(u64::to_string).collect();
        let dims = dims.join(",");
        let (name, kind, offset, len) = (tensor.name, tensor.kind, tensor.offset, tensor.data.len());
        let _ = writeln!(out, "tensor {name} {kind} {dims} {offset} {len} {:08x}", crc32(tensor.data));
    }
    out
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let table: Vec<u32> =
        (0..256).map(|i| (0..8).fold(i, |c: u32, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })).collect();
    !bytes.iter().fold(!0, |c, &b| table[((c ^ u32::from(b)) & 0xFF) as usize] ^ c >> 8)
}

/// Every kind of value and array, with extremes; then a tensor for each type given.
fn sample(alignment: u32, types: &[TensorType]) -> Vec<u8> {
    let mut writer = Writer::new();
    let strings: Vec<String> = (0..500).map(|i| format!("token {i} é{}", "x".repeat(i % 9))).collect();
    let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
    let records: &[(&str, NewValue<'_>)] = &[
        ("general.architecture", "llama".into()),
        ("u8", u8::MAX.into()),
        ("i8", i8::MIN.into()),
        ("u16", u16::MAX.into()),
        ("i16", i16::MIN.into()),
        ("u32", u32::MAX.into()),
        ("i32", i32::MIN.into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f32", 0.1f32.into()),
        ("f64", (-1e300f64).into()),
        ("yes", true.into()),
        ("no", false.into()),
        ("text", "naïve 日本語 😀".into()),
        ("empty text", "".into()),
        ("u8s", [1u8, 2, 255][..].into()),
        ("i8s", [-1i8, 2, -128][..].into()),
        ("u16s", [1u16, 65_535][..].into()),
        ("i16s", [-1i16, 2][..].into()),
        ("u32s", [1u32, u32::MAX][..].into()),
        ("i32s", [i32::MIN, 7][..].into()),
        ("f32s", [0.1f32, -3.5, 1e-30][..].into()),
        ("bools", [true, false, true][..].into()),
        ("u64s", [u64::MAX, 0][..].into()),
        ("i64s", [i64::MIN, -1][..].into()),
        ("f64s", [0.1f64, -1e300][..].into()),
        ("strings", strings[..].into()),
        ("nothing", [0u32; 0][..].into()),
    ];
    for &(key, value) in records {
        writer.metadata(key, value).expect("a good record");
    }
    if alignment != 32 {
        writer.metadata("general.alignment", alignment).expect("a good alignment");
    }
    let named: Vec<_> = types.iter().map(|kind| (format!("blk.0.{kind}.weight"), [kind.block_len() * 2, 3])).collect();
    let data: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tensors: Vec<NewTensor<'_>> = (types.iter().zip(&named))
        .map(|(&kind, (name, dims))| {
            let size = usize::try_from(kind.bytes(dims[0] * 3).expect("whole blocks")).expect("a small size");
            NewTensor { name, dims, kind, data: &data[size..][..size] }
        })
        .collect();
    writer.write(&tensors, Vec::new()).expect("a good file")
}

/// Compares keys, values, tensors, types and offsets; sizes only of types that gguf-rs sizes as ggml does.
fn compare_with_gguf_rs(bytes: &[u8], file: &Gguf<'_>) {
    let after_magic = Box::new(Cursor::new(bytes[4..].to_vec()));
    let mut container = GGUFContainer::new(ByteOrder::LE, after_magic, u64::MAX);
    let theirs = container.decode().expect("gguf-rs accepts the file");
    assert_eq!(theirs.get_version(), format!("v{}", file.version()));
    assert_eq!(theirs.alignment(), file.alignment());
    assert_eq!(theirs.data_offset(), file.data_offset());
    assert_eq!(theirs.metadata().len(), file.metadata().len());
    for (key, ours) in file.metadata() {
        let theirs = &theirs.metadata()[key];
        let same = |ours: Value<'_>, theirs: &serde_json::Value| match ours {
            Value::F32(v) => theirs.as_f64().map(|t| t as f32) == Some(v),
            Value::F64(v) => theirs.as_f64() == Some(v),
            Value::Bool(v) => theirs.as_bool() == Some(v),
            Value::Str(v) => theirs.as_str() == Some(v),
            Value::Array(_) => false,
            integer => (integer.as_i64(), integer.as_u64()) == (theirs.as_i64(), theirs.as_u64()),
        };
        match ours {
            Value::Array(array) => {
                let theirs = theirs.as_array().expect("an array");
                assert_eq!(theirs.len(), array.len(), "{key}");
                assert!(array.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs)), "{key}");
            }
            ours => assert!(same(ours, theirs), "{key}: {ours:?}, gguf-rs: {theirs}"),
        }
    }
    assert_eq!(theirs.tensors().len(), file.tensors().len());
    for (ours, theirs) in file.tensors().zip(theirs.tensors()) {
        assert_eq!((ours.name, ours.kind.id()), (theirs.name.as_str(), theirs.kind));
        assert_eq!(ours.shape(), theirs.shape);
        assert_eq!(ours.offset, file.data_offset() + theirs.offset);
        if !MISSIZED_BY_GGUF_RS.contains(&ours.kind) {
            assert_eq!(ours.data.len() as u64, theirs.size, "{}", ours.name);
        }
    }
}

#[test]
fn gguf_rs_reads_what_we_write() {
    let known: Vec<TensorType> = ggml_types().filter(|kind| !UNKNOWN_TO_GGUF_RS.contains(kind)).collect();
    for alignment in [8, 32, 64, 4096] {
        let mut bytes = sample(alignment, &known);
        for version in [2u8, 3] {
            bytes[4] = version;
            compare_with_gguf_rs(&bytes, &Gguf::parse(&bytes).expect("our own file"));
        }
    }
    println!("gguf-rs agrees on {} tensor types; sizes left out: {MISSIZED_BY_GGUF_RS:?}", known.len());
    println!("tensor types unknown to gguf-rs: {UNKNOWN_TO_GGUF_RS:?}");
}

#[test]
fn pypi_gguf_reads_what_we_write() {
    let Some(python) = python() else { return };
    let known: Vec<TensorType> = ggml_types().filter(|kind| !NOT_IN_PYPI_GGUF.contains(kind)).collect();
    let mut files = Vec::new();
    for alignment in [8, 32, 64, 4096] {
        files.push(sample(alignment, &known));
    }
    let mut version_2 = files[1].clone();
    version_2[4] = 2;
    files.push(version_2);
    let paths: Vec<Temporary> =
        files.iter().enumerate().map(|(i, bytes)| Temporary::new(&format!("py-{i}"), bytes)).collect();
    let paths: Vec<&Path> = paths.iter().map(|file| file.0.as_path()).collect();
    for (bytes, theirs) in files.iter().zip(python_dumps(python, &paths)) {
        assert_eq!(dump(&Gguf::parse(bytes).expect("our own file")), theirs);
    }
    println!("PyPI gguf agrees on {} tensor types; left out: {NOT_IN_PYPI_GGUF:?}", known.len());
}

#[test]
fn we_read_what_pypi_gguf_writes() {
    let Some(python) = python() else { return };
    for alignment in ["32", "8", "128"] {
        let file = Temporary::new(&format!("written-{alignment}"), b"");
        run(python, PYTHON_WRITE, &[&file.0, Path::new(alignment)]);
        let bytes = std::fs::read(&file.0).expect("what python wrote");
        let parsed = Gguf::parse(&bytes).expect("a good file");
        assert_eq!(dump(&parsed), python_dumps(python, &[&file.0])[0]);

        assert_eq!(parsed.alignment().to_string(), alignment);
        let get = |key| parsed.get(key).expect("a key that python wrote");
        assert_eq!(get("u64").as_u64(), Some(u64::MAX));
        assert_eq!(get("i64").as_i64(), Some(i64::MIN));
        assert_eq!(get("f32").as_f32(), Some(0.1));
        assert_eq!(get("text").as_str(), Some("naïve 日本語 😀"));
        let strings = get("strings").as_array().expect("an array");
        assert_eq!((strings.kind(), strings.len()), (ValueKind::Str, 1_004));
        assert_eq!(strings.strings().and_then(|mut s| s.nth(1)), Some("é"));
        let tensor = parsed.tensor("quant.Q4_K").expect("a tensor that python wrote");
        assert_eq!((tensor.kind, tensor.dims, tensor.n_dims), (TensorType::Q4_K, [512, 3, 2, 1], 3));
        assert_eq!(parsed.tensors().len(), ggml_types().count() - NOT_IN_PYPI_GGUF.len() - 1);
    }
}

#[test]
fn real_files_read_alike() {
    let shared = std::env::var_os("SMIDGEN_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let mut paths: Vec<PathBuf> = ["models", "vocab"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(shared.join(folder)).ok())
        .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    paths.sort();
    if paths.is_empty() {
        println!("ABSENT: no GGUF files below {}: no real files were compared", shared.display());
        return;
    }
    let python = python();
    for path in &paths {
        let bytes = std::fs::read(path).expect("a readable file");
        let file = Gguf::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        compare_with_gguf_rs(&bytes, &file);
        let mut readers = "gguf-rs".to_owned();
        if let Some(python) = python.filter(|_| file.data_offset() < PYTHON_HEAD) {
            assert_eq!(dump(&file), python_dumps(python, &[path])[0], "{}", path.display());
            readers += " and PyPI gguf";
        }
        let (keys, tensors) = (file.metadata().len(), file.tensors().len());
        println!("READ {}: {keys} keys, {tensors} tensors, as by {readers}", path.display());
    }
}

/// Types that are ggml's, not Smidgen's own.
fn ggml_types() -> impl Iterator<Item = TensorType> {
    TensorType::ALL.iter().copied().filter(|kind| kind.unpacked().is_none())
}
