//! Sound from files and streams, as models take it.

mod resample;
mod samples;
mod wav;

use crate::{Error, one_line};
use resample::Resampler;
use samples::{Coding, Format, rounded};
use smidgen::frontend::audio::SAMPLE_RATE;
use std::fs::File;
use std::io::{self, Chain, Cursor, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const BUFFER: usize = 8192;

/// Sound that is read: mono, 16 bits, 16,000 samples per second, whatever the file has.
///
/// WAV files (RIFF, RF64, BW64) may have PCM of 8 to 32 bits, floating-point samples, A-law or mu-law, 1 to 256 channels, of which the mean
/// is heard, and 1,000 to 768,000 samples per second. What has another rate is resampled, the same to the bit on every machine. A sound
/// goes on to the end of the file if the length in its header is longer, or one that stands for an unknown length: 0, 0x7ffff000, 0x7fffffff,
/// 0x80000000 and 0xffffffff.
#[derive(Debug)]
pub struct Sound<R> {
    /// For errors.
    path: PathBuf,
    source: Chain<Cursor<Vec<u8>>, R>,
    format: Format,
    /// None for sound that has the rate already.
    resampler: Option<Resampler>,
    /// Bytes of sound that the header promises; none if it goes on to the end.
    length: Option<u64>,
    is_raw: bool,
    /// Bytes of sound that were read.
    heard: u64,
    /// Bytes that wait for the rest of their frame at its beginning.
    buffer: Vec<u8>,
    filled: usize,
    /// A frame as one channel.
    mono: Vec<f64>,
    samples: Vec<i16>,
    has_ended: bool,
}

impl Sound<File> {
    /// Opens a WAV file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Sound`].
    pub fn open(path: &Path) -> Result<Sound<File>, Error> {
        let failed = |error| Error::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Error::Sound { path: path.to_owned(), reason: "this is a directory; give a WAV file".into() });
        }
        Sound::wav(file, path)
    }
}

impl<R: Read> Sound<R> {
    /// Reads a WAV file from its first byte; its path is for errors.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Sound`].
    pub fn wav(source: R, path: &Path) -> Result<Sound<R>, Error> {
        Sound::begin(source, path, false)
    }

    /// Reads a stream: a WAV file if it begins as one (`RIFF`, `RF64`, `BW64`), otherwise raw samples: mono, 16 bits, little-endian, 16,000 per
    /// second. A stream that begins as a file of another known kind is refused.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Sound`].
    pub fn stream(source: R, path: &Path) -> Result<Sound<R>, Error> {
        Sound::begin(source, path, true)
    }

    fn begin(mut source: R, path: &Path, may_be_raw: bool) -> Result<Sound<R>, Error> {
        let wrong = |reason| Error::Sound { path: path.to_owned(), reason };
        let mut start = Vec::new();
        source
            .by_ref()
            .take(wav::START as u64)
            .read_to_end(&mut start)
            .map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let is_wav = wav::is_wav(&start).map_err(wrong)?;
        if !is_wav && !may_be_raw {
            let reason = match &*start {
                [] => "the file is empty; give a WAV file".into(),
                start => format!(
                    "not a WAV file: it begins with \"{}\", not RIFF",
                    start.get(..4).unwrap_or(start).escape_ascii()
                ),
            };
            return Err(wrong(reason));
        }
        let raw = Format { coding: Coding::S16, channels: 1 };
        let mut header = wav::Header { format: raw, rate: SAMPLE_RATE as u32, length: None };
        if is_wav {
            header = wav::header(&start, &mut source).map_err(wrong)?;
            start.clear();
        }
        let frame = header.format.frame();
        Ok(Sound {
            path: path.to_owned(),
            source: Cursor::new(start).chain(source),
            format: header.format,
            resampler: (header.rate as usize != SAMPLE_RATE).then(|| Resampler::new(header.rate)),
            length: header.length,
            is_raw: !is_wav,
            heard: 0,
            buffer: vec![0; BUFFER.next_multiple_of(frame)],
            filled: 0,
            mono: Vec::new(),
            samples: Vec::new(),
            has_ended: false,
        })
    }

    /// The next samples, as soon as some are there; none at the end.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Sound`] for a WAV file without any sound, and for samples that are not finite.
    pub fn samples(&mut self) -> Result<&[i16], Error> {
        self.samples.clear();
        while self.samples.is_empty() && !self.has_ended {
            self.fill()?;
        }
        Ok(&self.samples)
    }

    /// What is to be said of a sound that has ended: that it was cut off. Not of raw samples, which have no length.
    pub fn cut_off(&self) -> Option<String> {
        let promised = self.length.filter(|length| self.has_ended && *length > self.heard)?;
        let path = self.path.display();
        Some(format!(
            "{path}: the WAV file is cut off: {promised} bytes of sound are promised, {} are there",
            self.heard
        ))
    }

    /// Reads once.
    fn fill(&mut self) -> Result<(), Error> {
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let most = self.length.map_or(u64::MAX, |length| length - self.heard).min(room.len() as u64);
        let room = room.get_mut(..most as usize).unwrap_or_default();
        let read = loop {
            match self.source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| Error::Read { path: self.path.clone(), error })?,
            }
        };
        self.heard += read as u64;
        self.filled += read;
        let (frame, before) = (self.format.frame(), self.heard / self.format.frame() as u64);
        let whole = self.filled - self.filled % frame;
        let frames = self.buffer.get(..whole).unwrap_or_default().chunks_exact(frame);
        let first = before - frames.len() as u64;
        self.mono.clear();
        self.mono.extend(frames.map(|frame| self.format.mono(frame)));
        if let Some(place) = self.mono.iter().position(|value| !value.is_finite()) {
            let place = first + place as u64;
            return Err(self.wrong(format!("sample {place} is not a finite number")));
        }
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        let samples = &mut self.samples;
        match &mut self.resampler {
            None => samples.extend(self.mono.iter().map(|value| rounded(*value))),
            Some(resampler) => resampler.push(&self.mono, |value| samples.push(rounded(value))),
        }
        if read == 0 {
            self.end()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        self.has_ended = true;
        if self.heard < self.format.frame() as u64 && !self.is_raw {
            return Err(self.wrong("the WAV file has no samples".into()));
        }
        let samples = &mut self.samples;
        if let Some(resampler) = &mut self.resampler {
            resampler.end(|value| samples.push(rounded(value)));
        }
        // Chunks after the sound: a program that writes to a pipe is not to fail.
        io::copy(&mut self.source, &mut io::sink()).map_err(|error| Error::Read { path: self.path.clone(), error })?;
        Ok(())
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Sound { path: self.path.clone(), reason: one_line(&reason) }
    }
}
