//! Packing: the tensors of a file in panels of sixteen rows, everything else byte for byte as it was.

use crate::Error;
use smidgen_gguf::{Gguf, Tensor, TensorType};
use smidgen_quant::{Format, packed::PANEL};
use std::io::Write;

/// Writes the GGUF file `bytes` with every matrix of a format that has panels, and at least one panel of rows, packed. `progress` is
/// told the number of bytes written.
///
/// # Errors
/// [`Error::Nothing`] if no tensor can be packed, [`Error::PartlyPacked`] if some can be and some are packed already, and the reader's and the
/// writer's errors.
pub fn pack(bytes: &[u8], out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let packed = |tensor: &Tensor| {
        let matrix = tensor.n_dims == 2 && tensor.dims[1] >= PANEL as u64;
        tensor.kind.packed().filter(|_| matrix && tensor.kind.unpacked().is_none())
    };
    let file = Gguf::parse(bytes)?;
    // To unpack is to unpack all, so the file would not come back as it is now.
    if let Some(done) = file.tensors().find(|tensor| tensor.kind.unpacked().is_some())
        && file.tensors().any(|tensor| packed(&tensor).is_some())
    {
        return Err(Error::PartlyPacked { tensor: done.name.into() });
    }
    rewrite(bytes, out, progress, "packed", packed, Format::pack)
}

/// Writes the file that [`pack`] made `bytes` from, byte for byte.
///
/// # Errors
/// As for [`pack`].
pub fn unpack(bytes: &[u8], out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    rewrite(bytes, out, progress, "unpacked", |tensor| tensor.kind.unpacked(), Format::unpack)
}

/// Copies a file, but for the tensors to which `target` gives a new type, whose data `permute` moves.
fn rewrite(
    bytes: &[u8],
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
    wanted: &'static str,
    target: impl Fn(&Tensor) -> Option<TensorType>,
    permute: impl Fn(Format, usize, &[u8], &mut [u8]),
) -> Result<(), Error> {
    let file = Gguf::parse(bytes)?;
    let mut tensors: Vec<_> = file.tensors().filter_map(|tensor| target(&tensor).map(|kind| (tensor, kind))).collect();
    if tensors.is_empty() {
        return Err(Error::Nothing { wanted });
    }
    tensors.sort_by_key(|(tensor, _)| tensor.offset);
    let mut head = bytes[..file.data_offset() as usize].to_vec();
    for (tensor, kind) in &tensors {
        let at = tensor.kind_at as usize;
        head[at..at + 4].copy_from_slice(&kind.id().to_le_bytes());
    }
    out.write_all(&head)?;
    let mut written = head.len();
    let mut moved = Vec::new();
    for (tensor, _) in &tensors {
        let (start, end) = (tensor.offset as usize, tensor.offset as usize + tensor.data.len());
        out.write_all(&bytes[written..start])?;
        let plain = tensor.kind.unpacked().unwrap_or(tensor.kind);
        // The reader has checked that the data is `dims[1]` rows of whole blocks.
        let (Some(format), rows) = (Format::from_id(plain.id()), tensor.dims[1] as usize) else {
            return Err(Error::Nothing { wanted });
        };
        let row_bytes = tensor.data.len() / rows.max(1);
        for part in tensor.data.chunks((PANEL * row_bytes).max(1)) {
            moved.resize(part.len(), 0);
            permute(format, row_bytes, part, &mut moved);
            out.write_all(&moved)?;
        }
        written = end;
        progress(written as u64);
    }
    out.write_all(&bytes[written..])?;
    progress(bytes.len() as u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smidgen_gguf::{NewTensor, Writer};

    fn file() -> Vec<u8> {
        let data: Vec<u8> = (0..50_000u32).map(|i| ((i * 7) >> 2) as u8).collect();
        let tensor = |name, dims, kind: TensorType, rows: u64, cols: u64| {
            let len = (kind.bytes(cols).unwrap_or(0) * rows) as usize;
            NewTensor { name, dims, kind, data: &data[..len] }
        };
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama").unwrap();
        let tensors = [
            tensor("a", &[64, 40], TensorType::Q4_0, 40, 64),
            tensor("norm", &[64], TensorType::F32, 1, 64),
            tensor("b", &[256, 33], TensorType::Q6_K, 33, 256),
            tensor("few", &[64, 15], TensorType::Q8_0, 15, 64),
            tensor("plain", &[16, 16], TensorType::F16, 16, 16),
        ];
        writer.write(&tensors, Vec::new()).unwrap()
    }

    #[test]
    fn unpacking_gives_back_every_byte() {
        let plain = file();
        let (mut packed, mut back) = (Vec::new(), Vec::new());
        pack(&plain, &mut packed, &mut |_| ()).unwrap();
        assert!(packed != plain && packed.len() == plain.len());
        let kinds: Vec<_> = Gguf::parse(&packed).unwrap().tensors().map(|tensor| tensor.kind).collect();
        assert_eq!(
            kinds,
            [TensorType::Q4_0_P16, TensorType::F32, TensorType::Q6_K_P16, TensorType::Q8_0, TensorType::F16]
        );
        unpack(&packed, &mut back, &mut |_| ()).unwrap();
        assert!(back == plain);
    }

    #[test]
    fn a_file_that_is_packed_in_part_is_refused() {
        let mut bytes = file();
        let tensors: Vec<_> = Gguf::parse(&bytes).unwrap().tensors().map(|tensor| tensor.kind_at as usize).collect();
        bytes[tensors[0]..][..4].copy_from_slice(&TensorType::Q4_0_P16.id().to_le_bytes());
        let found = pack(&bytes, &mut Vec::new(), &mut |_| ());
        assert!(matches!(found, Err(Error::PartlyPacked { tensor }) if tensor == "a"));
    }

    #[test]
    fn nothing_to_do_is_an_error() {
        let plain = file();
        assert!(matches!(unpack(&plain, &mut Vec::new(), &mut |_| ()), Err(Error::Nothing { wanted: "unpacked" })));
        let mut packed = Vec::new();
        pack(&plain, &mut packed, &mut |_| ()).unwrap();
        assert!(matches!(pack(&packed, &mut Vec::new(), &mut |_| ()), Err(Error::Nothing { wanted: "packed" })));
        assert!(matches!(pack(b"GGUF", &mut Vec::new(), &mut |_| ()), Err(Error::Gguf(_))));
    }
}
