//! GGUF to GGUF: the same model in other formats.

use crate::plan::{Data, Plan, Planned};
use crate::{Clamped, Error, Meta, Options, write};
use smidgen_gguf::Gguf;
use std::io::Write;

/// Writes the model in the parts of a GGUF file (one, if it is not split) as one file in other formats. What has its format already is copied; packed tensors come out plain. `progress` is told the bytes of weights written and how many there
/// will be.
///
/// # Errors
/// Those of the reader and of [`write`](write::write).
pub fn quantize(
    parts: &[&[u8]],
    options: Options,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Clamped, Error> {
    let mut plan = Plan::default();
    for (number, bytes) in parts.iter().enumerate() {
        let file = Gguf::parse(bytes)?;
        if number == 0 {
            const ARCHITECTURE: &str = "general.architecture";
            // The rules of mixtures ask for it.
            if let Some(offset) = file.get(ARCHITECTURE).and_then(|value| value.not_utf8()) {
                return Err(Error::NotUtf8 { key: ARCHITECTURE, offset });
            }
            let kept = file.metadata().filter(|(key, _)| !key.starts_with("split."));
            plan.metadata = kept.map(|(key, value)| (key.into(), Meta::Copy(value))).collect();
        }
        plan.tensors.extend(file.tensors().map(|tensor| Planned {
            name: tensor.name.into(),
            dims: tensor.shape().to_vec(),
            data: Data::Blocks { kind: tensor.kind, bytes: tensor.data },
        }));
    }
    write::write(&plan, options, out, progress)
}
