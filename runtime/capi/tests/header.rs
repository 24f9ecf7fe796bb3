//! The header and the snapshot of the ABI are what the sources say. `SMIDGEN_BLESS=1 cargo test -p smidgen-capi --test header` writes them
//! anew; a change of the snapshot needs another `SMIDGEN_ABI_VERSION` too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use syn::{Attribute, Expr, Fields, FnArg, GenericArgument, Item, PathArguments, ReturnType, Type};

/// The sources, in the order in which a reader wants them.
const SOURCES: [&str; 8] = ["types", "common", "models", "text", "sessions", "generate", "state", "classify"];

const INTRODUCTION: &str = "\
/* libsmidgen: a minimal inference runtime for the edge, with the same bits on every machine.
 *
 * This file is generated from runtime/capi/src. docs/abi.md says what the ABI promises.
 *
 * A typical program calls smidgen_model_open_path (or _fd, _memory), smidgen_session_open, smidgen_chat or smidgen_tokenize for a
 * prompt, smidgen_generate with a callback, smidgen_session_close and smidgen_model_close. examples/c/chat.c is such a program.
 *
 * - Every function that can fail returns a smidgen_status. smidgen_error_message() has the message of the calling thread's last failure.
 * - Handles are checked: a null, closed or foreign handle is an error. Handles are not addresses and must not be dereferenced.
 * - A struct begins with its size, which the host sets: `smidgen_session_params params = {sizeof params};`. Zeros are the defaults.
 * - A function that fills a buffer writes the count first, also if the buffer is too short (SMIDGEN_ERROR_SHORT_BUFFER). So a call with a
 *   capacity of 0 asks for the required length; such a call is quick even where computing the answer takes long.
 * - Any number of threads may use a model at once. One thread may use a session; another one gets SMIDGEN_ERROR_BUSY.
 * - A callback may call the library, but of the session that calls it only smidgen_session_cancel (others return
 *   SMIDGEN_ERROR_REENTRANT). A callback must return: no exception and no longjmp may pass through the library.
 * - A pointer must be null, or point to as much memory as is documented. Strings are UTF-8.
 */";

struct Function {
    name: String,
    docs: Vec<String>,
    arguments: Vec<(String, String)>,
    result: String,
}

struct Record {
    name: String,
    docs: Vec<String>,
    /// Name, type, documentation; none for an opaque one.
    fields: Vec<(String, String, Vec<String>)>,
}

enum Entry {
    Constant { name: String, docs: Vec<String>, value: String },
    Alias { name: String, docs: Vec<String>, target: String },
    Callback { name: String, docs: Vec<String>, arguments: Vec<(String, String)>, result: String },
    Record(Record),
    Function(Function),
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn docs(attributes: &[Attribute]) -> Vec<String> {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let syn::Meta::NameValue(pair) = &attribute.meta else { panic!("a documentation comment") };
        let Expr::Lit(literal) = &pair.value else { panic!("a documentation comment") };
        let syn::Lit::Str(text) = &literal.lit else { panic!("a documentation comment") };
        lines.push(text.value().trim().replace('`', ""));
    }
    assert!(!lines.is_empty(), "every item is documented");
    lines
}

/// A type as C has it, with a place for the name after it.
fn c_type(kind: &Type) -> String {
    match kind {
        Type::Ptr(pointer) => {
            let target = c_type(&pointer.elem);
            // What a pointer to constants points to is constant; `T *const *` is one to a pointer that is not changed.
            if pointer.const_token.is_none() {
                format!("{target}{}*", if target.ends_with('*') { "" } else { " " })
            } else if target.ends_with('*') {
                format!("{target}const *")
            } else {
                format!("const {target} *")
            }
        }
        Type::Path(path) => match path.path.segments.last().map(|segment| segment.ident.to_string()).as_deref() {
            Some("u8") => "uint8_t".into(),
            Some("u32") => "uint32_t".into(),
            Some("u64") => "uint64_t".into(),
            Some("i16") => "int16_t".into(),
            Some("i32") => "int32_t".into(),
            Some("f32") => "float".into(),
            Some("usize") => "size_t".into(),
            Some("c_char") => "char".into(),
            Some("c_void") => "void".into(),
            Some(name) if name.starts_with("smidgen_") => name.into(),
            other => panic!("{other:?} is no type of the ABI"),
        },
        _ => panic!("no type of the ABI"),
    }
}

fn result(kind: &ReturnType) -> String {
    match kind {
        ReturnType::Default => "void".into(),
        ReturnType::Type(_, kind) => c_type(kind),
    }
}

fn callback(kind: &Type) -> Option<(Vec<(String, String)>, String)> {
    let Type::Path(path) = kind else { return None };
    let option = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &option.arguments else { return None };
    let Some(GenericArgument::Type(Type::BareFn(function))) = arguments.args.first() else { return None };
    let arguments = function.inputs.iter().map(|argument| {
        let name = argument.name.as_ref().expect("arguments of callbacks have names").0.to_string();
        (name, c_type(&argument.ty))
    });
    Some((arguments.collect(), result(&function.output)))
}

fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for source in SOURCES {
        let path = here().join("src").join(format!("{source}.rs"));
        let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for item in file.items {
            match item {
                Item::Const(item) if item.ident.to_string().starts_with("SMIDGEN_") => {
                    let value = quote::ToTokens::to_token_stream(&item.expr).to_string();
                    let value = match (c_type(&item.ty).as_str(), value.as_str()) {
                        ("size_t", "usize :: MAX") => "SIZE_MAX".into(),
                        ("uint32_t", _) => format!("{value}u"),
                        ("smidgen_status", _) => value,
                        other => panic!("{other:?}"),
                    };
                    entries.push(Entry::Constant { name: item.ident.to_string(), docs: docs(&item.attrs), value });
                }
                Item::Type(item) => {
                    let (name, docs) = (item.ident.to_string(), docs(&item.attrs));
                    entries.push(match callback(&item.ty) {
                        Some((arguments, result)) => Entry::Callback { name, docs, arguments, result },
                        None => Entry::Alias { name, docs, target: c_type(&item.ty) },
                    });
                }
                Item::Struct(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                    let Fields::Named(fields) = &item.fields else { panic!("{}: fields have names", item.ident) };
                    let fields = fields.named.iter().filter(|field| matches!(field.vis, syn::Visibility::Public(_)));
                    let fields = fields.map(|field| {
                        let name = field.ident.as_ref().unwrap().to_string();
                        (name, c_type(&field.ty), docs(&field.attrs))
                    });
                    let fields = fields.collect();
                    entries.push(Entry::Record(Record {
                        name: item.ident.to_string(),
                        docs: docs(&item.attrs),
                        fields,
                    }));
                }
                Item::Fn(item) if item.sig.abi.is_some() => {
                    assert!(matches!(item.vis, syn::Visibility::Public(_)), "{}", item.sig.ident);
                    let arguments = item.sig.inputs.iter().map(|argument| {
                        let FnArg::Typed(argument) = argument else { panic!("no methods") };
                        let syn::Pat::Ident(name) = &*argument.pat else { panic!("arguments have names") };
                        (name.ident.to_string(), c_type(&argument.ty))
                    });
                    entries.push(Entry::Function(Function {
                        name: item.sig.ident.to_string(),
                        docs: docs(&item.attrs),
                        arguments: arguments.collect(),
                        result: result(&item.sig.output),
                    }));
                }
                _ => {}
            }
        }
    }
    entries
}

fn declared(kind: &str, name: &str) -> String {
    format!("{kind}{}{name}", if kind.ends_with('*') { "" } else { " " })
}

fn list(arguments: &[(String, String)]) -> String {
    if arguments.is_empty() {
        return "void".into();
    }
    arguments.iter().map(|(name, kind)| declared(kind, name)).collect::<Vec<_>>().join(", ")
}

fn comment(out: &mut String, indent: &str, docs: &[String]) {
    let text = docs.join(" ");
    let (mut line, mut first) = (format!("{indent}/* "), true);
    for word in text.split_whitespace() {
        if line.len() + word.len() > 118 {
            writeln!(out, "{}", line.trim_end()).unwrap();
            (line, first) = (format!("{indent} * "), true);
        }
        write!(line, "{}{word}", if first { "" } else { " " }).unwrap();
        first = false;
    }
    writeln!(out, "{line} */").unwrap();
}

fn header(entries: &[Entry]) -> String {
    let mut out =
        format!("{INTRODUCTION}\n#ifndef SMIDGEN_H\n#define SMIDGEN_H\n\n#include <stddef.h>\n#include <stdint.h>\n");
    out.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for entry in entries {
        out.push('\n');
        match entry {
            Entry::Constant { name, docs, value } => {
                comment(&mut out, "", docs);
                writeln!(out, "#define {name} {value}").unwrap();
            }
            Entry::Alias { name, docs, target } => {
                comment(&mut out, "", docs);
                writeln!(out, "typedef {target} {name};").unwrap();
            }
            Entry::Callback { name, docs, arguments, result } => {
                comment(&mut out, "", docs);
                writeln!(out, "typedef {}(*{name})({});", declared(result, ""), list(arguments)).unwrap();
            }
            Entry::Record(Record { name, docs, fields }) => {
                comment(&mut out, "", docs);
                if fields.is_empty() {
                    writeln!(out, "typedef struct {name} {name};").unwrap();
                    continue;
                }
                writeln!(out, "typedef struct {name} {{").unwrap();
                for (field, kind, docs) in fields {
                    comment(&mut out, "    ", docs);
                    writeln!(out, "    {};", declared(kind, field)).unwrap();
                }
                writeln!(out, "}} {name};").unwrap();
            }
            Entry::Function(Function { name, docs, arguments, result }) => {
                comment(&mut out, "", docs);
                writeln!(out, "{}({});", declared(result, name), list(arguments)).unwrap();
            }
        }
    }
    out.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    out
}

/// Size and offsets of a struct's fields by C's rules, for pointers of so many bytes.
fn layout(fields: &[(String, String, Vec<String>)], pointer: usize) -> String {
    let (mut at, mut most, mut text) = (0_usize, 1, String::new());
    for (name, kind, _) in fields {
        let size = match kind.as_str() {
            "uint64_t" => 8,
            "uint32_t" | "int32_t" | "float" => 4,
            _ if kind.ends_with('*') || kind.ends_with("_fn") || kind == "size_t" => pointer,
            other => panic!("{other}"),
        };
        at = at.next_multiple_of(size);
        write!(text, " {name}@{at}").unwrap();
        at += size;
        most = most.max(size);
    }
    if fields.iter().any(|(name, ..)| name == "size") && pointer == 8 {
        assert_eq!(
            at,
            at.next_multiple_of(most),
            "padding at the end would be read as fields of a newer version: {text}"
        );
    }
    format!("{} bytes:{text}", at.next_multiple_of(most))
}

fn snapshot(entries: &[Entry]) -> String {
    let mut lines = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Constant { name, value, .. } => lines.insert(name, format!("constant {name} {value}")),
            Entry::Alias { name, target, .. } => lines.insert(name, format!("type {name} {target}")),
            Entry::Callback { name, arguments, result, .. } => {
                lines.insert(name, format!("callback {name} ({}) -> {result}", list(arguments)))
            }
            Entry::Record(Record { name, fields, .. }) if fields.is_empty() => {
                lines.insert(name, format!("opaque {name}"))
            }
            Entry::Record(Record { name, fields, .. }) => {
                let kinds: Vec<_> = fields.iter().map(|(name, kind, _)| declared(kind, name)).collect();
                let text = format!(
                    "struct {name} {{ {} }}\n  64 bits: {}\n  32 bits: {}",
                    kinds.join("; "),
                    layout(fields, 8),
                    layout(fields, 4)
                );
                lines.insert(name, text)
            }
            Entry::Function(Function { name, arguments, result, .. }) => {
                lines.insert(name, format!("function {name} ({}) -> {result}", list(arguments)))
            }
        };
    }
    let version = lines.remove(&"SMIDGEN_ABI_VERSION".to_owned()).unwrap();
    let rest: Vec<String> = lines.into_values().collect();
    format!("{version}\n{}\n", rest.join("\n"))
}

/// A C program that does not compile unless the layouts are those of the snapshot.
fn proof(entries: &[Entry]) -> String {
    let mut out = String::from(
        "/* Generated, as smidgen.h is: the layouts of the snapshot, which a compiler checks. */\n#include \"smidgen.h\"\n\n",
    );
    out.push_str("#define HOLDS(name, condition) typedef char name[(condition) ? 1 : -1]\n\n");
    for entry in entries {
        let Entry::Record(Record { name, fields, .. }) = entry else { continue };
        if fields.is_empty() {
            continue;
        }
        let mut both = Vec::new();
        for pointer in [8, 4] {
            let text = layout(fields, pointer);
            let (size, offsets) = text.split_once(" bytes:").unwrap();
            let mut checks = vec![(format!("{name}_whole"), format!("sizeof({name}) == {size}"))];
            for offset in offsets.split_whitespace() {
                let (field, at) = offset.split_once('@').unwrap();
                checks.push((format!("{name}_{field}"), format!("offsetof({name}, {field}) == {at}")));
            }
            both.push(checks);
        }
        for ((id, wide), (_, narrow)) in both[0].iter().zip(&both[1]) {
            writeln!(out, "HOLDS({id}, sizeof(void *) == 8 ? {wide} : {narrow});").unwrap();
        }
    }
    out
}

fn same(path: &str, text: &str) {
    let path = here().join(path);
    if std::env::var("SMIDGEN_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is stale; SMIDGEN_BLESS=1 writes it anew", path.display());
}

#[test]
fn the_header_is_what_the_sources_say() {
    same("include/smidgen.h", &header(&entries()));
}

/// An ABI that changes needs another version: the snapshot is not written anew while the version is the old one.
#[test]
fn the_snapshot_of_the_abi_is_what_the_sources_say() {
    let text = snapshot(&entries());
    let old = std::fs::read_to_string(here().join("abi.txt")).unwrap_or_default();
    let version = |text: &str| text.lines().next().map(str::to_owned);
    assert!(old.is_empty() || old == text || version(&old) != version(&text), "the ABI changed, its version did not");
    same("abi.txt", &text);
    same("tests/layout.c", &proof(&entries()));
}
