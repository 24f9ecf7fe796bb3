//! JPEG files made of coefficients, in every kind that is taken; cut and damaged ones.

use super::scan;
use crate::{Error, Picture};
use smidgen_tests::Random;
use std::path::Path;

/// How a file is written.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Sampling factors of each component, those of the first the largest.
    sampling: [[usize; 2]; 4],
    components: usize,
    is_progressive: bool,
    /// Whether a baseline file has a scan for each component.
    is_separate: bool,
    /// MCUs between restart markers.
    restart: usize,
    /// What Adobe's segment says of the colours.
    transform: Option<u8>,
}

const SIZE: [usize; 2] = [37, 29];
/// No component is subsampled.
const WHOLE: [[usize; 2]; 4] = [[1, 1]; 4];

/// All but the first are.
fn with_luma(first: [usize; 2]) -> [[usize; 2]; 4] {
    [first, [1, 1], [1, 1], [1, 1]]
}

impl Kind {
    /// Blocks of a component in an interleaved scan, across and down.
    fn grid(&self, component: usize) -> [usize; 2] {
        let own = self.sampling[component];
        [0, 1].map(|side| SIZE[side].div_ceil(8 * self.sampling[0][side]) * own[side])
    }

    /// Its blocks, with coefficients in the order of the zigzag.
    fn blocks(&self) -> Vec<Vec<[i32; 64]>> {
        let mut random = Random(5);
        let mut block = || {
            let mut block = [0; 64];
            block[0] = random.below(60) as i32 - 30;
            for _ in 0..random.below(9) {
                block[1 + random.below(12)] = random.below(15) as i32 - 7;
            }
            if random.below(4) == 0 {
                block[63 - random.below(8)] = 1 - 2 * random.below(2) as i32;
            }
            block
        };
        (0..self.components).map(|number| (0..self.grid(number).iter().product()).map(|_| block()).collect()).collect()
    }

    fn file(&self) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        let mut segment = |code: u8, data: &[u8]| {
            file.extend([0xff, code]);
            file.extend((data.len() as u16 + 2).to_be_bytes());
            file.extend(data);
        };
        if let Some(transform) = self.transform {
            segment(0xee, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat());
        }
        segment(0xdb, &[&[0, 24][..], &[16; 63]].concat());
        let mut frame = vec![8, 0, SIZE[1] as u8, 0, SIZE[0] as u8, self.components as u8];
        for number in 0..self.components {
            let sampling = self.sampling[number];
            frame.extend([number as u8 + 1, (sampling[0] << 4 | sampling[1]) as u8, 0]);
        }
        segment(if self.is_progressive { 0xc2 } else { 0xc0 }, &frame);
        // Twelve codes of 4 bits; 254 of 8 and two of 9.
        let mut counts = [0; 16];
        counts[3] = 12;
        segment(0xc4, &[&[0][..], &counts, &(0..12).collect::<Vec<u8>>()].concat());
        (counts[3], counts[7], counts[8]) = (0, 254, 2);
        segment(0xc4, &[&[0x10][..], &counts, &(0..=255).collect::<Vec<u8>>()].concat());
        if self.restart > 0 {
            segment(0xdd, &(self.restart as u16).to_be_bytes());
        }
        let all: Vec<usize> = (0..self.components).collect();
        let mut scan = |components: &[usize], [first, last, high, low]: [u8; 4]| {
            let mut header = vec![components.len() as u8];
            components.iter().for_each(|number| header.extend([*number as u8 + 1, 0]));
            header.extend([first, last, high << 4 | low]);
            file.extend([0xff, 0xda]);
            file.extend((header.len() as u16 + 2).to_be_bytes());
            file.extend(header);
            file.extend(self.scan(components, [first, last, high, low]));
        };
        if self.is_progressive {
            scan(&all, [0, 0, 0, 1]);
            for number in 0..self.components {
                scan(&[number], [1, 5, 0, 0]);
                scan(&[number], [6, 63, 0, 2]);
                scan(&[number], [6, 63, 2, 1]);
            }
            scan(&all, [0, 0, 1, 0]);
            (0..self.components).for_each(|number| scan(&[number], [6, 63, 1, 0]));
        } else {
            match self.is_separate {
                true => all.iter().for_each(|number| scan(&[*number], [0, 63, 0, 0])),
                false => scan(&all, [0, 63, 0, 0]),
            }
        }
        file.extend([0xff, 0xd9]);
        file
    }

    /// The codes of a scan.
    fn scan(&self, components: &[usize], [first, last, high, low]: [u8; 4]) -> Vec<u8> {
        let blocks = self.blocks();
        let mut mcus: Vec<Vec<(usize, usize)>> = Vec::new();
        if let [number] = components {
            let (number, grid) = (*number, self.grid(*number));
            let own = self.sampling[number];
            let [across, down] = [0, 1].map(|side| (SIZE[side] * own[side]).div_ceil(8 * self.sampling[0][side]));
            mcus.extend((0..across * down).map(|i| vec![(number, i / across * grid[0] + i % across)]));
        } else {
            let [across, down] = [0, 1].map(|side| SIZE[side].div_ceil(8 * self.sampling[0][side]));
            for mcu in 0..across * down {
                let mut parts = Vec::new();
                for &number in components {
                    let [h, v] = self.sampling[number];
                    let corner = mcu / across * v * self.grid(number)[0] + mcu % across * h;
                    parts.extend((0..h * v).map(|i| (number, corner + i / h * self.grid(number)[0] + i % h)));
                }
                mcus.push(parts);
            }
        }
        let mut bits = Bits::default();
        let mut before = vec![0; self.components];
        for (i, mcu) in mcus.into_iter().enumerate() {
            if self.restart > 0 && i > 0 && i % self.restart == 0 {
                bits.end();
                bits.bytes.extend([0xff, 0xd0 + (i / self.restart - 1) as u8 % 8]);
                before.fill(0);
            }
            for (number, place) in mcu {
                let block = &blocks[number][place];
                let band = usize::from(first.max(1))..=usize::from(last);
                if first == 0 && high == 0 {
                    bits.dc((block[0] >> low) - before[number]);
                    before[number] = block[0] >> low;
                } else if first == 0 {
                    bits.put(block[0] >> low & 1, 1);
                }
                match (self.is_progressive && first == 0, high) {
                    (true, _) => {}
                    (_, 0) => bits.ac(band.map(|k| block[k] / (1 << low))),
                    _ => bits.refined(band.map(|k| block[k] / (1 << low))),
                }
            }
        }
        bits.end();
        bits.bytes
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: i32, count: u32) {
        for bit in (0..count).rev() {
            self.held = self.held << 1 | (value >> bit & 1) as u32;
            self.count += 1;
            if self.count == 8 {
                let byte = self.held as u8;
                self.bytes.push(byte);
                if byte == 0xff {
                    self.bytes.push(0);
                }
                (self.held, self.count) = (0, 0);
            }
        }
    }

    fn end(&mut self) {
        if self.count > 0 {
            self.put(0x7f, 8 - self.count);
        }
    }

    fn signed(&mut self, value: i32, size: u32) {
        self.put(if value < 0 { value - 1 } else { value }, size);
    }

    fn dc(&mut self, difference: i32) {
        let size = 32 - difference.unsigned_abs().leading_zeros();
        self.put(size as i32, 4);
        self.signed(difference, size);
    }

    fn symbol(&mut self, symbol: i32) {
        if symbol < 254 { self.put(symbol, 8) } else { self.put(254 + symbol, 9) }
    }

    fn ac(&mut self, band: impl Iterator<Item = i32>) {
        let band: Vec<i32> = band.collect();
        let used = band.iter().rposition(|value| *value != 0).map_or(0, |last| last + 1);
        let mut zeros = 0;
        for value in &band[..used] {
            if *value == 0 {
                zeros += 1;
                continue;
            }
            (0..zeros / 16).for_each(|_| self.symbol(0xf0));
            let size = 32 - value.unsigned_abs().leading_zeros();
            self.symbol((zeros % 16) << 4 | size as i32);
            self.signed(*value, size);
            zeros = 0;
        }
        if used < band.len() {
            self.symbol(0);
        }
    }

    /// Coefficients of which the last bit is new.
    fn refined(&mut self, band: impl Iterator<Item = i32>) {
        let band: Vec<i32> = band.collect();
        let used = band.iter().rposition(|value| value.abs() == 1).map_or(0, |last| last + 1);
        let (mut zeros, mut corrections) = (0, Vec::new());
        for value in &band[..used] {
            match value.abs() {
                0 if zeros == 15 => {
                    self.symbol(0xf0);
                    corrections.drain(..).for_each(|bit| self.put(bit, 1));
                    zeros = 0;
                }
                0 => zeros += 1,
                1 => {
                    self.symbol(zeros << 4 | 1);
                    self.put(i32::from(*value > 0), 1);
                    corrections.drain(..).for_each(|bit| self.put(bit, 1));
                    zeros = 0;
                }
                size => corrections.push(size & 1),
            }
        }
        if used < band.len() {
            self.symbol(0);
            band[used..].iter().filter(|value| value.abs() > 1).for_each(|value| self.put(value.abs() & 1, 1));
        }
    }
}

/// Each baseline file, and the same picture as a progressive one.
fn kinds() -> Vec<[Kind; 2]> {
    let mut kinds = Vec::new();
    for (components, sampling, transform) in [
        (1, WHOLE, None),
        (3, WHOLE, None),
        (3, with_luma([2, 2]), None),
        (3, with_luma([2, 1]), None),
        (3, WHOLE, Some(0)),
        (4, WHOLE, Some(0)),
        (4, WHOLE, Some(2)),
    ] {
        for restart in [0, 2] {
            let kind = Kind { sampling, components, is_progressive: false, is_separate: false, restart, transform };
            kinds.push([kind, Kind { is_progressive: true, ..kind }]);
        }
    }
    kinds
}

/// A file with a segment of its own.
pub(super) fn noise(segment: &[u8]) -> Vec<u8> {
    let [baseline, _] = kinds()[2];
    let file = baseline.file();
    [&file[..2], segment, &file[2..]].concat()
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let picture = Picture::decode(bytes, Path::new("x.jpg"))?;
    assert_eq!([picture.width, picture.height], SIZE);
    Ok(picture.pixels)
}

/// The error of a file that cannot be whole, which names it on one line.
fn refused(bytes: &[u8]) -> String {
    let error = decode(bytes).expect_err("a refusal");
    let text = error.to_string();
    assert!(
        matches!(error, Error::ImageDamaged { .. }) && text.starts_with("x.jpg: ") && !text.contains('\n'),
        "{text}"
    );
    text
}

#[test]
fn progressive_and_baseline_files_are_one_picture() {
    for [baseline, progressive] in kinds() {
        let (pixels, same) = (decode(&baseline.file()).unwrap(), decode(&progressive.file()).unwrap());
        // The decoder rounds few coefficients of a block otherwise than many; a wrong one is 3 or more.
        assert!(pixels.iter().zip(&same).all(|(a, b)| a.abs_diff(*b) <= 1), "{baseline:?}");
        assert!(pixels.iter().any(|byte| *byte > 150) && pixels.iter().any(|byte| *byte < 50), "{baseline:?}");
        assert!(pixels == decode(&Kind { restart: 3, ..baseline }.file()).unwrap(), "{baseline:?}");
        let separate = Kind { is_separate: true, ..baseline };
        if baseline.components > 1 && baseline.sampling[0][1] > 1 {
            let text = refused(&separate.file());
            assert!(text.contains("a scan for each") && text.contains("not supported"), "{text}");
        } else {
            assert!(pixels == decode(&separate.file()).unwrap(), "{separate:?}");
        }
    }
}

/// Every cut that loses picture data is refused; one that loses only the end marker is the whole picture.
#[test]
fn cut_off_files_are_refused() {
    for kind in kinds().into_iter().flatten() {
        let whole = kind.file();
        let (pixels, end) = (decode(&whole).unwrap(), whole.len() - 2);
        for lost in [0, 1] {
            assert!(decode(&whole[..end + lost]).unwrap() == pixels, "{kind:?}");
        }
        for length in (4..end).step_by(5).chain(end - 20..end) {
            let text = refused(&whole[..length]);
            assert!(text.contains("cut off at byte"), "{kind:?} {length}: {text}");
        }
    }
}

/// What libjpeg warns of and fills up: data that end early, and restart markers that are lost.
#[test]
fn gaps_in_the_middle_are_refused() {
    for [kind, progressive] in kinds() {
        let whole = kind.file();
        let data = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 30;
        for length in (data..whole.len() - 12).step_by(29) {
            refused(&[&whole[..length], &[0xff, 0xd9]].concat());
        }
        // In its first scan, of DC coefficients.
        refused(&[&progressive.file()[..data - 8], &[0xff, 0xd9]].concat());
        if kind.restart > 0 {
            let marker = (data..).find(|at| whole[*at] == 0xff && (0xd0..0xd8).contains(&whole[at + 1])).unwrap();
            let text = refused(&[&whole[..marker], &whole[marker + 2..]].concat());
            assert!(text.contains("at byte") || text.contains("before byte"), "{text}");
            let swapped = [&whole[..marker + 1], &[0xd5], &whole[marker + 2..]].concat();
            assert!(refused(&swapped).contains(&format!("a restart marker is missing at byte {marker}")));
        }
    }
}

#[test]
fn what_follows_the_end_is_not_looked_at() {
    let [baseline, progressive] = kinds()[2];
    for kind in [baseline, progressive] {
        let whole = kind.file();
        let pixels = decode(&whole).unwrap();
        // As cameras store a second picture.
        assert!(decode(&[&whole[..], &whole[..100], b"more"].concat()).unwrap() == pixels);
        let expected = scan::Whole { file: whole[..whole.len() - 2].to_vec(), components: 3 };
        assert_eq!(scan::check(&whole).unwrap(), expected);
        // Nor is what lies between segments, nor Adobe's if it is cut off, or if JFIF's is there.
        let junk = [&whole[..2], &b"\xff\xe0\0\x07JFIF\0\0\0\x17junk\xff\0\xff\xee\0\x09Adobe\0\x64"[..], &whole[2..]]
            .concat();
        assert!(decode(&junk).unwrap() == pixels);
        let jfif = noise(b"\xff\xe0\0\x07JFIF\0\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0");
        assert!(decode(&jfif).unwrap() == decode(&noise(&[])).unwrap());
    }
}

#[test]
fn kinds_that_are_not_taken_are_named() {
    let [baseline, _] = kinds()[2];
    let whole = baseline.file();
    let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut file = whole.clone();
        file[at] = byte;
        refused(&file)
    };
    assert!(changed(frame + 1, 0xc9).contains("arithmetic"));
    assert!(changed(frame + 1, 0xc3).contains("lossless"));
    assert!(changed(frame + 4, 12).contains("12 bits"));
    assert!(changed(frame + 9, 2).contains("2 components"));
    assert!(changed(frame + 6, 0).contains("37 x 0"));
    assert!(changed(frame + 11, 0x51).contains("0xc0"));
    assert!(refused(&whole[..frame]).contains("header"));
}

/// Inks as Adobe stores them, in one colour for the whole picture: what Pillow gives for them.
#[test]
fn inks_become_colours() {
    let flat = |transform: u8, stored: [i32; 4]| {
        let kind = Kind {
            sampling: WHOLE,
            components: 4,
            is_progressive: false,
            is_separate: false,
            restart: 0,
            transform: Some(transform),
        };
        let whole = kind.file();
        let data = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 16;
        let mut bits = Bits::default();
        for block in 0..5 * 4 {
            for value in stored {
                // A block of one value is eight times it; the table divides by 24.
                bits.dc(if block == 0 { (value - 128) * 8 / 24 } else { 0 });
                bits.symbol(0);
            }
        }
        bits.end();
        let pixels = decode(&[&whole[..data], &bits.bytes, &[0xff, 0xd9]].concat()).unwrap();
        let first: [u8; 3] = pixels[..3].try_into().unwrap();
        assert!(pixels.as_chunks().0.iter().all(|pixel| *pixel == first));
        first
    };
    // Multiples of 3 from the middle, which the table keeps.
    assert_eq!(flat(0, [128, 128 + 96, 128 - 96, 128 + 96]), [112, 197, 28]);
    assert_eq!(flat(0, [128 + 96, 128 - 96, 128, 128 - 48]), [70, 10, 40]);
    // Without chroma, the three inks are the same.
    assert_eq!(flat(2, [128 + 48, 128, 128, 128 + 96]), [69, 69, 69]);
}
