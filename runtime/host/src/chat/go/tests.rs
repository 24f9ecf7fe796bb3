use crate::Error;
use crate::chat::{ChatTemplate, Data, Message};
use serde_json::Value;

/// The 14th of November 2023.
const SECONDS: u64 = 1_700_000_000;

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

/// The variables of a conversation in `conversations.json`.
fn variables(conversation: &Value) -> Vec<(&'static str, Data)> {
    let mut variables = vec![("add_generation_prompt", Data::Bool(true))];
    for (key, name) in [("messages", "messages"), ("tools", "tools"), ("think", "Think")] {
        variables.extend(conversation.get(key).map(|value| (name, data(value))));
    }
    variables
}

fn render(source: &str) -> Result<String, Error> {
    let message = Message { role: "user", content: "hello" };
    ChatTemplate::of_go(source)?.render_at(&[message], true, SECONDS)
}

/// Each case is a conversation, a template, and what Go makes of them, as `tests/oracle/go_templates.go` has written it down.
#[test]
fn texts_are_those_of_go() {
    let conversations: Value = serde_json::from_str(include_str!("conversations.json")).unwrap();
    let mut lines = include_str!("cases.txt").lines();
    let mut wrong = Vec::new();
    let mut count = 0;
    while let (Some(conversation), Some(source), Some(expected)) = (lines.next(), lines.next(), lines.next()) {
        let source: String = serde_json::from_str(source).unwrap();
        let expected = (expected != "!").then(|| serde_json::from_str::<String>(expected).unwrap());
        let variables = variables(&conversations[conversation]);
        let found = ChatTemplate::of_go(&source).and_then(|template| template.render_data(&variables, SECONDS));
        if found.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{conversation}: {source}\n  {found:?}\n  {expected:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200, "{count} cases");
}

/// What Go has only in later versions than the table is made with.
#[test]
fn newer_forms() {
    for (source, expected) in [
        ("{{ len .Messages }}{{ range 3 }}{{ . }};{{ end }}", "10;1;2;"),
        ("{{ len .Messages }}{{ range $i := 3 }}{{ $i }}{{ . }};{{ else }}x{{ end }}", "100;11;22;"),
        ("{{ len .Messages }}{{ range 0 }}x{{ else }}none{{ end }}{{ range -1 }}x{{ else }}none{{ end }}", "1nonenone"),
        ("{{ len .Messages }}{{ with .Missing }}1{{ else with .Messages }}{{ len . }}{{ else }}3{{ end }}", "11"),
        (
            "{{ len .Messages }}{{ $m := 0 }}{{ range $m = .Messages }}{{ $m.Role }}{{ end }}{{ $m.Content }}",
            "1userhello",
        ),
        (
            "{{ $i := 9 }}{{ $m := 0 }}{{ range $i, $m = .Messages }}{{ $m.Role }}{{ end }}{{ $i }}{{ $m.Content }}",
            "user0hello",
        ),
        ("{{ len .Messages }}{{ json \"\\b\\f\" }}", "1\"\\b\\f\""),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

/// What is refused says so by name, with its line.
#[test]
fn refusals_name_what_is_refused() {
    for (source, reason) in [
        ("a\n{{ html .Prompt }}", "syntax error (line 2: the function html is not supported)"),
        ("{{ call .Prompt }}", "the function call is not supported"),
        ("\n\n{{ upper .Prompt }}", "(line 3: there is no function upper)"),
        ("{{ printf \"%T\" .Prompt }}", "the verb %T of printf is not supported"),
        ("{{ printf \"%#v\" .Prompt }}", "a flag of %v"),
        ("{{ printf \"%1001d\" 1 }}", "a width of printf is more than 1000"),
        ("{{ printf \"%[1]d\" 1 }}", "numbers of arguments"),
        ("{{ range .Messages }}\n{{ . }}{{ end }}", "(line 2: a message cannot be printed, only its fields)"),
        ("{{ .Messages }}", "a message cannot be printed"),
        ("{{ range .Messages }}{{ .Name }}{{ end }}", "a message has no field Name"),
        ("{{ slice \"\u{e9}\" 1 }}", "cuts a character"),
        ("{{ 1i }}", "the number \"1i\" cannot be read"),
        ("{{ if .Prompt }}", "has no {{end}}"),
        ("{{ .Prompt", "unclosed action"),
        ("{{ if 1 }}{{ else with 1 }}{{ end }}", "unexpected with in else"),
        ("{{ range $i, $j := 5 }}{{ end }}", "a range over a number has one variable"),
        ("{{ template \"x\" . }}", "there is no template \"x\""),
    ] {
        let error = render(source).expect_err(source).to_string();
        assert!(error.contains(reason), "{source}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}

/// What a template in this form cannot be given is refused, and not left out.
#[test]
fn conversations_are_given_whole_or_refused() {
    let user = |entries: &[(&str, Data)]| {
        let role = [("role".to_owned(), Data::from("user"))];
        Data::Map(
            role.into_iter().chain(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).collect(),
        )
    };
    let tool = Data::Map(vec![("role".to_owned(), "tool".into()), ("content".to_owned(), "1".into())]);
    let messages = |message: Data| ("messages", Data::List(vec![message]));
    let spoken = || messages(user(&[("content", "a".into())]));
    for (source, variables, reason) in [
        ("{{ .Prompt }}", vec![messages(tool)], "no place for messages other than"),
        ("{{ .Prompt }}", vec![spoken(), ("tools", Data::List(Vec::new()))], "no place for tools"),
        ("{{ .Prompt }}", vec![spoken(), ("documents", Data::List(Vec::new()))], "cannot be given documents"),
        ("{{ .Prompt }}", vec![spoken(), ("add_generation_prompt", Data::Bool(false))], "always begins the answer"),
        ("{{ .Prompt }}", vec![messages(user(&[("mood", "b".into())]))], "mood of message 1"),
        ("{{ .Prompt }}", vec![messages(user(&[("content", Data::List(Vec::new()))]))], "content of message 1 must be"),
        ("{{ .Prompt }}", vec![messages(user(&[("images", Data::List(Vec::new()))]))], "images of message 1"),
        ("{{ .Prompt }}", vec![messages("a".into())], "message 1 must be a map"),
        ("{{ .Tools }}", vec![spoken(), ("tools", Data::List(vec!["a".into()]))], "a tool must be a map"),
    ] {
        let error = ChatTemplate::of_go(source).unwrap().render_data(&variables, SECONDS).unwrap_err();
        assert!(matches!(&error, Error::TemplateRefused { message } if message.contains(reason)), "{error}");
    }
}

/// Templates that would take time, memory or stack without end.
#[test]
fn hostile_templates() {
    let nested = |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times));
    for source in [
        nested("{{ if 1 }}", "{{ end }}", 6_000),
        nested("{{ range .Messages }}", "{{ end }}", 3_000),
        nested("{{ with 1 }}", "{{ else }}{{ end }}", 3_000),
        format!("{{{{ {}1{} }}}}", "(".repeat(30_000), ")".repeat(30_000)),
        "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}".to_owned(),
        "{{ define \"a\" }}{{ if 1 }}{{ template \"b\" . }}{{ end }}{{ end }}{{ define \"b\" }}{{ with 1 }}{{ template \"a\" . }}{{ end }}{{ end }}{{ template \"a\" . }}".to_owned(),
        "{{ if .Prompt }}{{ template \"\" . }}{{ end }}".to_owned(),
        format!("{}{}{{{{ end }}}}", "{{ if 0 }}", "{{ else }}{{ if 0 }}".repeat(5_000)),
    ] {
        assert!(matches!(render(&source), Err(Error::TemplateDepth)), "{source:.80}: {:?}", render(&source));
    }
    let ranges = format!("{}x{}", "{{ range 1000 }}".repeat(3), "{{ end }}".repeat(3));
    for source in [
        "{{ range 1000000 }}{{ end }}".to_owned(),
        "{{ range 9223372036854775807 }}{{ end }}".to_owned(),
        ranges,
        format!("{{{{ $x := \"xxxxxxxx\" }}}}{}{{{{ len $x }}}}", "{{ $x = print $x $x }}".repeat(60)),
        format!("{{{{ $x := \"<<<<<<<<\" }}}}{}{{{{ len $x }}}}", "{{ $x = json $x }}".repeat(60)),
        format!("{{{{ $x := \"<\" }}}}{{{{ range 1000 }}}}{}{{{{ end }}}}", "{{ $x = printf \"%s%s%1000d\" $x $x 1 }}".repeat(60)),
        "{{ define \"a\" }}{{ if . }}{{ template \"a\" (slice . 1) }}{{ template \"a\" (slice . 1) }}{{ end }}{{ end }}{{ template \"a\" \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" }}".to_owned(),
    ] {
        assert!(matches!(render(&source), Err(Error::TemplateSteps)), "{source:.80}: {:?}", render(&source));
    }
    let long = format!("{{{{ range 300 }}}}{}{{{{ end }}}}", "x".repeat(1_000));
    assert!(matches!(render(&long), Err(Error::TemplateOutput { .. })));
    assert!(matches!(render(&"x".repeat(1 << 18)), Err(Error::TemplateSize { .. })));
    // Long chains of `else if` do not nest.
    let chain = format!("{{{{ if 0 }}}}{}{{{{ else }}}}last{{{{ end }}}}", "{{ else if 0 }}".repeat(2_000));
    assert_eq!(render(&chain).unwrap(), "last");
    for source in [
        "{{",
        "{{-",
        "{{- ",
        "{{ \"",
        "{{ `",
        "{{ '",
        "{{ '\\",
        "{{ .",
        "{{ $",
        "{{ -",
        "{{/*",
        "{{ (",
        "{{ \"\\",
        "{{ 1e",
        "{{ define",
        "{{\u{e9}",
        "{{ \u{1f600} }}",
        "{{ \"\\u12\" }}",
        "{{ -}}",
        "{{ .\u{e9}",
    ] {
        let found = render(source);
        assert!(matches!(found, Err(Error::TemplateSyntax { line: 1, .. })), "{source}: {found:?}");
    }
}

#[test]
fn the_switch_for_thinking() {
    let spoken = ("messages", Data::List(vec![Data::Map(vec![("role".to_owned(), "user".into())])]));
    let source = "{{ if and .IsThinkSet (not .Think) }}/no_think{{ end }}{{ range .Messages }}{{ .Thinking }}{{ end }}<{{ .ThinkLevel }}>";
    let template = ChatTemplate::of_go(source).unwrap();
    for (think, expected) in [(None, "<medium>"), (Some(true), "<medium>"), (Some(false), "/no_think<>")] {
        let switch = think.map(|on| template.thinking(on).unwrap());
        let variables: Vec<_> = std::iter::once(spoken.clone()).chain(switch).collect();
        assert_eq!(template.render_data(&variables, SECONDS).unwrap(), expected);
    }
    assert_eq!(ChatTemplate::of_go("{{ .Prompt }}").unwrap().thinking(true), None);
}
