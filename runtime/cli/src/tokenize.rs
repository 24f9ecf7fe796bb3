//! `smidgen tokenize`.

use crate::args::TokenizeArgs;
use crate::{Outcome, open};
use smidgen::tokenizer::Special;
use std::io::{IsTerminal, Write};

pub(crate) fn tokenize(args: &TokenizeArgs) -> Outcome {
    open::kernels(&args.machine)?;
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    let tokenizer = open::tokenizer(&file, &parts)?;
    let text = match open::text(&args.text)? {
        Some(text) => text,
        None => open::stdin()?,
    };
    let mut out = std::io::stdout().lock();
    if args.decode {
        let ids: Vec<u32> =
            serde_json::from_str(&text).map_err(|error| format!("--decode takes a JSON array of ids: {error}"))?;
        let vocabulary = tokenizer.vocab_len();
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(format!("--decode: id {id} is out of range; the vocabulary has {vocabulary} tokens").into());
        }
        // Exactly the text, so that it comes back as it went.
        out.write_all(tokenizer.decode(&ids, true).as_bytes())?;
        if out.is_terminal() {
            writeln!(out)?;
        }
    } else {
        let special = if args.special { Special::Parse } else { Special::Text };
        writeln!(out, "{}", serde_json::to_string(&tokenizer.encode(&text, special))?)?;
    }
    Ok(())
}
