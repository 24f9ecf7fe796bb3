//! Recordings in memory.

/// The samples of a WAV file, which must be of one channel, 16 bits and 16,000 samples per second; none if they are not found.
pub fn samples(file: &[u8]) -> &[[u8; 2]] {
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((header, body)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, size @ ..] = *header;
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        if [a, b, c, d] == *b"data" {
            return body.get(..size).unwrap_or(body).as_chunks().0;
        }
        rest = body.get(size.saturating_add(size & 1)..).unwrap_or_default();
    }
    &[]
}
