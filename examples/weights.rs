//! The cost of quantizing: decodes a matrix of a file, and encodes it in other formats:
//! `cargo run --release --example weights -- model.gguf blk.0.attn_q.weight`

use smidgen_host::ModelFile;
use smidgen_quant::Format;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("usage: weights MODEL.gguf TENSOR")?;
    let name = words.next().unwrap_or_else(|| "blk.0.attn_q.weight".into());
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let tensor =
        parts.iter().find_map(|part| part.tensor(&name)).ok_or_else(|| format!("there is no tensor {name}"))?;
    let format = Format::from_id(tensor.kind.id()).ok_or_else(|| format!("{} cannot be decoded", tensor.kind))?;

    // Rows lie one after another in the file.
    let mut weights = vec![0.0; tensor.dims.iter().product::<u64>() as usize];
    format.decode(tensor.data, &mut weights)?;
    let bits = |bytes: usize| bytes as f64 * 8.0 / weights.len() as f64;
    let [columns, rows, ..] = tensor.dims;
    println!("{name}: {rows} rows of {columns}, {} ({:.2} bits per weight)", format.name(), bits(tensor.data.len()));
    println!("begins {:?}", &weights[..weights.len().min(4)]);

    let root_mean_square = |values: &[f32]| {
        let sum: f64 = values.iter().map(|value| f64::from(value * value)).sum();
        (sum / values.len() as f64).sqrt()
    };
    println!("root mean square {:.6}; encoded again, it is off by", root_mean_square(&weights));
    for other in Format::ALL {
        let whole = (columns as usize).is_multiple_of(other.block_len());
        let Some(bytes) = other.bytes(weights.len()).filter(|_| whole) else { continue };
        let (mut blocks, mut back) = (vec![0; bytes], vec![0.0; weights.len()]);
        if other.encode(&weights, &mut blocks).is_err() {
            continue; // There are formats without an encoder.
        }
        other.decode(&blocks, &mut back)?;
        back.iter_mut().zip(&weights).for_each(|(back, weight)| *back -= weight);
        println!("  {:.6} in {} ({:.2} bits per weight)", root_mean_square(&back), other.name(), bits(bytes));
    }
    Ok(())
}
