//! The header of a WAV file: Microsoft's and IBM's "Multimedia Programming Interface and Data Specifications", WAVEFORMATEXTENSIBLE, and
//! EBU Tech 3306 (RF64).

use super::samples::{Coding, Format};
use std::io::{self, Read};

/// Bytes of a file that tell whether it is a WAV file.
pub(super) const START: usize = 12;
/// Most channels that are mixed down.
const MAX_CHANNELS: u16 = 256;
/// Samples per second that are taken.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Lengths that programs write which do not know it, as they write to a pipe or were ended.
const UNKNOWN: [u32; 5] = [0, 0x7fff_f000, 0x7fff_ffff, 0x8000_0000, u32::MAX];
/// What other files of sound begin with.
const OTHERS: [(&[u8], &str); 8] = [
    (b"fLaC", "a FLAC file"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"FORM", "an AIFF file"),
    (b"caff", "a Core Audio file"),
    (b".snd", "a Sun audio file"),
    (b"RIFX", "a WAV file of big-endian numbers (RIFX)"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
];

/// What follows the header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) format: Format,
    /// Samples per second.
    pub(super) rate: u32,
    /// Bytes of sound; none if it goes on to the end of the file.
    pub(super) length: Option<u64>,
}

/// Whether a file or a stream that begins so is to be read as a WAV file.
///
/// # Errors
/// What it is instead, if that is known and not to be taken for raw samples.
pub(super) fn is_wav(start: &[u8]) -> Result<bool, String> {
    let other = OTHERS.iter().find(|(magic, _)| start.starts_with(magic));
    // These letters are samples too.
    let is_named = |magic: &[u8]| magic != b"FORM" || start.get(8..).is_some_and(|kind| kind.starts_with(b"AIF"));
    if let Some((_, name)) = other.filter(|(magic, _)| is_named(magic)) {
        return Err(format!("this is {name}; make a WAV file of it"));
    }
    Ok([b"RIFF", b"RF64", b"BW64"].iter().any(|magic| start.starts_with(*magic)))
}

/// Reads to the first byte of sound; `start` are the first [`START`] bytes, or all there are.
///
/// # Errors
/// What is wrong, with its place in bytes.
pub(super) fn header(start: &[u8], source: &mut impl Read) -> Result<Header, String> {
    let mut source = Counted { source, at: start.len() as u64 };
    let Some((riff, kind)) = start.split_first_chunk::<8>().filter(|_| start.len() == START) else {
        return Err(source.cut_off("in its first chunk"));
    };
    if kind != b"WAVE" {
        return Err(format!("not a WAV file: its form at byte 8 is {}, not WAVE", name(kind)));
    }
    let is_long = !riff.starts_with(b"RIFF");
    let (mut format, mut long) = (None, None);
    loop {
        let at = source.at;
        let Some([a, b, c, d, length @ ..]) = source.array::<8>()? else {
            return Err(source.cut_off(if format.is_none() {
                "before the fmt chunk"
            } else {
                "before the data chunk"
            }));
        };
        let (id, length) = ([a, b, c, d], u32::from_le_bytes(length));
        match &id {
            b"fmt " => format = Some(fmt(&mut source, length, at)?),
            b"ds64" if is_long => {
                let Some(sizes) = source.array::<24>()? else { return Err(source.cut_off("in the ds64 chunk")) };
                let data = sizes.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                long = data;
                source.skip(u64::from(length).saturating_sub(24) + u64::from(length % 2), "in the ds64 chunk")?;
            }
            b"data" => {
                let Some((format, rate)) = format else {
                    return Err(format!("the data chunk at byte {at} comes before the fmt chunk"));
                };
                let length = match long {
                    Some(long) if length == u32::MAX => Some(long).filter(|long| *long != 0 && *long != u64::MAX),
                    _ => Some(u64::from(length)).filter(|_| !UNKNOWN.contains(&length)),
                };
                return Ok(Header { format, rate, length });
            }
            // A chunk of odd length is followed by a byte of padding.
            _ => {
                let place = format!("in the chunk {} at byte {at}", name(&id));
                source.skip(u64::from(length) + u64::from(length % 2), &place)?;
            }
        }
    }
}

/// The fmt chunk.
fn fmt<R: Read>(source: &mut Counted<R>, length: u32, at: u64) -> Result<(Format, u32), String> {
    if length < 16 {
        return Err(format!("the fmt chunk at byte {at} has {length} bytes, but at least 16 are needed"));
    }
    let cut_off = |source: &Counted<R>| source.cut_off("in the fmt chunk");
    let Some(plain) = source.array::<16>()? else { return Err(cut_off(source)) };
    let [tag, tag1, channels, channels1, r0, r1, r2, r3, _, _, _, _, frame, frame1, bits, bits1] = plain;
    let [mut tag, channels, frame, bits] =
        [[tag, tag1], [channels, channels1], [frame, frame1], [bits, bits1]].map(u16::from_le_bytes);
    let rate = u32::from_le_bytes([r0, r1, r2, r3]);
    let mut rest = u64::from(length) - 16;
    if tag == 0xfffe {
        let Some(more) = source.array::<24>()?.filter(|_| rest >= 24) else { return Err(cut_off(source)) };
        rest -= 24;
        // Size, bits that are used, places of loudspeakers, then what the format is.
        let Some((_, [low, high, kind @ ..])) = more.split_first_chunk::<8>() else { return Err(cut_off(source)) };
        if kind != b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71" {
            return Err(
                "its extensible format (SubFormat) is not a known one; make a WAV file with PCM samples of it".into()
            );
        }
        tag = u16::from_le_bytes([*low, *high]);
    }
    source.skip(rest + u64::from(length % 2), "in the fmt chunk")?;
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(format!("the fmt chunk at byte {at} has {channels} channels, but 1 to {MAX_CHANNELS} are taken"));
    }
    if !RATES.contains(&rate) {
        let (least, most) = (RATES.start(), RATES.end());
        return Err(format!(
            "the fmt chunk at byte {at} has {rate} samples per second, but {least} to {most} are taken"
        ));
    }
    let bytes = frame / channels;
    let coding = match (tag, bytes, bits) {
        (1, 1, 1..=8) => Coding::U8,
        (1, 2, 9..=16) => Coding::S16,
        (1, 3, 17..=24) => Coding::S24,
        (1, 4, 25..=32) => Coding::S32,
        (3, 4, 32) => Coding::F32,
        (3, 8, 64) => Coding::F64,
        (6, 1, 8) => Coding::ALaw,
        (7, 1, 8) => Coding::MuLaw,
        (1 | 3 | 6 | 7, ..) => {
            let kind = codec(tag);
            return Err(format!(
                "the fmt chunk at byte {at} has {kind} samples of {bits} bits in frames of {frame} bytes for {channels} channels; \
                 8 to 32 bits of PCM, 32 or 64 of floating-point, 8 of A-law and mu-law are taken"
            ));
        }
        _ => {
            return Err(format!(
                "its samples are coded as {} (format {tag:#06x}); make a WAV file with PCM samples of it",
                codec(tag)
            ));
        }
    };
    if frame != bytes * channels {
        return Err(format!(
            "the fmt chunk at byte {at} has frames of {frame} bytes, which {channels} channels do not divide"
        ));
    }
    Ok((Format { coding, channels: channels.into() }, rate))
}

/// What a format's number stands for.
fn codec(tag: u16) -> &'static str {
    match tag {
        1 => "PCM",
        2 => "Microsoft ADPCM",
        3 => "floating-point",
        6 => "A-law",
        7 => "mu-law",
        0x11 => "IMA ADPCM",
        0x31 => "GSM 6.10",
        0x40 | 0x45 | 0x64 | 0x65 => "G.726",
        0x50 => "MPEG",
        0x55 => "MP3",
        0xff => "AAC",
        _ => "something unknown",
    }
}

/// A chunk's name, to print.
fn name(id: &[u8]) -> String {
    format!("\"{}\"", id.escape_ascii())
}

/// Bytes that are counted.
struct Counted<'r, R> {
    source: &'r mut R,
    at: u64,
}

impl<R: Read> Counted<'_, R> {
    /// The next bytes; none if there are not as many.
    fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, String> {
        let mut bytes = [0; N];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => {
                self.at += N as u64;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    /// Passes over bytes, which must be there.
    fn skip(&mut self, bytes: u64, place: &str) -> Result<(), String> {
        let passed = io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink());
        let passed = passed.map_err(|error| format!("cannot be read: {error}"))?;
        self.at += passed;
        if passed == bytes { Ok(()) } else { Err(self.cut_off(place)) }
    }

    fn cut_off(&self, place: &str) -> String {
        format!("the WAV file is cut off {place}, after byte {}: there is no sound in it", self.at)
    }
}
