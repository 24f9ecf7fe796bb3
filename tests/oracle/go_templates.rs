//! Chat templates in Go's form against Go's own `text/template`, set up as Ollama does (`go_templates.go`): every case of the host's table with every
//! conversation. Without Go this says that it is skipped, and fails where Go is expected.

use serde_json::Value;
use smidgen_host::{ChatTemplate, Data};
use smidgen_tests::Random;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The 14th of November 2023.
const SECONDS: u64 = 1_700_000_000;
/// Templates that are refused where Go writes something, with what the refusal says.
const REFUSED: &[(&str, &str)] = &[("{{ index .Messages 4 }}", "a message cannot be printed")];
/// What refusals of altered templates say where Go may write something.
const LIMITS: &[&str] = &[
    "cannot be printed",
    "not supported",
    "cuts a character",
    "of printf is no integer",
    "printf cannot print",
    "nil has no field",
    "i\" cannot be read",
];
/// Templates that are made of those of the table.
const ALTERED: usize = 5000;

fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::None,
        Value::Bool(value) => Data::Bool(*value),
        Value::Number(value) => value.as_i64().map_or_else(|| Data::Float(value.as_f64().unwrap()), Data::Int),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Data::List(items.iter().map(data).collect()),
        Value::Object(entries) => Data::Map(entries.iter().map(|(key, value)| (key.clone(), data(value))).collect()),
    }
}

/// What our own rendering gives for a conversation of the table.
fn rendered(template: &Result<ChatTemplate, String>, conversation: &Value) -> Result<String, String> {
    let mut variables = vec![("add_generation_prompt", Data::Bool(true))];
    for (key, variable) in [("messages", "messages"), ("tools", "tools"), ("think", "Think")] {
        variables.extend(conversation.get(key).map(|value| (variable, data(value))));
    }
    let template = template.as_ref().map_err(Clone::clone)?;
    template.render_data(&variables, SECONDS).map_err(|error| error.to_string())
}

fn parsed(source: &str) -> Result<ChatTemplate, String> {
    ChatTemplate::of_go(source).map_err(|error| error.to_string())
}

/// The results of Go for each case of a file, by conversation; none if there is no Go.
fn results_of_go(conversations: &Path, cases: &Path) -> Option<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/go_templates.go");
    let output = match Command::new("go").arg("run").args([&script, conversations, cases]).output() {
        Ok(output) => output,
        Err(error) => {
            let expected = std::env::var("SMIDGEN_EXPECT_GO").is_ok_and(|value| value == "1");
            assert!(!expected, "SMIDGEN_EXPECT_GO=1, but go cannot be run: {error}");
            // Not `println`, which a passing test does not show.
            let _ = writeln!(std::io::stdout(), "SKIPPED: comparison of chat templates with Go (go: {error})");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    Some(lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The paths of the host's conversations and cases.
fn table() -> [PathBuf; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/host/src/chat/go");
    ["conversations.json", "cases.txt"].map(|name| folder.join(name))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn texts_are_those_of_go() {
    let [conversations, cases] = table();
    let Some(written) = results_of_go(&conversations, &cases) else { return };
    let conversations: Value = serde_json::from_str(&read(&conversations)).unwrap();
    let cases = read(&cases);
    let cases: Vec<&str> = cases.lines().collect();
    assert_eq!(cases.len(), 3 * written.len(), "results for every case");
    let (mut wrong, mut refused, mut texts, mut errors) = (Vec::new(), Vec::new(), 0, 0);
    for (case, results) in cases.chunks(3).zip(&written) {
        let [of, source, kept] = case else { panic!("a case has three lines") };
        let source: String = serde_json::from_str(source).unwrap();
        let template = parsed(&source);
        let kept = if *kept == "!" { Value::Null } else { serde_json::from_str(kept).unwrap() };
        assert_eq!(results[of], kept, "{source}: what the table has, and what Go writes");
        for (name, conversation) in conversations.as_object().unwrap() {
            match (rendered(&template, conversation), results[name].as_str()) {
                (Ok(found), Some(expected)) if found == expected => texts += 1,
                (Err(_), None) => errors += 1,
                (Err(error), Some(_))
                    if REFUSED.iter().any(|(listed, why)| *listed == source && error.contains(why)) =>
                {
                    refused.push(source.clone());
                }
                (found, expected) => wrong.push(format!("{name}: {source}\n   is {found:?}\n  not {expected:?}")),
            }
        }
    }
    let differ = wrong.len();
    let _ =
        writeln!(std::io::stdout(), "RAN: Go's templates, {texts} texts and {errors} errors agree, {differ} do not");
    assert!(REFUSED.iter().all(|(source, _)| refused.iter().any(|refused| refused == source)), "one is not refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(texts > 600 && errors > 400, "{texts} texts, {errors} errors");
}

/// Pieces of a template: words, single signs, and spaces in a row.
fn pieces(source: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let kind = |c: char| (c.is_alphanumeric(), c == ' ');
        let end = if first.is_alphanumeric() || first == ' ' {
            rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len())
        } else if rest.starts_with("{{") || rest.starts_with("}}") {
            2
        } else {
            first.len_utf8()
        };
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// A template of the table with some of its pieces left out, doubled, or replaced by pieces of others.
fn altered(source: &str, others: &[&str], random: &mut Random) -> String {
    let mut all = pieces(source);
    for _ in 0..[1, 1, 1, 2, 3][random.below(5)] {
        if all.is_empty() {
            break;
        }
        let at = random.below(all.len());
        let other = others[random.below(others.len())];
        match random.below(5) {
            0 => drop(all.remove(at)),
            1 => all.insert(at, all[at]),
            2 => all.insert(at, other),
            3 => {
                let with = random.below(all.len());
                all.swap(at, with);
            }
            _ => all[at] = other,
        }
    }
    all.concat()
}

#[test]
fn altered_templates_are_as_in_go() {
    let [conversations, cases] = table();
    let text = read(&cases);
    let mut sources: Vec<String> =
        text.lines().skip(1).step_by(3).map(|source| serde_json::from_str(source).unwrap()).collect();
    let others: Vec<String> = sources.iter().flat_map(|source| pieces(source)).map(str::to_owned).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let mut random = Random(7);
    sources = (0..ALTERED).map(|i| altered(&sources[i % sources.len()], &others, &mut random)).collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("altered-templates.txt");
    let lines = sources.iter().map(|source| format!("chat\n{}\n!\n", serde_json::to_string(source).unwrap()));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let Some(written) = results_of_go(&conversations, &file) else { return };
    let conversations: Value = serde_json::from_str(&read(&conversations)).unwrap();
    assert_eq!(written.len(), ALTERED);
    let (mut wrong, mut texts, mut errors, mut refused) = (Vec::new(), 0, 0, 0);
    for (source, results) in sources.iter().zip(&written) {
        let template = parsed(source);
        for (name, conversation) in conversations.as_object().unwrap() {
            match (rendered(&template, conversation), results[name].as_str()) {
                (Ok(found), Some(expected)) if found == expected => texts += 1,
                (Err(_), None) => errors += 1,
                // Go before 1.22 has no ranges over numbers.
                (Ok(_), None) if results[name].is_number() => refused += 1,
                (Err(error), Some(_)) if LIMITS.iter().any(|limit| error.contains(limit)) => refused += 1,
                (found, expected) => wrong.push(format!("{name}: {source}\n   is {found:?}\n  not {expected:?}")),
            }
        }
    }
    let differ = wrong.len();
    let _ = writeln!(
        std::io::stdout(),
        "RAN: altered templates, {texts} texts and {errors} errors agree, {refused} are refused, {differ} do not agree"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(texts > ALTERED && errors > ALTERED && refused < texts / 10, "{texts} texts, {errors} errors");
}
