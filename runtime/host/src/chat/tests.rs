use super::*;

const WITHOUT: &[Message] = &[
    Message { role: "user", content: " Hello \"x\" <\u{e9}> " },
    Message { role: "assistant", content: "Hi!\n" },
    Message { role: "user", content: "What is 2+2?" },
];
const SYSTEM: Message = Message { role: "system", content: "Be brief." };
const WITH_SYSTEM: &[Message] = &[SYSTEM, WITHOUT[0], WITHOUT[1], WITHOUT[2]];

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant named Tiny<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA2: &str = "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
const LLAMA3: &str = "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = strftime_now(\"%d %b %Y\") %}\n{%- endif %}\n{%- if messages[0].role == 'system' %}\n    {%- set system = messages[0].content|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = '' %}\n{%- endif %}\n{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n";
const GEMMA: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}";
const PHI3: &str = "{% for message in messages %}\n    {% if message['role'] in ['system', 'user'] %}\n{{'<|' ~ message['role'] ~ '|>\\n' + message['content'] + '<|end|>\\n'}}\n    {% elif message['role'] == 'assistant' %}\n{% generation %}\n{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}\n{% endgeneration %}\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}\n";
const PYTHON: &str = "{% set ns = namespace(n=0, last='') %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}{% if m.content.startswith('stop') %}{% break %}{% endif %}{% set ns.last = m.content.split(' ')[-1].upper() %}{% endfor %}{{ ns.n }}|{{ ns.last }}|{{ true }}|{{ none }}|{{ messages[0] | tojson }}|{{ messages | map(attribute='role') | list | tojson(indent=2) }}|{{ 3 * 'ab' }}|{{ ([1] + [2])|length }}|{{ tools is iterable }}|{{ messages[0].items() | list | length }}";

/// The output of Python's Jinja2, set up as Hugging Face's libraries do, on 14 November 2023.
const RENDERED: &[(&str, &[Message], bool, &str)] = &[
    (
        CHATML,
        WITH_SYSTEM,
        false,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello \"x\" <\u{e9}> <|im_end|>\n<|im_start|>assistant\nHi!\n<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n",
    ),
    (
        CHATML,
        WITH_SYSTEM,
        true,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello \"x\" <\u{e9}> <|im_end|>\n<|im_start|>assistant\nHi!\n<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        CHATML,
        WITHOUT,
        false,
        "<|im_start|>system\nYou are a helpful assistant named Tiny<|im_end|>\n<|im_start|>user\n Hello \"x\" <\u{e9}> <|im_end|>\n<|im_start|>assistant\nHi!\n<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n",
    ),
    (
        CHATML,
        WITHOUT,
        true,
        "<|im_start|>system\nYou are a helpful assistant named Tiny<|im_end|>\n<|im_start|>user\n Hello \"x\" <\u{e9}> <|im_end|>\n<|im_start|>assistant\nHi!\n<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        LLAMA2,
        WITH_SYSTEM,
        false,
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hello \"x\" <\u{e9}> [/INST] Hi! </s><s>[INST] What is 2+2? [/INST]",
    ),
    (
        LLAMA2,
        WITH_SYSTEM,
        true,
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hello \"x\" <\u{e9}> [/INST] Hi! </s><s>[INST] What is 2+2? [/INST]",
    ),
    (LLAMA2, WITHOUT, false, "<s>[INST] Hello \"x\" <\u{e9}> [/INST] Hi! </s><s>[INST] What is 2+2? [/INST]"),
    (LLAMA2, WITHOUT, true, "<s>[INST] Hello \"x\" <\u{e9}> [/INST] Hi! </s><s>[INST] What is 2+2? [/INST]"),
    (
        LLAMA3,
        WITH_SYSTEM,
        false,
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 14 Nov 2023\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello \"x\" <\u{e9}><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>",
    ),
    (
        LLAMA3,
        WITH_SYSTEM,
        true,
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 14 Nov 2023\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello \"x\" <\u{e9}><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    (
        LLAMA3,
        WITHOUT,
        false,
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 14 Nov 2023\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello \"x\" <\u{e9}><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>",
    ),
    (
        LLAMA3,
        WITHOUT,
        true,
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 14 Nov 2023\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello \"x\" <\u{e9}><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    (GEMMA, WITH_SYSTEM, false, "refused: System role not supported"),
    (GEMMA, WITH_SYSTEM, true, "refused: System role not supported"),
    (
        GEMMA,
        WITHOUT,
        false,
        "<s><start_of_turn>user\nHello \"x\" <\u{e9}><end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n<start_of_turn>user\nWhat is 2+2?<end_of_turn>\n",
    ),
    (
        GEMMA,
        WITHOUT,
        true,
        "<s><start_of_turn>user\nHello \"x\" <\u{e9}><end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n<start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n",
    ),
    (
        PHI3,
        WITH_SYSTEM,
        false,
        "<|system|>\nBe brief.<|end|>\n\n<|user|>\n Hello \"x\" <\u{e9}> <|end|>\n\n<|assistant|>\nHi!\n<|end|>\n\n<|user|>\nWhat is 2+2?<|end|>\n\n</s>",
    ),
    (
        PHI3,
        WITH_SYSTEM,
        true,
        "<|system|>\nBe brief.<|end|>\n\n<|user|>\n Hello \"x\" <\u{e9}> <|end|>\n\n<|assistant|>\nHi!\n<|end|>\n\n<|user|>\nWhat is 2+2?<|end|>\n\n<|assistant|>\n",
    ),
    (
        PHI3,
        WITHOUT,
        false,
        "<|user|>\n Hello \"x\" <\u{e9}> <|end|>\n\n<|assistant|>\nHi!\n<|end|>\n\n<|user|>\nWhat is 2+2?<|end|>\n\n</s>",
    ),
    (
        PHI3,
        WITHOUT,
        true,
        "<|user|>\n Hello \"x\" <\u{e9}> <|end|>\n\n<|assistant|>\nHi!\n<|end|>\n\n<|user|>\nWhat is 2+2?<|end|>\n\n<|assistant|>\n",
    ),
    (
        PYTHON,
        WITH_SYSTEM,
        false,
        "3|2+2?|True|None|{\"role\": \"system\", \"content\": \"Be brief.\"}|[\n  \"system\",\n  \"user\",\n  \"assistant\",\n  \"user\"\n]|ababab|2|False|2",
    ),
    (
        PYTHON,
        WITH_SYSTEM,
        true,
        "3|2+2?|True|None|{\"role\": \"system\", \"content\": \"Be brief.\"}|[\n  \"system\",\n  \"user\",\n  \"assistant\",\n  \"user\"\n]|ababab|2|False|2",
    ),
    (
        PYTHON,
        WITHOUT,
        false,
        "3|2+2?|True|None|{\"role\": \"user\", \"content\": \" Hello \\\"x\\\" <\u{e9}> \"}|[\n  \"user\",\n  \"assistant\",\n  \"user\"\n]|ababab|2|False|2",
    ),
    (
        PYTHON,
        WITHOUT,
        true,
        "3|2+2?|True|None|{\"role\": \"user\", \"content\": \" Hello \\\"x\\\" <\u{e9}> \"}|[\n  \"user\",\n  \"assistant\",\n  \"user\"\n]|ababab|2|False|2",
    ),
];

#[test]
fn templates_render_as_in_python() {
    for (index, &(source, messages, add, expected)) in RENDERED.iter().enumerate() {
        let template = ChatTemplate::parse(source, "<s>", "</s>").unwrap();
        match template.render_at(messages, add, 1_700_000_000) {
            Ok(text) => assert_eq!(text, expected, "row {index}"),
            Err(Error::TemplateRefused { message }) => {
                assert_eq!(format!("refused: {message}"), expected, "row {index}")
            }
            Err(error) => panic!("row {index}: {error}"),
        }
    }
}

fn render(source: &str) -> Result<String, Error> {
    ChatTemplate::parse(source, "<s>", "</s>")?.render_at(WITH_SYSTEM, true, 1_700_000_000)
}

#[test]
fn operators_work_as_in_python() {
    for (source, expected) in [
        ("{{ 1 + 2 }} {{ 1.5 + 2 }} {{ 'a' + 'b' }} {{ [1] + [2, 3] }} {{ true + 1 }}", "3 3.5 ab [1, 2, 3] 2"),
        ("{{ 3 * 4 }} {{ 1.5 * 2 }} {{ 'ab' * 2 }} {{ 2 * 'ab' }} {{ 'a' * -1 }}", "12 3.0 abab abab "),
        ("{% set one = [1] %}{{ one * 3 }} {{ -5 // 2 }} {{ -5 % 3 }} {{ 2 ** 3 }}", "[1, 1, 1] -3 1 8"),
        (
            "{% for x in range(1, 6) if x > 2 %}{{ x }}/{{ loop.length }} {% endfor %}{{ range(5, 0, -2)|list }}",
            "3/3 4/3 5/3 [5, 3, 1]",
        ),
        ("{% set s = namespace(a=1) %}{% set s.a = s.a + 1 %}{{ s.a }}{{ s['a'] }}{{ s is defined }}", "22True"),
        ("{% macro m(namespace='x') %}{{ namespace }}{% endmacro %}{{ m() }}{{ m('y') }}", "xy"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn json_as_python_writes_it() {
    for (source, expected) in [
        (
            r#"{{ {'b': [1, 2.5, true, none], 'a': 'x<y>&"\\\n'} | tojson }}"#,
            r#"{"b": [1, 2.5, true, null], "a": "x<y>&\"\\\n"}"#,
        ),
        ("{{ {'b': 1, 'a': []} | tojson(sort_keys=true, separators=[',', ':']) }}", r#"{"a":[],"b":1}"#),
        ("{{ {'b': [1, 2]} | tojson(indent=2) }}", "{\n  \"b\": [\n    1,\n    2\n  ]\n}"),
        ("{{ '\u{e9}\u{1f600}' | tojson(ensure_ascii=true) }}", r#""\u00e9\ud83d\ude00""#),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

/// One-line templates with what Python makes of them, or `!` where it refuses. `tests/oracle/templates.py --update` writes them.
#[test]
fn features_of_python() {
    const SPOKEN: &[Message] =
        &[WITH_SYSTEM[0], WITHOUT[0], WITHOUT[1], Message { role: "user", content: "What is 2+2?" }];
    let mut lines = include_str!("python.txt").split('\n');
    let mut wrong = Vec::new();
    while let (Some(source), Some(expected)) = (lines.next(), lines.next()) {
        let expected = (expected != "!").then(|| serde_json::from_str::<String>(expected).unwrap());
        let template = ChatTemplate::parse(source, "<s>", "</s>");
        let found = template.and_then(|template| template.render_at(SPOKEN, true, 1_700_000_000));
        if found.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{source}\n  {found:?}\n  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn line_ends_of_the_source_become_one_kind() {
    let source = "{% for m in messages %}\r\n<{{ m.role }}>\r{{ 'a\r\nb' }}\n{% endfor %}\r\n";
    assert_eq!(render(source).unwrap(), "<system>\na\nb\n<user>\na\nb\n<assistant>\na\nb\n<user>\na\nb\n");
    let template = ChatTemplate::parse("{{ messages[0].content }}", "", "").unwrap();
    let message = Message { role: "user", content: "a\r\nb\r" };
    assert_eq!(template.render(&[message], true).unwrap(), "a\r\nb\r", "those of messages stay");
}

/// A namespace that holds itself is no loop for anyone, and a template of them is freed.
#[test]
fn namespaces_within_themselves() {
    for (source, expected) in [
        ("{% set n = namespace() %}{% set n.a = n %}{{ n == n.a }}{{ n.a.a.a is defined }}", Ok("TrueTrue")),
        ("{% set n = namespace() %}{% set n.a = [n] %}{{ [n] == [n.a[0]] }}{{ n in n.a }}", Ok("TrueTrue")),
        ("{% set n = namespace() %}{% set n.a = {'n': n} %}{{ n.a | tojson }}", Err(())),
        (
            "{% set n = namespace(x=1) %}{% macro f(n, d) %}{% if d %}{{ f(n, d - 1) }}{% endif %}{% endmacro %}{{ f(n, 20) }}{{ n.x }}",
            Ok("1"),
        ),
    ] {
        assert_eq!(render(source).map_err(|_| ()), expected.map(str::to_owned), "{source}");
    }
}

#[test]
fn data_of_tools_and_calls() {
    let source = "{% for t in tools %}{{ t.function.parameters.properties.items() | list }}{{ t | tojson }}{% endfor %}{{ deep is defined }}";
    let text = |text: &str| Data::from(text);
    let map = |entries: &[(&str, Data)]| {
        Data::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    let properties =
        map(&[("b", map(&[("type", text("array")), ("items", Data::List(vec![Data::Int(1), Data::Float(1e20)]))]))]);
    let function = map(&[("name", text("f")), ("parameters", map(&[("properties", properties)]))]);
    let tools = Data::List(vec![map(&[("function", function), ("strict", Data::Bool(true)), ("none", Data::None)])]);
    let template = ChatTemplate::parse(source, "", "").unwrap();
    let expected = concat!(
        "[('b', {'type': 'array', 'items': [1, 1e+20]})]",
        r#"{"function": {"name": "f", "parameters": {"properties": {"b": {"type": "array", "items": [1, 1e+20]}}}}, "strict": true, "none": null}"#,
        "False"
    );
    assert_eq!(template.render_data(&[("tools", tools.clone())], 0).unwrap(), expected);
    let deep = (0..100).fold(Data::None, |inner, _| Data::List(vec![inner]));
    assert!(matches!(template.render_data(&[("tools", tools), ("deep", deep)], 0), Err(Error::TemplateDepth)));
    assert!(matches!(template.render_data(&[], 0), Err(Error::TemplateRender { .. })), "tools are none");
}

#[test]
fn errors_are_one_line() {
    for source in [
        "{{ raise_exception('a\\nb') }}",
        "{{ 1 + 'x' }}",
        "\n\n{{",
        "{% if %}",
        "{{ missing.attribute }}",
        "{{ 1 | nofilter }}",
        "{% include 'chat' %}",
        "{{ raise_exception() }}",
        "{{ '{:9999}'.format(1) }}",
    ] {
        let text = render(source).unwrap_err().to_string();
        assert!(!text.contains('\n') && text.len() < 400, "{text}");
    }
    let error = render("\n\n{{ 1 + 'x' }}").unwrap_err();
    assert!(matches!(error, Error::TemplateRender { line: 3, .. }), "{error}");
    assert!(matches!(render("\n{% if %}"), Err(Error::TemplateSyntax { line: 2, .. })));
}

#[test]
fn generation_tags_become_conditions() {
    let tags = "a{%- generation -%} b {% endgeneration +%}c{% set generation = 1 %}{% if generation %}d{% endif %}";
    let expected = "a{%- if true -%} b {% endif +%}c{% set generation = 1 %}{% if generation %}d{% endif %}";
    assert_eq!(without_generation_tags(tags), expected);
    for odd in ["{%", "{%-", "{% generation", "{% generation x %}", "{{%generation%}", "{%{% generation"] {
        without_generation_tags(odd);
    }
}

#[test]
fn dates() {
    for (seconds, expected) in [
        (0, "1970-01-01 Thu 001 00:00:00 12 AM"),
        (951_782_400, "2000-02-29 Tue 060 00:00:00 12 AM"),
        (1_700_000_000, "2023-11-14 Tue 318 22:13:20 10 PM"),
        (1_735_689_599, "2024-12-31 Tue 366 23:59:59 11 PM"),
        (4_107_542_400, "2100-03-01 Mon 060 00:00:00 12 AM"),
    ] {
        assert_eq!(clock::strftime("%F %a %j %T %I %p", seconds), expected);
    }
    assert_eq!(
        clock::strftime("%-d %e %B %b %A %y %H%M%S %Z %% %Q %-q %", 86_400),
        "2  2 January Jan Friday 70 000000 UTC % %Q %-q %"
    );
    assert_eq!(clock::strftime("%Y", u64::MAX).len(), 12);
}
