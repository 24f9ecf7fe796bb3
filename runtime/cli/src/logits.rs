//! `smidgen logits`.

use crate::args::LogitsArgs;
use crate::npy::{self, Array, Kind};
use crate::{Outcome, open};
use smidgen::{Entry, Options, Precision, Session, Want};
use std::io::{BufWriter, Write};

pub(crate) fn logits(args: &LogitsArgs) -> Outcome {
    let kernels = open::kernels(&args.machine)?;
    let positions = args.positions.of(args.tokens.0.len())?;
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    // Results are in the order of the tokens.
    let mut wanted = positions.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut options = Options::new(args.ctx.map_or(args.tokens.0.len(), |context| context.get()));
    options.kv = open::kv(args.kv, args.f32);
    options.rows = wanted.len();
    options.precision = if args.f32 { Precision::F32 } else { Precision::Law };
    let mut session = Session::new(&model, &options, kernels)?;
    let vocabulary = session.vocabulary();
    let entry = |(position, token): (usize, &u32)| {
        let is_wanted = wanted.binary_search(&position).is_ok();
        Entry::token(0, *token).wanting(if is_wanted { Want::Logits } else { Want::Nothing })
    };
    let batch: Vec<Entry> = args.tokens.0.iter().enumerate().map(entry).collect();
    let found = open::pool(&args.threads)?.enter(|pool| session.run(&batch, pool))?;
    let row = |position: &usize| found.get(wanted.binary_search(position).unwrap_or_default());
    let rows = positions.iter().map(row).collect::<Result<Vec<&[f32]>, _>>()?;
    if let Some(path) = &args.npy {
        let data: Vec<u8> = rows.iter().copied().flatten().flat_map(|logit| logit.to_le_bytes()).collect();
        let array = Array { kind: Kind::Float32, shape: vec![positions.len(), vocabulary], data: &data };
        std::fs::write(path, npy::write(&array)).map_err(|error| format!("--npy {}: {error}", path.display()))?;
        return Ok(());
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "positions": positions, "logits": rows }))?;
    } else {
        for (position, row) in positions.iter().zip(&rows) {
            let mut ids: Vec<usize> = (0..row.len()).collect();
            ids.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
            let best: Vec<_> = ids.iter().take(5).map(|id| format!("{id} {:.4}", row[*id])).collect();
            writeln!(out, "{position}: {}", best.join(", "))?;
        }
    }
    out.flush()?;
    Ok(())
}
