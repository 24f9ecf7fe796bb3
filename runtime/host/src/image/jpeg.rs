//! Decoding of JPEG files that are whole.

use super::scan;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Decodes a file, and says how it is to be turned.
///
/// # Errors
/// What is missing or wrong in the file, and where.
pub(super) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let scan::Whole { mut file, components } = scan::check(bytes)?;
    file.extend([0xff, 0xd9]);
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*file), options);
    let told = |error: zune_jpeg::errors::DecodeErrors| error.to_string();
    decoder.decode_headers().map_err(told)?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    let input = decoder.input_colorspace().ok_or("it has no colours")?;
    // Four colours are brought to three here, as other programs do it.
    let output = if components == 4 { input } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut pixels = decoder.decode().map_err(told)?;
    match input {
        // What the decoder calls so before it has looked at the number of components.
        _ if components < 4 => {}
        ColorSpace::CMYK => pixels = pixels.as_chunks().0.iter().flat_map(|pixel| of_cmyk(*pixel)).collect(),
        ColorSpace::YCCK => pixels = pixels.as_chunks().0.iter().flat_map(|pixel| of_cmyk(of_ycck(*pixel))).collect(),
        _ => {}
    }
    let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    let image = sides.and_then(|(width, height)| RgbImage::from_raw(width, height, pixels));
    let image = image.ok_or("the decoder gave too few pixels")?;
    Ok((image.into(), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Red, green and blue of cyan, magenta, yellow and black as Adobe stores them, where 255 is no ink. Rounded as Pillow does it.
fn of_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|stored| {
        let product = u32::from(255 - stored) * u32::from(k) + 128;
        k.saturating_sub(((product + (product >> 8)) >> 8).min(255) as u8)
    })
}

/// The three colours of which luma and chroma were stored, and black: libjpeg's fixed-point numbers.
fn of_ycck([y, b, r, k]: [u8; 4]) -> [u8; 4] {
    let (y, b, r) = (i32::from(y), i32::from(b) - 128, i32::from(r) - 128);
    const HALF: i32 = 1 << 15;
    let red = y + ((91_881 * r + HALF) >> 16);
    let green = y + ((-22_554 * b - 46_802 * r + HALF) >> 16);
    let blue = y + ((116_130 * b + HALF) >> 16);
    let [c, m, y] = [red, green, blue].map(|colour| 255 - colour.clamp(0, 255) as u8);
    [c, m, y, k]
}
