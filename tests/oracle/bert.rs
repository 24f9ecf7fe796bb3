//! all-MiniLM-L6-v2 against reference embeddings, converted to F32, Q8_0 and Q4_0.
//!
//! The checkpoint is the folder that `SMIDGEN_MINILM` names. Without it, only the file in Q8_0 that `smidgen pull minilm` makes is looked at.

use smidgen::Model;
use smidgen::encoder::text::{Options, Session, Text};
use smidgen::tokenizer::Tokenizer;
use smidgen_host::{Mixture, ModelFile, Options as Converting};
use smidgen_targets::detect;
use smidgen_tests::{Threads, at_most, shared};
use std::path::{Path, PathBuf};

/// Texts and their embeddings.
struct Golden {
    texts: Vec<String>,
    embeddings: Vec<Vec<f32>>,
    /// Pairs of texts with the cosine between them.
    pairs: Vec<([String; 2], f64)>,
}

fn golden() -> Option<Golden> {
    let folder = shared()?.join("golden/minilm");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let string = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let lines = String::from_utf8(read("texts.jsonl")).unwrap();
    let texts = lines.split_terminator('\n').map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        string(&line["text"])
    });
    let mut texts: Vec<_> = texts.collect();
    let npy = read("embeddings.npy");
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    assert!(String::from_utf8_lossy(&npy[..header]).contains("'<f4', 'fortran_order': False, 'shape': (40, 384)"));
    let values: Vec<f32> = npy[header..].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let embeddings: Vec<_> = values.chunks(384).map(<[f32]>::to_vec).collect();
    assert_eq!((texts.len(), embeddings.len()), (40, 40));
    texts.truncate(at_most(10, texts.len(), "texts"));
    let pairs: serde_json::Value = serde_json::from_slice(&read("sts_pairs.json")).unwrap();
    let pairs = pairs.as_array().unwrap_or_else(|| pairs["pairs"].as_array().unwrap()).iter();
    let pairs =
        pairs.map(|pair| ([string(&pair["a"]), string(&pair["b"])], pair["cosine"].as_f64().unwrap())).collect();
    Some(Golden { texts, embeddings, pairs })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn embed(path: &Path, texts: &[&str]) -> Vec<Vec<f32>> {
    let file = ModelFile::open(path).unwrap();
    let parts = file.parts().unwrap();
    let model = Model::parse(&parts).unwrap();
    let model = model.text_encoder().unwrap();
    let tokenizer = Tokenizer::parse(&parts[0]).unwrap();
    let texts: Vec<Text> = texts.iter().map(|text| model.text(&tokenizer, text, None).unwrap()).collect();
    let mut session = Session::new(model, &Options::default(), detect()).unwrap();
    let mut all = Vec::new();
    session.embed(&texts, &Threads(2), |_, embedding| all.push(embedding.unwrap().to_vec()));
    all
}

/// Checks the cosines with the references: the least, their mean, and whether the pairs are ranked as the references rank them.
fn check(golden: &Golden, name: &str, path: &Path, least: f64, mean: f64, ranked: bool) {
    let texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
    let found = embed(path, &texts);
    let cosines: Vec<f64> = found.iter().zip(&golden.embeddings).map(|(a, b)| cosine(a, b)).collect();
    let lowest = cosines.iter().copied().fold(f64::INFINITY, f64::min);
    let average = cosines.iter().sum::<f64>() / cosines.len() as f64;
    println!("RAN: minilm {name}: {} texts, cosine {lowest:.6} at least, {average:.6} on average", texts.len());
    assert!(lowest >= least && average >= mean, "{name}: {cosines:?}");
    assert!(found.iter().all(|values| (cosine(values, values) - 1.0).abs() < 1e-6 && values.len() == 384));

    let texts: Vec<&str> = golden.pairs.iter().flat_map(|(texts, _)| texts).map(String::as_str).collect();
    let found = embed(path, &texts);
    let mut order: Vec<(f64, f64)> = found
        .chunks(2)
        .zip(&golden.pairs)
        .map(|(pair, (_, expected))| (cosine(&pair[0], &pair[1]), *expected))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let same = order.is_sorted_by(|a, b| a.1 <= b.1);
    println!("RAN: minilm {name}: {} pairs, ranking {}", order.len(), if same { "unchanged" } else { "changed" });
    assert!(same || !ranked, "{name}: {order:?}");
}

#[test]
fn embeddings_of_minilm() {
    let Some(golden) = golden() else { return };
    let Some(folder) = std::env::var_os("SMIDGEN_MINILM").map(PathBuf::from) else {
        println!("ABSENT: the checkpoint of minilm (set SMIDGEN_MINILM to its folder): F32 and Q4_0 are not checked");
        match smidgen_host::find("minilm") {
            Some(path) => check(&golden, "Q8_0, pulled", &path, 0.999, 0.9995, true),
            None => println!("ABSENT: the model minilm (smidgen pull minilm)"),
        }
        return;
    };
    let place = std::env::temp_dir().join(format!("smidgen-minilm-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    for (mixture, least, mean, ranked) in [
        (Mixture::F32, 0.99999, 0.99999, true),
        (Mixture::Q8_0, 0.999, 0.9995, true),
        (Mixture::Q4_0, 0.97, 0.99, false),
    ] {
        let path = place.join(format!("{}.gguf", mixture.name()));
        let options = Converting { mixture: Some(mixture), ..Converting::default() };
        smidgen_host::convert(&folder, &path, options, &mut |_, _| {}).unwrap();
        check(&golden, mixture.name(), &path, least, mean, ranked);
    }
    std::fs::remove_dir_all(&place).unwrap();
}
