//! From TensorFlow Lite files of int8 networks to GGUF files of the architecture `micro`, which `docs/gguf.md` describes: what the
//! interpreter of such files decides when it starts is decided here, once, and written as a plan.

mod error;
mod flatbuffer;
mod graph;
mod lower;
mod manifest;
mod memory;
mod ops;
mod shapes;

pub use error::Error;

use graph::{Kind, Tensor};
use lower::Lower;
use memory::{Memory, Place, extent};
use smidgen_gguf::{NewTensor, TensorType, Writer};
use std::io::Write;

/// Converts a file. `manifest` is the name and the text of the JSON file that lies beside a microWakeWord model: it supplies the word, the
/// cut-off, the window and the step. What the runtime would not listen with is refused.
///
/// # Errors
/// [`crate::Error::Tflite`], [`crate::Error::Write`], [`crate::Error::Io`], and those of JSON files.
pub fn convert(bytes: &[u8], manifest: Option<(&str, &[u8])>, out: &mut dyn Write) -> Result<(), crate::Error> {
    let graphs = graph::read(bytes)?;
    let mut memory = Lower::new(&graphs)?;
    let arena = memory.memory.arrange();
    let arena = u32::try_from(arena).ok().filter(|length| *length < 1 << 31).ok_or(Error::TooLarge)?;
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "micro")?;
    let graph = memory.graph;
    if let Some((file, text)) = manifest {
        let ports = graph.inputs.first().zip(graph.outputs.first());
        manifest::describe(
            file,
            text,
            ports.map(|(input, output)| [&graph.tensors[*input], &graph.tensors[*output]]),
            &mut writer,
        )?;
    }
    writer.metadata("micro.arena_length", arena.max(1))?;
    for (name, list) in [("input", &graph.inputs), ("output", &graph.outputs)] {
        for &tensor in list {
            port(&mut writer, name, &graph.tensors[tensor], memory.input(tensor)?, &memory.memory)?;
        }
    }
    let memory = &mut memory.memory;
    // A tensor cannot be empty.
    memory.weights.resize(memory.weights.len().max(1), 0);
    let (plan, reset) = (memory.words(&memory.records)?, memory.words(&memory.reset)?);
    let dims = [memory.weights.len(), plan.len() / 4, reset.len() / 4].map(|len| [len as u64]);
    let tensors = [
        NewTensor { name: "weights", dims: &dims[0], kind: TensorType::I8, data: &memory.weights },
        NewTensor { name: "plan", dims: &dims[1], kind: TensorType::I32, data: &plan },
        NewTensor { name: "reset", dims: &dims[2], kind: TensorType::I32, data: &reset },
    ];
    if plan.is_empty() {
        return Err(Error::TooMany { field: "operators", found: 0, most: 0 }.into());
    }
    writer.write(if reset.is_empty() { &tensors[..2] } else { &tensors }, out)?;
    Ok(())
}

/// Writes the metadata of the input or the output: its type, shape, scale and place.
fn port(
    writer: &mut Writer,
    name: &str,
    tensor: &Tensor<'_>,
    place: Place,
    memory: &Memory,
) -> Result<(), crate::Error> {
    let key = |field: &str| format!("micro.{name}.{field}");
    let words = |sizes: &[usize]| -> Result<Vec<u32>, Error> {
        sizes.iter().map(|&size| u32::try_from(size).map_err(|_| Error::TooLarge)).collect()
    };
    writer.metadata(&key("shape"), &words(&tensor.shape)?[..])?;
    writer.metadata(&key("type"), if tensor.kind == Kind::UInt8 { "uint8" } else { "int8" })?;
    writer.metadata(&key("scale"), tensor.scale(0)?)?;
    writer.metadata(&key("zero_point"), tensor.zero()?)?;
    writer.metadata(&key("extent"), &words(&extent(&tensor.shape))?[..])?;
    writer.metadata(&key("view"), &words(&[memory.offset(&place), place.row, place.column])?[..])?;
    Ok(())
}
