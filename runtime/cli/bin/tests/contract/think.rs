//! `smidgen run --think` and `--show-thinking`.

use crate::files::instruct;
use crate::{Scratch, fails, smidgen, stdout, with_stdin};
use smidgen_tests::seeded::{File, Meta};

/// Opens reasoning in the prompt, or an empty one where thinking is switched off, and repeats reasoning in brackets.
pub(crate) const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.reasoning_content %}[{{ m.reasoning_content }}]\
     {% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\
     {% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}{% endif %}";
pub(crate) const PROMPT: &str = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n<think>\n";
const FLAGS: [&str; 4] = ["--temp", "0", "-n", "30"];

pub(crate) fn with_template(template: &'static str) -> File {
    instruct().set("tokenizer.chat_template", Meta::Str(template)).set("llama.context_length", Meta::U32(1_000))
}

/// The ids that a model writes after a prompt.
fn ids(model: &str, prompt: &str) -> Vec<u32> {
    let words = [&["run", model, "--raw", "--ids", "-p", prompt][..], &FLAGS].concat();
    serde_json::from_str(&stdout(&words)).unwrap()
}

/// A model whose reasoning ends somewhere after `prompt`: a token that it writes there is spelled as the end.
pub(crate) fn ending(file: File, prompt: &str, close: &'static str, kind: i32) -> File {
    let (_dir, model) = Scratch::with(&file);
    let written = ids(&model, prompt);
    // A byte that no prompt here has.
    let used = format!("{PROMPT}[]/us er<|START_THINKING|>");
    let free = |id: &u32| u8::try_from(id.saturating_sub(3)).is_ok_and(|byte| !used.as_bytes().contains(&byte));
    let at = 4 + written[4..].iter().position(free).expect("a byte that no prompt has");
    let id = written[at] as usize;
    let mut file = file;
    for (key, value) in &mut file.metadata {
        match (key.as_str(), value) {
            ("tokenizer.ggml.tokens", Meta::Strs(tokens)) => tokens[id] = close.to_owned(),
            ("tokenizer.ggml.token_type", Meta::I32s(kinds)) => kinds[id] = kind,
            _ => {}
        }
    }
    file
}

/// Stdout and stderr of a command that succeeds.
pub(crate) fn both(words: &[&str], input: &str) -> (String, String) {
    let output = with_stdin(words, input.as_bytes());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {told}");
    (String::from_utf8(output.stdout).unwrap(), told)
}

fn run(model: &str, more: &[&str]) -> (String, String) {
    both(&[&["run", model, "-p", "hello"], &FLAGS[..], more].concat(), "")
}

fn raw(model: &str, prompt: &str) -> String {
    stdout(&[&["run", model, "--raw", "-p", prompt], &FLAGS[..]].concat())
}

#[test]
fn reasoning_goes_to_stderr_and_the_answer_to_stdout() {
    let (_dir, model) = Scratch::with(&ending(with_template(TEMPLATE), PROMPT, "</think>", 4));
    let whole = raw(&model, PROMPT);
    let (reasoning, after) = whole.split_once("</think>").expect("an end");
    let answer = after.trim_start_matches('\n');
    assert!(!reasoning.is_empty() && !answer.is_empty());
    let expected = (answer.to_owned(), format!("{reasoning}\n"));
    assert_eq!(run(&model, &[]), expected);
    assert_eq!(run(&model, &["--think", "on"]), expected);
    let shown = format!("<think>\n{reasoning}</think>\n{answer}");
    assert_eq!(run(&model, &["--show-thinking"]), (shown, String::new()));
    // Stopped within the reasoning, there is no answer.
    let short = run(&model, &["-n", "3"]);
    assert!(short.0.is_empty() && reasoning.starts_with(short.1.trim_end_matches('\n')), "{short:?}");
    let without = raw(&model, &format!("{PROMPT}</think>\n\n"));
    assert_eq!(run(&model, &["--think", "off"]), (without, String::new()));
    let (json, told) = run(&model, &["--ids"]);
    assert!(told.is_empty() && json.starts_with('['), "{json} {told}");
    // With beams the answer comes at once.
    let (text, told) = run(&model, &["--beams", "2"]);
    let (shown, none) = run(&model, &["--beams", "2", "--show-thinking"]);
    assert!(none.is_empty() && shown.starts_with("<think>\n") && shown.ends_with(&text), "{shown}");
    assert!(shown.contains(told.trim_end_matches('\n')), "{shown} {told}");
}

#[test]
fn markers_may_be_control_tokens() {
    const OPENING: &str = "{% for m in messages %}{{ m.content }}\n{% endfor %}<|START_THINKING|>";
    let close = "<|END_THINKING|>";
    let (_dir, model) = Scratch::with(&ending(with_template(OPENING), "hello\n<|START_THINKING|>", close, 3));
    let json = serde_json::to_string(&ids(&model, "hello\n<|START_THINKING|>")).unwrap();
    let all: Vec<u32> = serde_json::from_str(&json).unwrap();
    let text = |ids: &[u32]| stdout(&["tokenize", &model, "--decode", "-p", &serde_json::to_string(ids).unwrap()]);
    let end: Vec<u32> = serde_json::from_str(&stdout(&["tokenize", &model, "--special", "-p", close])).unwrap();
    let at = all.iter().position(|id| *id == end[0]).expect("an end");
    let strip = |ids: &[u32]| text(ids).replace(close, "");
    let (answer, told) = run(&model, &[]);
    assert_eq!(told, format!("{}\n", strip(&all[..at])));
    assert_eq!(answer, strip(&all[at + 1..]));
}

#[test]
fn a_conversation_keeps_the_reasoning_for_the_template() {
    let (_dir, model) = Scratch::with(&ending(with_template(TEMPLATE), PROMPT, "</think>", 4));
    let (answer, reasoning) = run(&model, &[]);
    let chat = [&["run", &model, "--chat"], &FLAGS[..]].concat();
    let (said, told) = both(&chat, "hello\nus er\n");
    let second = said.strip_prefix(&format!("{answer}\n")).unwrap().strip_suffix('\n').unwrap();
    let before = PROMPT.strip_suffix("<think>\n").unwrap();
    let prompt = format!("{before}{answer}[{}]<|im_end|>\n<|im_start|>user\nus er{}", reasoning.trim(), &PROMPT[22..]);
    let whole = raw(&model, &prompt);
    let (thought, after) = whole.split_once("</think>").unwrap_or((&whole, ""));
    assert_eq!(second, after.trim_start_matches('\n'), "{prompt}");
    assert!(told.starts_with(&reasoning) && told.ends_with(&format!("{}\n", thought.trim_end_matches('\n'))), "{told}");
}

#[test]
fn what_cannot_be_switched_is_refused_by_name() {
    let (_dir, model) = Scratch::with(&instruct());
    for think in ["on", "off"] {
        let told = fails(&["run", &model, "-p", "hello", "--think", think], &["--think", &model, "no switch"]);
        assert!(told.len() < 300, "{told}");
        assert_eq!(smidgen(&["run", &model, "-p", "hello", "--think", think]).output().unwrap().status.code(), Some(1));
    }
    fails(&["run", &model, "-p", "hello", "--think", "maybe"], &["--think", "maybe"]);
    fails(&["run", &model, "-p", "hello", "--think", "on", "--raw"], &["--think", "--raw"]);
    fails(&["run", &model, "-p", "hello", "--show-thinking", "--ids"], &["--show-thinking", "--ids"]);
    let (_dir, model) = Scratch::with(&instruct().without("tokenizer.chat_template"));
    fails(&["run", &model, "-p", "hello", "--think", "off"], &["--think", &model, "no chat template"]);
    let effort = "{{ messages[0].content }}{{ reasoning_effort if reasoning_effort is defined else 'medium' }}";
    let (_dir, model) = Scratch::with(&with_template(effort));
    fails(&["run", &model, "-p", "hello", "--think", "off"], &["--think off", &model, "reasoning_effort"]);
    stdout(&["run", &model, "-p", "hello", "-n", "2", "--think", "on"]);
}
