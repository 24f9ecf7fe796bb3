use super::*;

fn markers(pairs: &[(&'static str, &'static str)]) -> Markers {
    Markers { pairs: pairs.to_vec(), control: false }
}

/// The parts of a text cut into pieces of `size` characters; neighbours of a kind are joined.
fn parts(mut splitter: Splitter, text: &str, size: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut kind) = (String::new(), ' ');
    let mut each = |part: Part| {
        let (next, text) = match part {
            Part::Open(text) => ('o', text),
            Part::Reasoning(text) => ('r', text),
            Part::Close(text) => ('c', text),
            Part::Answer(text) => ('a', text),
        };
        if next != kind {
            out.extend(['|', next, ':']);
            kind = next;
        }
        out.push_str(text);
    };
    for piece in chars.chunks(size) {
        splitter.push(&piece.iter().collect::<String>(), &mut each);
    }
    splitter.finish(&mut each);
    out
}

#[test]
fn reasoning_is_told_from_the_answer_across_pieces() {
    let think = markers(&[("<think>", "</think>"), ("[THINK]", "[/THINK]")]);
    for (prompt, text, expected) in [
        ("", "<think>two\n</think>\n\n4.", "|o:<think>|r:two\n|c:</think>|a:4."),
        ("", "\n <think>two</think> 4", "|o:<think>|r:two|c:</think>|a: 4"),
        ("assistant\n<think>\n", "two</think>4", "|r:two|c:</think>|a:4"),
        ("<think>\n\n</think>\n\n", "4 <think>", "|a:4 <think>"),
        ("", "[THINK]a</think>b[/THINK]c", "|o:[THINK]|r:a</think>b|c:[/THINK]|a:c"),
        ("", "4 <think>x</think>", "|a:4 <think>x</think>"),
        ("", "<think>a<b</thin", "|o:<think>|r:a<b</thin"),
        ("", "<think>a</think>b<think>c</think>", "|o:<think>|r:a|c:</think>|a:b<think>c</think>"),
        ("", "</think>b", "|a:b"),
        ("", "  b\n", "|a:  b\n"),
        ("", " <thin", "|a: <thin"),
        ("", "  ", "|a:  "),
        ("", "", ""),
        ("", "<think></think>", "|o:<think>|c:</think>"),
        ("", "<think>\u{e9}<\u{4e16}</think>\n\u{1f600}", "|o:<think>|r:\u{e9}<\u{4e16}|c:</think>|a:\u{1f600}"),
    ] {
        for size in 1..=text.chars().count().max(1) {
            let splitter = Splitter::after(think.clone(), prompt);
            assert_eq!(parts(splitter, text, size), expected, "{text:?} by {size}");
        }
    }
}

#[test]
fn control_tokens_open_reasoning_anywhere_and_are_no_text() {
    let channels = markers(&MARKERS[MARKERS.len() - 2..]);
    let gemma = markers(&[("<|channel>thought", "<channel|>")]);
    for (markers, controls, text, expected) in [
        (
            &channels,
            &["<|channel|>", "<|message|>", "<|end|>", "<|start|>"][..],
            "<|channel|>analysis<|message|>two<|end|><|start|>assistant<|channel|>final<|message|>4",
            "|o:<|channel|>analysis<|message|>|r:two|c:<|end|><|start|>assistant<|channel|>final<|message|>|a:4",
        ),
        (&channels, &["<|channel|>", "<|message|>"], "<|channel|>final<|message|>4", "|a:4"),
        (
            &gemma,
            &["<|channel>", "<channel|>"],
            "<|channel>thought\ntwo<channel|>4",
            "|o:<|channel>thought|r:\ntwo|c:<channel|>|a:4",
        ),
        (
            &gemma,
            &["<|channel>", "<channel|>", "<pad>"],
            "4<pad> and <|channel>thought\ntwo<channel|><pad>\n6",
            "|a:4 and |o:<|channel>thought|r:\ntwo|c:<channel|>|a:6",
        ),
    ] {
        for size in 1..=text.chars().count() {
            let mut splitter = Splitter::after(markers.clone(), "");
            controls.iter().for_each(|control| splitter.control(control));
            assert_eq!(parts(splitter, text, size), expected, "{text:?} by {size}");
        }
    }
}

#[test]
fn a_prompt_that_opens_reasoning() {
    let think = markers(&[("<think>", "</think>")]);
    assert_eq!(Splitter::after(think.clone(), "<think>\n").opened(), Some("<think>"));
    assert_eq!(Splitter::after(think, "<think>\n</think>").opened(), None);
}

#[test]
fn switches_of_templates() {
    let end = "{% if add_generation_prompt %}<a>{% endif %}";
    for (source, on, off) in [
        (
            "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}",
            Some(("enable_thinking", Data::Bool(true))),
            Some(("enable_thinking", Data::Bool(false))),
        ),
        (
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ '<think>' if thinking }}",
            Some(("thinking", Data::Bool(true))),
            Some(("thinking", Data::Bool(false))),
        ),
        (
            "{% set thinking_budget = thinking_budget | default(-1) %}{% if thinking_budget == 0 %}none{% endif %}",
            Some(("thinking_budget", Data::Int(-1))),
            Some(("thinking_budget", Data::Int(0))),
        ),
        (
            "{% if thinking_mode is defined and thinking_mode == \"disabled\" %}x{% endif %}",
            Some(("thinking_mode", "high".into())),
            Some(("thinking_mode", "disabled".into())),
        ),
        (
            "{% if reasoning_effort is defined and reasoning_effort in ['low', 'high'] %}x{% elif reasoning_effort == 'no_think' %}y{% endif %}",
            Some(("reasoning_effort", "high".into())),
            Some(("reasoning_effort", "no_think".into())),
        ),
        // More or less, but never nothing; and words of another variable.
        (
            "{{ reasoning_effort if reasoning_effort is defined else 'medium' }}{% if x == 'none' %}{% endif %}",
            Some(("reasoning_effort", "medium".into())),
            None,
        ),
        // A name that the template does not ask for as a variable.
        ("{{ messages[0].thinking }}{% set enable_thinking = true %}{{ enable_thinking }}", None, None),
        ("{{ messages[0].content }}", None, None),
        // A template that refuses the simplest conversation says nothing of its switch.
        ("{{ raise_exception('no') }}{{ enable_thinking }}", None, None),
    ] {
        let template = ChatTemplate::parse(&format!("{source}{end}"), "", "").unwrap();
        assert_eq!(template.thinking(true), on, "{source}");
        assert_eq!(template.thinking(false), off, "{source}");
    }
}
