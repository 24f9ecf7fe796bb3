//! HOSTILE.md, the rows that concern the host: 52 chat templates that recurse, loop or write without end, 54 split files, 56
//! files that change; and what else a path can name.

use smidgen_gguf::{NewTensor, TensorType, Writer};
use smidgen_host::{ChatTemplate, Error, Message, ModelFile};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory that lasts as long as the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("smidgen-hostile-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a part with the given `split.no`, `split.count`, `split.tensors.count` and one tensor for each name.
    fn part(&self, name: &str, split: Option<[u16; 3]>, tensors: &[&str]) -> PathBuf {
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama").unwrap();
        if let Some([number, count, total]) = split {
            writer.metadata("split.no", number).unwrap();
            writer.metadata("split.count", count).unwrap();
            writer.metadata("split.tensors.count", i32::from(total)).unwrap();
        }
        let data = [0; 8];
        let tensors: Vec<_> =
            tensors.iter().map(|name| NewTensor { name, dims: &[2], kind: TensorType::F32, data: &data }).collect();
        let path = self.path(name);
        fs::write(&path, writer.write(&tensors, Vec::new()).unwrap()).unwrap();
        path
    }

    /// Three good parts with four tensors.
    fn three(&self) {
        self.part("m-00001-of-00003.gguf", Some([0, 3, 4]), &["a", "b"]);
        self.part("m-00002-of-00003.gguf", Some([1, 3, 4]), &["c"]);
        self.part("m-00003-of-00003.gguf", Some([2, 3, 4]), &["d"]);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The error of opening `path`, which must name `named` on one line.
fn refused(path: &Path, named: &Path) -> Error {
    let read = ModelFile::open(path).and_then(|file| file.parts().map(|parts| parts.len()));
    let error = read.err().unwrap_or_else(|| panic!("{} was opened", path.display()));
    let text = error.to_string();
    assert!(text.contains(&named.display().to_string()) && !text.contains('\n'), "{text}");
    error
}

#[test]
fn paths_that_are_no_model() {
    let dir = Scratch::new();
    assert!(matches!(refused(&dir.path("absent.gguf"), &dir.path("absent.gguf")), Error::Read { .. }));
    assert!(matches!(refused(&dir.0, &dir.0), Error::NotAFile { .. }));
    let empty = dir.path("empty.gguf");
    fs::write(&empty, "").unwrap();
    assert!(matches!(refused(&empty, &empty), Error::EmptyFile { .. }));
    let text = dir.path("text.gguf");
    fs::write(&text, "this is not a model, but it is long enough to be one").unwrap();
    assert!(matches!(refused(&text, &text), Error::NotGguf { .. }));
    #[cfg(target_os = "linux")]
    assert!(matches!(refused(Path::new("/dev/zero"), Path::new("/dev/zero")), Error::NotAFile { .. }));
}

#[test]
fn row_54_any_part_opens_all_in_order() {
    let dir = Scratch::new();
    dir.three();
    for part in 1..=3 {
        let file = ModelFile::open(dir.path(&format!("m-0000{part}-of-00003.gguf"))).unwrap();
        let names: Vec<String> =
            file.paths().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
        assert_eq!((file.bytes().len(), file.parts().unwrap().len()), (3, 3));
        assert_eq!(file.size(), file.bytes().iter().map(|bytes| bytes.len() as u64).sum::<u64>());
        assert_eq!(file.bytes()[1], fs::read(dir.path("m-00002-of-00003.gguf")).unwrap());
    }
    let single = dir.part("s-00001-of-00001.gguf", None, &["a"]);
    assert_eq!(ModelFile::open(single).unwrap().parts().unwrap().len(), 1);
}

#[test]
fn row_54_a_part_is_missing_or_damaged() {
    let dir = Scratch::new();
    dir.three();
    let (first, second) = (dir.path("m-00001-of-00003.gguf"), dir.path("m-00002-of-00003.gguf"));
    let good = fs::read(&second).unwrap();
    fs::write(&second, &good[..good.len() / 2]).unwrap();
    assert!(matches!(refused(&first, &second), Error::NotGguf { .. }));
    fs::remove_file(&second).unwrap();
    assert!(matches!(refused(&first, &second), Error::Read { .. }));
}

#[test]
fn row_54_counts_that_disagree() {
    let dir = Scratch::new();
    let metadata = |path: &Path, named: &Path, wanted: &str, seen: Option<u64>, must: u64| match refused(path, named) {
        Error::SplitMetadata { key, found, expected, .. } => assert_eq!((key, found, expected), (wanted, seen, must)),
        other => panic!("{other}"),
    };
    // The name says 3, the file 2; it is enough that the part asked for disagrees, the others need not exist.
    let path = dir.part("a-00001-of-00003.gguf", Some([0, 2, 1]), &["a"]);
    metadata(&path, &path, "split.count", Some(2), 3);
    let path = dir.part("b-00001-of-99999.gguf", Some([0, 2, 1]), &["a"]);
    metadata(&path, &path, "split.count", Some(2), 99_999);
    let path = dir.part("c-00001-of-00002.gguf", None, &["a"]);
    metadata(&path, &path, "split.count", None, 2);
    // The other part disagrees.
    let first = dir.part("d-00001-of-00002.gguf", Some([0, 2, 2]), &["a"]);
    let second = dir.part("d-00002-of-00002.gguf", Some([1, 3, 2]), &["b"]);
    metadata(&first, &second, "split.count", Some(3), 2);
    // Parts in the wrong order.
    let first = dir.part("e-00001-of-00002.gguf", Some([1, 2, 2]), &["a"]);
    dir.part("e-00002-of-00002.gguf", Some([0, 2, 2]), &["b"]);
    metadata(&first, &first, "split.no", Some(1), 0);
    // More tensors promised than there are.
    let first = dir.part("f-00001-of-00002.gguf", Some([0, 2, 3]), &["a"]);
    dir.part("f-00002-of-00002.gguf", Some([1, 2, 3]), &["b"]);
    metadata(&first, &first, "split.tensors.count", Some(3), 2);
    // A tensor in two parts.
    let first = dir.part("g-00001-of-00002.gguf", Some([0, 2, 2]), &["a"]);
    let second = dir.part("g-00002-of-00002.gguf", Some([1, 2, 2]), &["a"]);
    assert!(matches!(refused(&first, &second), Error::SplitDuplicate { tensor, .. } if tensor == "a"));
    // A part under a name that does not say so.
    let path = dir.part("h.gguf", Some([0, 2, 2]), &["a"]);
    assert!(matches!(refused(&path, &path), Error::SplitUnnamed { count: 2, .. }));
}

#[test]
fn row_54_numbers_out_of_order() {
    let dir = Scratch::new();
    for name in ["m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-00001-of-00000.gguf", "m-99999-of-00001.gguf"] {
        let path = dir.part(name, Some([0, 2, 1]), &["a"]);
        assert!(matches!(refused(&path, &path), Error::SplitPart { .. }));
    }
}

/// The other names come from the name that was given, never from the file, so no file can lead to another place.
#[test]
fn row_54_no_path_traversal() {
    let dir = Scratch::new();
    fs::create_dir_all(dir.path("inner")).unwrap();
    dir.part("..-00002-of-00002.gguf", Some([1, 2, 2]), &["outside"]);
    let first = dir.part("inner/..-00001-of-00002.gguf", Some([0, 2, 2]), &["a"]);
    let second = dir.path("inner/..-00002-of-00002.gguf");
    assert!(matches!(refused(&first, &second), Error::Read { .. }));
}

/// Row 56: every length at which a file could have been cut before it was opened is refused with an error, and the mapping is
/// never longer than the file. Truncation after that cannot be caught; `ModelFile` documents what happens.
#[test]
fn row_56_cut_before_opening() {
    let dir = Scratch::new();
    let path = dir.part("m.gguf", None, &["a"]);
    let good = fs::read(&path).unwrap();
    assert_eq!(ModelFile::open(&path).unwrap().bytes(), [&good[..]]);
    // The last tensor ends 24 bytes before the padded end of the file.
    for length in (0..good.len() - 24).step_by(7) {
        fs::write(&path, &good[..length]).unwrap();
        refused(&path, &path);
    }
}

/// A file replaced by renaming another over it leaves the mapped one whole.
#[cfg(unix)]
#[test]
fn row_56_replaced_while_open() {
    let dir = Scratch::new();
    let path = dir.part("m.gguf", None, &["a"]);
    let good = fs::read(&path).unwrap();
    let file = ModelFile::open(&path).unwrap();
    fs::write(dir.path("new"), "short").unwrap();
    fs::rename(dir.path("new"), &path).unwrap();
    assert_eq!(file.bytes(), [&good[..]]);
}

fn render(source: &str) -> Result<String, Error> {
    let message = Message { role: "user", content: "hello" };
    ChatTemplate::parse(source, "<s>", "</s>")?.render(&[message], true)
}

#[test]
fn row_52_recursion() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        &format!("{{{{ {}1{} }}}}", "(".repeat(900), ")".repeat(900)),
        &format!("{{{{ {}1{} }}}}", "[".repeat(900), "]".repeat(900)),
        &format!("{}x{}", "{% if true %}".repeat(5_000), "{% endif %}".repeat(5_000)),
        "{% set n = namespace(x=[]) %}{% for i in range(100) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}",
    ] {
        assert!(matches!(render(source), Err(Error::TemplateDepth)), "{:.80}", source);
    }
}

/// A namespace in itself is walked by nobody.
#[test]
fn row_52_cycles() {
    for source in [
        "{% set n = namespace() %}{% set n.a = n %}{{ n }}",
        "{% set n = namespace() %}{% set n.a = [n] %}{% set m = namespace() %}{% set m.a = [m] %}{{ n == m }}",
        "{% set n = namespace(), 1 %}{% set m = n[0] %}{% set m.a = m %}{{ m }}",
        "{% set n = namespace(a=1) %}{% with m = n %}{% set m.a = m %}{{ [m] | sort }}{{ [m, n] | min }}{{ [n, m] | unique | list }}{% endwith %}",
        "{% for m in [namespace()] %}{% set m.a = m %}{{ m }}{% endfor %}",
        "{% set make = namespace %}{% set n = make() %}{% set n.a = n %}{{ n }}{{ {n: 1} }}",
        "{% set n = namespace() %}{% set n.a = [[n]] %}{% set n.b = n.a == [[n.a]] %}{{ n.a | string }}{{ [n, n.a[0][0]] | unique | list }}",
    ] {
        assert!(render(source).is_ok(), "{source}: {:?}", render(source));
    }
    assert!(matches!(
        render("{% set n = namespace() %}{% set n.a = n %}{{ n | tojson }}"),
        Err(Error::TemplateRender { .. })
    ));
}

#[test]
fn row_52_loop_bombs() {
    let grow = |step: &str| {
        format!(
            "{{% set n = namespace(s='xxxxxxxx', l=[1, 2]) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{{{{ n.l | length }}}}"
        )
    };
    for source in [
        "{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000000) | length }}",
        "{{ 'x' * 100000000 }}",
        "{% set a = [0] %}{% set a = a * 100000000 %}{{ a | string | length }}",
        "{% set a = range(9000) %}{% for i in range(9000) %}{% set b = {a: i} %}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for i in range(9000) %}{% set n.x = [n.x] %}{% endfor %}",
        "{{ 'a' | indent(1000000000) }}",
        &grow("{% set n.s = n.s ~ n.s %}"),
        &grow("{% set n.s = n.s + n.s %}"),
        &grow("{% set n.s = n.s * 9 %}"),
        &grow("{% set n.s = n.s | replace('x', 'xxxxx') %}"),
        &grow("{% set n.s = n.s.replace('x', 'xxxxx') %}"),
        &grow("{% set n.l = n.l + n.l %}"),
        &grow("{% set n.l = n.l * 9 %}"),
        &grow("{% set n.l = [n.l, n.l] | sum(start=[]) %}"),
        &grow("{% set n.s = [n.s, n.s] | join %}"),
        &grow("{% set n.s = n.s.join([n.s, n.s]) %}"),
        &grow("{% set n.s = n.s | e ~ n.s %}"),
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '7'.zfill(1000000000) }}",
        "{% set x = 'x' * 9000 %}{% for i in range(9000) %}{% for c in x %}{% endfor %}{% endfor %}",
        "{% set x = 'x' * 9000 %}{% for i in range(9000) %}{% set y = x[::-1] %}{% endfor %}",
        "{% set x = range(9000) %}{% for i in range(9000) %}{% set y = x.index(8999) %}{% set z = i in x %}{% endfor %}",
    ] {
        assert!(matches!(render(source), Err(Error::TemplateSteps)), "{source}: {:?}", render(source));
    }
    for source in [
        "{{ [0] * 100000000 }}",
        "{{ ([0]) * 100000000 == [1] }}",
        "{{ 1000 * (0, 1) }}",
        "{{ -[[1] * 1000] * 1000 }}",
        "{{ 9 * ('x', [1][0]) }}",
        &format!("{{{{ 1{} }}}}", "+1".repeat(1_000)),
    ] {
        assert!(matches!(render(source), Err(Error::TemplateSyntax { .. })), "{source:.80}");
    }
    for source in [
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ [1] | chain([1]) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%%%1000000000d' % 1 }}",
        "{{ '{{{:1000000000}'.format(1) }}",
        "{{ '% 1000000000d' % 1 }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '%(1)1000000000d' % 1 }}",
    ] {
        assert!(matches!(render(source), Err(Error::TemplateRender { .. })), "{source}");
    }
}

#[test]
fn row_52_output_bombs() {
    let wide = "x".repeat(2_000);
    let source = format!("{{% for i in range(300) %}}{wide}{{% endfor %}}");
    assert!(matches!(render(&source), Err(Error::TemplateOutput { most: 262_144.. })));
    let source = format!("{{% for i in range(9000) %}}{wide}{{% endfor %}}");
    assert!(matches!(render(&source), Err(Error::TemplateSteps)));
    assert!(matches!(render(&"x".repeat(1 << 20)), Err(Error::TemplateSize { bytes: 1_048_576, .. })));
}

/// Every prefix of a template, and odd fragments of one, give a result or an error.
#[test]
fn row_52_broken_sources() {
    let source = "{%- set n = namespace(a='x') -%}{% for m in messages %}{{ '<' ~ m['role'] + '>\\n' }}{# note #}{% generation %}\
                  {{ m.content | trim }}{% endgeneration %}{% endfor %}{% raw %}{{{% endraw %}{{ n.a }}é";
    for (end, _) in source.char_indices() {
        let _ = render(&source[..end]);
        let _ = render(&source[end..]);
    }
    for odd in [
        "\0",
        "{{ '\0' }}",
        "{{ 1_000 }}",
        "{{ 1e999 }}",
        "{{ 99999999999999999999999999999999999999999999 }}",
        "{{ '\\ud800' }}",
    ] {
        let _ = render(odd);
    }
    assert!(render(&"\n".repeat(100_000)).is_ok());
}
