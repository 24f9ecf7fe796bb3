//! `smidgen perplexity`.

use crate::args::PerplexityArgs;
use crate::{Outcome, open, progress};
use smidgen::tokenizer::Special;
use smidgen::{Options, Precision, Session, sampler};
use std::io::Write;

pub(crate) fn perplexity(args: &PerplexityArgs) -> Outcome {
    let kernels = open::kernels(&args.machine)?;
    let text = open::file_text(&args.file)?;
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    let mut ids = open::tokenizer(&file, &parts)?.encode_prompt(&text, Special::Text);
    let most = args.tokens.map_or(model.context(), |tokens| tokens.get());
    if let Some(tokens) = args.tokens.filter(|tokens| tokens.get() > ids.len()) {
        return Err(format!("--tokens {tokens}: {} has only {} tokens", args.file.display(), ids.len()).into());
    }
    ids.truncate(most);
    if ids.len() < 2 {
        return Err(format!("{}: the text must have at least two tokens", args.file.display()).into());
    }
    let mut options = Options::new(ids.len());
    options.kv = open::kv(args.kv, args.f32);
    options.precision = if args.f32 { Precision::F32 } else { Precision::Law };
    let mut session = Session::new(&model, &options, kernels)?;
    let scored = ids.len() - 1;
    let bar = progress::bar(scored as u64, "tokens");
    let mut sum = 0.0;
    open::pool(&args.threads)?.enter(|pool| {
        session.forward_all(0, &ids, pool, |i, logits| {
            if let Some(next) = ids.get(i + 1) {
                sum -= sampler::log_probability(logits, *next);
                bar.set_message(format!("perplexity {:.4}", smidgen_quant::math::exp64(sum / (i + 1) as f64)));
                bar.set_position(i as u64 + 1);
            }
        })
    })?;
    bar.finish_and_clear();
    let perplexity = smidgen_quant::math::exp64(sum / scored as f64);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "perplexity": perplexity, "tokens": ids.len() }))?;
    } else {
        writeln!(out, "perplexity {perplexity:.4} over {} tokens", ids.len())?;
    }
    Ok(())
}
