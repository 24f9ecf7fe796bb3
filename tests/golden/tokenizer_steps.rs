//! What tokenizers of checkpoints become: ids of Hugging Face's `tokenizers` 0.23.3 for small ones (`tokenizers.jsonl`), tokens that end a
//! generation, chat templates.

use serde_json::{Value, json};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen_gguf::Gguf;
use smidgen_tests::checkpoint::smallest;

fn cases() -> Vec<Value> {
    include_str!("tokenizers.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The `tokenizer.json` of a case, and how many tokens it has.
fn case(name: &str) -> (Value, u64) {
    let case = cases().into_iter().find(|case| case["name"] == name).unwrap();
    let size = size(&case["tokenizer"]);
    (case["tokenizer"].clone(), size)
}

fn size(tokenizer: &Value) -> u64 {
    let ids = tokenizer["model"]["vocab"].as_object().unwrap().values();
    let added = tokenizer["added_tokens"].as_array().unwrap().iter().map(|token| &token["id"]);
    ids.chain(added).map(|id| id.as_u64().unwrap()).max().unwrap() + 1
}

#[test]
fn steps_give_the_ids_of_hugging_face() {
    let mut texts = 0;
    for case in cases() {
        let tokenizer = &case["tokenizer"];
        let bytes = smallest(&[("tokenizer.json", tokenizer.clone())], size(tokenizer)).unwrap();
        let file = Gguf::parse(&bytes).unwrap();
        assert_eq!(
            file.get("tokenizer.ggml.model").and_then(|value| value.as_str()),
            Some("smidgen"),
            "{}",
            case["name"]
        );
        let tokenizer = Tokenizer::parse(&file).unwrap();
        for (text, ids) in case["texts"].as_object().unwrap() {
            assert_eq!(json!(tokenizer.encode(text, Special::Parse)), *ids, "{}: {text:?}", case["name"]);
            texts += 1;
        }
    }
    assert!(texts > 30, "{texts}");
}

#[test]
fn control_tokens_are_text_where_they_are_not_wanted() {
    let (tokenizer, size) = case("added tokens that take spaces");
    let bytes = smallest(&[("tokenizer.json", tokenizer)], size).unwrap();
    let tokenizer = Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap();
    let id = tokenizer.id_of("<x>").unwrap();
    assert!(tokenizer.encode("a <x>", Special::Parse).contains(&id));
    assert!(!tokenizer.encode("a <x>", Special::Text).contains(&id));
}

#[test]
fn all_ids_that_end_a_generation_do() {
    let (tokenizer, size) = case("nfc and lowercase");
    let generation = |ids: Value| ("generation_config.json", json!({"eos_token_id": ids, "temperature": 0.6}));
    let config = |ids: Value| ("config.json", json!({"eos_token_id": ids}));
    let named = ("tokenizer_config.json", json!({"eos_token": "</s>"}));
    for (files, first, all) in [
        (vec![generation(json!([7, 9]))], 7, vec![1, 7, 9]),
        (vec![generation(json!(7)), config(json!(8)), named.clone()], 7, vec![1, 7]),
        (vec![generation(json!(null)), config(json!([8, 9])), named.clone()], 8, vec![1, 8, 9]),
        (vec![config(json!(8))], 8, vec![1, 8]),
        (vec![named.clone()], 1, vec![1]),
    ] {
        let mut files = files;
        files.push(("tokenizer.json", tokenizer.clone()));
        let bytes = smallest(&files, size).unwrap();
        let read = Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap();
        // `</s>` ends by its name too.
        assert_eq!((read.eos(), read.ends()), (Some(first), all.as_slice()));
    }
    let files = [("tokenizer.json", tokenizer), generation(json!([7, size]))];
    let error = smallest(&files, size).unwrap_err().to_string();
    assert!(error.contains("generation_config.json") && error.contains("eos_token_id"), "{error}");
}

#[test]
fn templates_in_files_come_first() {
    let (tokenizer, size) = case("nfc and lowercase");
    let old = (
        "tokenizer_config.json",
        json!({"chat_template": [{"name": "default", "template": "old"}, {"name": "tool_use", "template": "tools"}]}),
    );
    let new = ("chat_template.jinja", json!("new"));
    let further = ("additional_chat_templates/rag.jinja", json!("rag"));
    for (files, expected) in [
        (vec![old.clone()], vec![("", Some("old")), (".tool_use", Some("tools"))]),
        (vec![old.clone(), new.clone()], vec![("", Some("new")), (".tool_use", None)]),
        (vec![new, further], vec![("", Some("new")), (".rag", Some("rag"))]),
        (vec![("chat_template.json", json!({"chat_template": "json"}))], vec![("", Some("json"))]),
    ] {
        let mut files = files;
        files.push(("tokenizer.json", tokenizer.clone()));
        let bytes = smallest(&files, size).unwrap();
        let file = Gguf::parse(&bytes).unwrap();
        for (name, template) in expected {
            let key = format!("tokenizer.chat_template{name}");
            assert_eq!(file.get(&key).and_then(|value| value.as_str()), template, "{key}");
        }
    }
}

#[test]
fn what_no_step_says_is_refused_by_name() {
    let (tokenizer, size) = case("nfc and lowercase");
    let changed = |path: &[&str], value: Value| {
        let mut changed = tokenizer.clone();
        *path.iter().fold(&mut changed, |value, key| &mut value[*key]) = value;
        changed
    };
    let expression =
        |text: &str| json!({"type": "Split", "pattern": {"Regex": text}, "behavior": "Removed", "invert": false});
    for (tokenizer, reason) in [
        (changed(&["normalizer"], json!({"type": "Nfx"})), "normalizer Nfx"),
        (
            changed(&["normalizer"], json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            "precompiled_charsmap",
        ),
        (changed(&["normalizer"], json!({"type": "Prepend", "prepend": "x".repeat(2000)})), "so long"),
        (changed(&["pre_tokenizer"], json!({"type": "UnicodeScripts"})), "pre_tokenizer UnicodeScripts"),
        (changed(&["pre_tokenizer"], expression("(?<name>a)")), "a group of this kind"),
        (changed(&["pre_tokenizer"], expression(r"\p{Greek}")), "a property of this name"),
        (changed(&["model", "dropout"], json!(0.1)), "dropout"),
        (changed(&["model", "merges"], json!([["h", "q"]])), "model.merges[0]"),
        (changed(&["model", "type"], json!("WordLevel")), "WordLevel"),
        (changed(&["decoder"], json!({"type": "CTC"})), "decoder CTC"),
        (changed(&["post_processor"], json!({"type": "Other"})), "post_processor Other"),
        (changed(&["new_field"], json!(1)), "new_field"),
    ] {
        let error = smallest(&[("tokenizer.json", tokenizer)], size).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains(reason) && !error.contains('\n'), "{error}");
    }
    let decoder = |flags: Value| json!({"added_tokens_decoder": {"1": flags}});
    for (config, reason) in [
        (json!({"do_lower_case": false}), "do_lower_case"),
        (json!({"add_prefix_space": true}), "add_prefix_space"),
        (json!({"eos_token": "</t>"}), "</t>"),
        (decoder(json!({"content": "</s>", "lstrip": true, "special": true})), "</s>"),
        (decoder(json!({"content": "</t>", "special": true})), "</t>"),
    ] {
        let files = [("tokenizer.json", tokenizer.clone()), ("tokenizer_config.json", config)];
        let error = smallest(&files, size).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json") && error.contains(reason), "{error}");
    }
}
