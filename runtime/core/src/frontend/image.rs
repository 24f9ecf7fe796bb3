//! Images as vision models take them: resized, cropped, normalized.
//!
//! The steps and their order are those of Hugging Face's image processors; the resizing is that of the library under them, Pillow
//! (`Image.resize` of 8-bit images, up to version 12.2), to the last bit: a filter as wide as the pixels that it shrinks (antialiasing),
//! coefficients in fixed point, first along rows, then along columns, both passes rounded to bytes.

use crate::RunError;
use crate::memory::{try_with_capacity, zeroed};
use alloc::vec::Vec;
use core::ops::Range;

/// An image of 8-bit red, green and blue.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

impl<'a> Image<'a> {
    /// An image of `[height × width × 3]` bytes: rows from the top, pixels from the left, each red, green, blue.
    ///
    /// # Errors
    /// [`RunError::ImageSize`] if an extent is zero or the bytes are not of that number.
    pub fn new(width: usize, height: usize, pixels: &'a [u8]) -> Result<Image<'a>, RunError> {
        let expected = width.checked_mul(height).and_then(|area| area.checked_mul(3));
        if width == 0 || height == 0 || expected != Some(pixels.len()) {
            return Err(RunError::ImageSize { width, height, bytes: pixels.len() });
        }
        Ok(Image { width, height, pixels })
    }

    /// The bytes. `[height × width × 3]`
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }
}

/// An image as a model takes it: numbers in planes.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[channels × height × width]`
    pub values: Vec<f32>,
}

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle over two pixels.
    Bilinear,
    /// Keys' cubic over four pixels, with a = -1/2 (Keys, "Cubic Convolution Interpolation for Digital Image Processing").
    Bicubic,
}

impl Filter {
    /// Half the filter's width, in pixels.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = if x < 0.0 { -x } else { x };
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// The size that an image is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It stays as it is.
    Keep,
    /// This width and height, whatever the image's.
    To(usize, usize),
    /// The shorter side becomes this long, the longer one in proportion, rounded down.
    ShorterSide(usize),
}

/// The preprocessing of images for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// First it is resized
    pub resize: Resize,
    /// with this filter,
    pub filter: Filter,
    /// then its middle is cut out: width and height, where the image is larger.
    pub crop: Option<(usize, usize)>,
    /// The factor that bytes are multiplied by.
    pub rescale: f32,
    /// Subtracted from each channel; one number for a grey image, three for a coloured one.
    pub mean: Vec<f32>,
    /// Each channel is divided by this at last; as many as the means.
    pub std: Vec<f32>,
}

/// Most values that an image becomes.
const MAX_VALUES: usize = 1 << 28;

impl Preprocess {
    /// Width and height of an image after these steps, before and after the crop. None if they overflow.
    fn sizes(&self, width: usize, height: usize) -> Option<[(usize, usize); 2]> {
        let resized = match self.resize {
            Resize::Keep => (width, height),
            Resize::To(width, height) => (width, height),
            Resize::ShorterSide(side) if width < height => (side, side.checked_mul(height)? / width),
            Resize::ShorterSide(side) => (side.checked_mul(width)? / height, side),
        };
        let cropped = self.crop.map_or(resized, |crop| (crop.0.min(resized.0), crop.1.min(resized.1)));
        Some([resized, cropped])
    }

    /// Does it. Channels are as many as the means.
    ///
    /// # Errors
    /// [`RunError::ImageSize`] if the result would be too large or empty, [`RunError::ImageChannels`] if the means are not one or three or
    /// the deviations of another number, [`RunError::OutOfMemory`].
    pub fn apply(&self, image: &Image) -> Result<Planes, RunError> {
        let Image { width, height, pixels } = *image;
        let refused = RunError::ImageSize { width, height, bytes: pixels.len() };
        let [resized, cropped] = self.sizes(width, height).ok_or(refused.clone())?;
        let values = cropped.0.checked_mul(cropped.1).and_then(|area| area.checked_mul(self.mean.len()));
        if !values.is_some_and(|values| (1..=MAX_VALUES).contains(&values)) {
            return Err(refused);
        }
        match (self.mean.len(), self.std.len()) {
            (1, 1) => self.channels(grey(pixels)?.as_chunks::<1>().0, (width, height), resized, cropped),
            (3, 3) => self.channels(pixels.as_chunks::<3>().0, (width, height), resized, cropped),
            (means, deviations) => Err(RunError::ImageChannels { means, deviations }),
        }
    }

    fn channels<const C: usize>(
        &self,
        pixels: &[[u8; C]],
        from: (usize, usize),
        resized: (usize, usize),
        cropped: (usize, usize),
    ) -> Result<Planes, RunError> {
        let middle = |whole: usize, part: usize| (whole - part) / 2..(whole - part) / 2 + part;
        let columns = Taps::new(self.filter, from.0, resized.0, middle(resized.0, cropped.0))?;
        let rows = Taps::new(self.filter, from.1, resized.1, middle(resized.1, cropped.1))?;
        // Only the rows that the second pass looks at.
        let needed = rows.inputs();
        let pixels = &pixels[needed.start * from.0..needed.end * from.0];
        let narrowed = columns.across(pixels, from.0)?;
        let bytes = rows.down(&narrowed, cropped.0, needed.start)?;
        let area = cropped.0 * cropped.1;
        let mut values = zeroed(area * C)?;
        for (c, plane) in values.chunks_exact_mut(area).enumerate() {
            let level: [f32; 256] =
                core::array::from_fn(|byte| (byte as f32 * self.rescale - self.mean[c]) / self.std[c]);
            for (value, pixel) in plane.iter_mut().zip(&bytes) {
                *value = level[usize::from(pixel[c])];
            }
        }
        Ok(Planes { width: cropped.0, height: cropped.1, values })
    }
}

/// Luma by ITU-R 601, in fixed point as Pillow's `convert("L")`.
fn grey(pixels: &[u8]) -> Result<Vec<u8>, RunError> {
    let mut luma = try_with_capacity(pixels.len() / 3)?;
    luma.extend(pixels.as_chunks::<3>().0.iter().map(|[r, g, b]| {
        let sum = u32::from(*r) * 19_595 + u32::from(*g) * 38_470 + u32::from(*b) * 7_471 + 0x8000;
        (sum >> 16) as u8
    }));
    Ok(luma)
}

/// Bits after the point of a coefficient.
const PRECISION: u32 = 22;

/// Along one axis: which input pixels make each output pixel, and their coefficients.
struct Taps {
    /// For each output pixel the first input pixel and where its coefficients lie.
    spans: Vec<(usize, Range<usize>)>,
    /// Coefficients of 22 bits after the point.
    weights: Vec<i32>,
}

impl Taps {
    /// For the output pixels `window` of an axis of `from` pixels that is resized to `to`.
    fn new(filter: Filter, from: usize, to: usize, window: Range<usize>) -> Result<Taps, RunError> {
        let scale = from as f64 / to as f64;
        let width = if scale > 1.0 { scale } else { 1.0 };
        let support = filter.support() * width;
        let mut spans = try_with_capacity(window.len())?;
        let mut weights = Vec::new();
        let mut exact = Vec::new();
        for x in window {
            let center = (x as f64 + 0.5) * scale;
            // A conversion to an integer ends at zero.
            let first = ((center - support + 0.5) as usize).min(from - 1);
            let end = ((center + support + 0.5) as usize).clamp(first + 1, from);
            let refused = |_| RunError::OutOfMemory { bytes: (end - first) * size_of::<f64>() };
            exact.clear();
            exact.try_reserve(end - first).map_err(refused)?;
            weights.try_reserve(end - first).map_err(refused)?;
            let factor = 1.0 / width;
            exact.extend((first..end).map(|i| filter.at((i as f64 - center + 0.5) * factor)));
            let sum: f64 = exact.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let at = weights.len();
            weights.extend(exact.iter().map(|weight| {
                let fixed = weight / sum * f64::from(1 << PRECISION);
                (if fixed < 0.0 { fixed - 0.5 } else { fixed + 0.5 }) as i32
            }));
            spans.push((first, at..weights.len()));
        }
        Ok(Taps { spans, weights })
    }

    /// The input pixels that are looked at.
    fn inputs(&self) -> Range<usize> {
        let first = self.spans.first().map_or(0, |(first, _)| *first);
        first..self.spans.last().map_or(0, |(last, weights)| last + weights.len())
    }

    /// Every row of `width` pixels by these coefficients.
    fn across<const C: usize>(&self, pixels: &[[u8; C]], width: usize) -> Result<Vec<[u8; C]>, RunError> {
        let mut out = try_with_capacity(pixels.len() / width * self.spans.len())?;
        for row in pixels.chunks_exact(width) {
            for (first, weights) in &self.spans {
                let mut sums = [HALF; C];
                for (pixel, weight) in row[*first..].iter().zip(&self.weights[weights.clone()]) {
                    add(&mut sums, pixel, *weight);
                }
                out.push(sums.map(byte));
            }
        }
        Ok(out)
    }

    /// Every column by these coefficients; the rows given begin with number `origin`.
    fn down<const C: usize>(&self, pixels: &[[u8; C]], width: usize, origin: usize) -> Result<Vec<[u8; C]>, RunError> {
        let mut out = try_with_capacity(width * self.spans.len())?;
        let mut sums = zeroed(width * C)?;
        let sums = sums.as_chunks_mut::<C>().0;
        for (first, weights) in &self.spans {
            sums.fill([HALF; C]);
            let rows = pixels[(first - origin) * width..].chunks_exact(width);
            for (row, weight) in rows.zip(&self.weights[weights.clone()]) {
                sums.iter_mut().zip(row).for_each(|(sums, pixel)| add(sums, pixel, *weight));
            }
            out.extend(sums.iter().map(|sums| sums.map(byte)));
        }
        Ok(out)
    }
}

/// One half, in fixed point.
const HALF: i32 = 1 << (PRECISION - 1);

/// Adds a pixel's share. The coefficients' magnitudes add up to less than two, so a sum stays within 2³¹.
fn add<const C: usize>(sums: &mut [i32; C], pixel: &[u8; C], weight: i32) {
    for (sum, value) in sums.iter_mut().zip(pixel) {
        *sum += i32::from(*value) * weight;
    }
}

/// The integer part of a sum, as a byte.
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
