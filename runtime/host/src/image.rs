//! Decoding of image files.

mod jpeg;
#[cfg(test)]
mod jpeg_tests;
mod scan;

use crate::{Error, one_line};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use smidgen::frontend::image::Image;
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

/// The most bytes of an image file that are accepted.
const MAX_FILE: u64 = 1 << 28;
/// The most pixels that are accepted, whatever a small file claims to hold.
const MAX_PIXELS: u64 = 1 << 26;
/// The most bytes of memory that a decoder may use; 16-bit pixels of four channels fit.
const MAX_BYTES: u64 = 10 * MAX_PIXELS;

/// A decoded image: 8-bit red, green and blue.
#[derive(Debug)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads and decodes a JPEG, PNG or WebP file, which is recognized by its first bytes. The image is rotated as its EXIF orientation
    /// says, and transparency is dropped. Of an animation the first frame is taken. Of samples of 16 bits the upper 8 are taken; grey ones
    /// become red, green and blue, and so do cyan, magenta, yellow and black, without colour profiles. A JPEG file of which picture data are
    /// missing is refused; one that lacks its end marker only is not.
    ///
    /// # Errors
    /// Each names the path: [`Error::Read`], [`Error::NotAnImage`], [`Error::ImageTooLarge`], [`Error::ImageDamaged`].
    pub fn read(path: &Path) -> Result<Picture, Error> {
        let failed = |error: io::Error| Error::Read { path: path.to_owned(), error };
        let found = fs::metadata(path).map_err(failed)?;
        if !found.is_file() {
            return Err(Error::NotAnImage { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::NotAnImage { path: path.to_owned() });
        }
        Picture::decode(&bytes, path)
    }

    /// The same of the bytes of a file; its path is for errors.
    ///
    /// # Errors
    /// As for [`read`](Picture::read), but for [`Error::Read`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Picture, Error> {
        let faulty = |reason: String| Error::ImageDamaged { path: path.to_owned(), reason: one_line(&reason) };
        let damaged = |error: image::ImageError| faulty(error.to_string());
        let too_large = |width, height| Error::ImageTooLarge { path: path.to_owned(), width, height, most: MAX_PIXELS };
        let format = format_of(bytes).ok_or_else(|| Error::NotAnImage { path: path.to_owned() })?;
        if format == ImageFormat::Jpeg {
            let [width, height] = scan::size(bytes).map_err(faulty)?;
            if (width * height) as u64 > MAX_PIXELS {
                return Err(too_large(width as u32, height as u32));
            }
            return jpeg::decode(bytes).map(Picture::turned).map_err(faulty);
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(too_large(width, height));
        }
        // Some programs write what begins the segment in a JPEG file before it.
        let exif = decoder.exif_metadata().ok().flatten();
        let exif = exif.as_deref().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
        let decoded = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        Ok(Picture::turned((decoded, orientation)))
    }

    fn turned((mut image, orientation): (DynamicImage, Orientation)) -> Picture {
        image.apply_orientation(orientation);
        let (width, height) = (image.width() as usize, image.height() as usize);
        Picture { width, height, pixels: eight_bits(image) }
    }

    /// The pixels as models take them.
    ///
    /// # Errors
    /// [`smidgen::RunError::ImageSize`] if there are none.
    pub fn image(&self) -> Result<Image<'_>, smidgen::RunError> {
        Image::new(self.width, self.height, &self.pixels)
    }
}

/// Red, green and blue of each pixel: of 16 bits the upper 8, as Pillow takes them.
fn eight_bits(image: DynamicImage) -> Vec<u8> {
    match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            image.into_rgb16().into_raw().into_iter().map(|sample| (sample >> 8) as u8).collect()
        }
        image => image.into_rgb8().into_raw(),
    }
}

/// Whether a path names an image, by its extension or by the first bytes of the file.
pub fn is_image(path: &Path) -> bool {
    if path.extension().is_some_and(|ending| ImageFormat::from_extension(ending).is_some_and(supported)) {
        return true;
    }
    let mut start = Vec::new();
    // Opening a pipe would wait for a writer.
    path.is_file()
        && fs::File::open(path).is_ok_and(|file| file.take(32).read_to_end(&mut start).is_ok())
        && format_of(&start).is_some()
}

fn supported(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)
}

/// The kind of image by the first bytes.
fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    image::guess_format(bytes).ok().filter(|format| supported(*format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageEncoder;
    use image::codecs::png::PngEncoder;
    use image::codecs::webp::WebPEncoder;

    /// Two rows of three pixels.
    const PIXELS: [u8; 18] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7, 100, 101, 102, 200, 0, 50];

    fn png() -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(&PIXELS, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Picture, Error> {
        Picture::decode(bytes, Path::new("x.png"))
    }

    #[test]
    fn pixels_come_back() {
        let picture = decode(&png()).unwrap();
        assert_eq!((picture.width, picture.height, &picture.pixels[..]), (3, 2, &PIXELS[..]));
        assert!(picture.image().is_ok());
    }

    #[test]
    fn every_truncation_and_many_damages_are_errors() {
        let whole = png();
        for length in 0..whole.len() - 12 {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        // The last chunk, IEND, holds nothing; all others have checksums.
        for at in 8..whole.len() - 12 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x20;
            assert!(decode(&damaged).is_err(), "{at}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        let mut bomb = png();
        // Width and height stand in the first chunk, under its checksum.
        bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let sum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = decode(&bomb).unwrap_err();
        assert!(matches!(error, Error::ImageTooLarge { width: 65_536, height: 65_536, .. }), "{error}");
    }

    /// The eight orientations of EXIF: where the upper left pixel of the file is, and whether sides change places.
    #[test]
    fn orientations_are_undone() {
        let [a, b, c, d, e, f]: [[u8; 3]; 6] = PIXELS.as_chunks().0.try_into().unwrap();
        let turned = [
            vec![a, b, c, d, e, f],
            vec![c, b, a, f, e, d],
            vec![f, e, d, c, b, a],
            vec![d, e, f, a, b, c],
            vec![a, d, b, e, c, f],
            vec![d, a, e, b, f, c],
            vec![f, c, e, b, d, a],
            vec![c, f, b, e, a, d],
        ];
        for (orientation, expected) in (1_u8..).zip(turned) {
            // A table of one field, in both orders of bytes.
            let little =
                [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat();
            let big =
                [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"[..], &[0, orientation, 0, 0, 0, 0, 0, 0]].concat();
            let expected = (if orientation < 5 { (3, 2) } else { (2, 3) }, expected.into_flattened());
            for exif in [little, big] {
                let (mut png, mut webp) = (Vec::new(), Vec::new());
                let mut encoder = PngEncoder::new(&mut png);
                encoder.set_exif_metadata(exif.clone()).unwrap();
                encoder.write_image(&PIXELS, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
                let mut encoder = WebPEncoder::new_lossless(&mut webp);
                encoder.set_exif_metadata(exif.clone()).unwrap();
                encoder.write_image(&PIXELS, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
                let mut prefixed = Vec::new();
                let mut encoder = WebPEncoder::new_lossless(&mut prefixed);
                encoder.set_exif_metadata([b"Exif\0\0", &exif[..]].concat()).unwrap();
                encoder.write_image(&PIXELS, 3, 2, image::ExtendedColorType::Rgb8).unwrap();
                for file in [png, webp, prefixed] {
                    let picture = decode(&file).unwrap();
                    assert_eq!(((picture.width, picture.height), picture.pixels), expected, "{orientation}");
                }
                // A JPEG file of noise: the same as without the segment, turned.
                let plain = jpeg_tests::noise(&[]);
                let segment = [&[0xff, 0xe1, 0, exif.len() as u8 + 8], &b"Exif\0\0"[..], &exif].concat();
                let (plain, turned) = (decode(&plain).unwrap(), decode(&jpeg_tests::noise(&segment)).unwrap());
                assert_eq!((plain.width, plain.height) == (turned.width, turned.height), orientation < 5);
                let mut by_hand =
                    image::RgbImage::from_raw(plain.width as u32, plain.height as u32, plain.pixels).unwrap();
                by_hand = match orientation {
                    2 => image::imageops::flip_horizontal(&by_hand),
                    3 => image::imageops::rotate180(&by_hand),
                    4 => image::imageops::flip_vertical(&by_hand),
                    5 => image::imageops::flip_horizontal(&image::imageops::rotate90(&by_hand)),
                    6 => image::imageops::rotate90(&by_hand),
                    7 => image::imageops::flip_horizontal(&image::imageops::rotate270(&by_hand)),
                    8 => image::imageops::rotate270(&by_hand),
                    _ => by_hand,
                };
                assert!(by_hand.into_raw() == turned.pixels, "{orientation}");
            }
        }
    }

    /// Grey, transparency and 16 bits become red, green and blue of 8 bits: the upper ones.
    #[test]
    fn pixels_of_every_kind() {
        use image::ExtendedColorType::{L8, L16, La8, La16, Rgb16, Rgba8, Rgba16};
        let wide = |samples: &[u16]| samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect::<Vec<u8>>();
        for (kind, data, expected) in [
            (L8, vec![7, 200], [7, 7, 7, 200, 200, 200]),
            (La8, vec![7, 0, 200, 9], [7, 7, 7, 200, 200, 200]),
            (Rgba8, vec![1, 2, 3, 0, 4, 5, 6, 255], [1, 2, 3, 4, 5, 6]),
            (L16, wide(&[0x12ff, 0xff00]), [0x12, 0x12, 0x12, 255, 255, 255]),
            (La16, wide(&[0x12ff, 0, 0xff00, 1]), [0x12, 0x12, 0x12, 255, 255, 255]),
            (Rgb16, wide(&[0x0180, 0x02ff, 0x0300, 0x0400, 0x0500, 0x06fe]), [1, 2, 3, 4, 5, 6]),
            (Rgba16, wide(&[0x0180, 0x02ff, 0x0300, 0, 0x0400, 0x0500, 0x06fe, 9]), [1, 2, 3, 4, 5, 6]),
        ] {
            let mut png = Vec::new();
            PngEncoder::new(&mut png).write_image(&data, 2, 1, kind).unwrap();
            assert_eq!(decode(&png).unwrap().pixels, expected, "{kind:?}");
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        })
    }
}
