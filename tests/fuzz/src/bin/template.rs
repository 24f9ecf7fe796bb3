//! A chat template is read and rendered, as Jinja and in Go's form: its source, then a role and a content for each message, all ended by zero bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen_host::{ChatTemplate, Message};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let source = parts.next().unwrap_or_default();
    let mut messages = Vec::new();
    while let (Some(role), Some(content)) = (parts.next(), parts.next()) {
        messages.push(Message { role, content });
    }
    for template in [ChatTemplate::parse(source, "<s>", "</s>"), ChatTemplate::of_go(source)].into_iter().flatten() {
        if let Ok(text) = template.render_at(&messages, true, 1_700_000_000) {
            assert!(text.len() <= (1 << 18) + 1024 * bytes.len());
        }
    }
});
