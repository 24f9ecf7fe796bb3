//! Resized images are Pillow's, byte for byte, for images from a formula. `image.py` prints the table.

use smidgen::RunError;
use smidgen::frontend::image::{Filter, Image, Preprocess, Resize};

type Size = (usize, usize);

/// An image's size, the size that it is resized to, the middle cut out, channels, and hashes of the planes, bilinear and bicubic.
#[rustfmt::skip]
const CASES: [(Size, Size, Size, usize, [u64; 2]); 12] = [
    ((32, 32), (224, 224), (224, 224), 3, [0xdaf6_c18a_925e_d981, 0xa517_a2fe_170a_f0a6]),
    ((640, 427), (224, 224), (224, 224), 3, [0x34b2_522e_968a_e401, 0xf032_f411_5b59_4f44]),
    ((640, 427), (383, 256), (224, 224), 3, [0x5774_f662_e1d7_b43e, 0x5b44_91a7_4f8a_6c28]),
    ((427, 640), (256, 383), (224, 224), 3, [0x5e94_0c5b_1580_dec5, 0x1a9b_2132_0123_b21c]),
    ((97, 61), (32, 32), (32, 32), 3, [0x4043_4937_7091_8fd6, 0x47ec_2fa8_c8ae_46f9]),
    ((97, 61), (28, 28), (28, 28), 1, [0x7cd4_8086_2df7_15d9, 0xcff6_9472_b994_9ee1]),
    ((1, 1), (7, 5), (7, 5), 3, [0x5195_2dfd_593a_232d, 0x5195_2dfd_593a_232d]),
    ((6, 500), (9, 2), (9, 2), 3, [0xaf5b_940d_7ef4_86d7, 0x23dc_0cf2_5468_ff3f]),
    ((500, 2), (3, 11), (3, 11), 1, [0x3b53_ec3f_eba2_34f1, 0x3fe4_7384_7966_9fd1]),
    ((224, 100), (224, 224), (224, 224), 3, [0x3431_4b08_be41_7954, 0x553c_b49a_a816_3556]),
    ((50, 224), (224, 224), (112, 98), 3, [0x4436_f4ab_9b09_b977, 0xcf11_ffb6_a5f5_45e1]),
    ((13, 17), (13, 17), (13, 17), 1, [0xea10_c452_ce54_e1d2, 0xea10_c452_ce54_e1d2]),
];

fn pixels(width: usize, height: usize) -> Vec<u8> {
    let noise = |i: u64| (((i * 2_654_435_761) & 0xffff_ffff) >> 24) as u8;
    (0..(width * height * 3) as u64).map(|i| if i / 99 % 2 == 0 { noise(i) } else { (i / 5) as u8 }).collect()
}

/// Steps that leave bytes as numbers.
fn plain(resize: Resize, filter: Filter, crop: Option<Size>, channels: usize) -> Preprocess {
    Preprocess { resize, filter, crop, rescale: 1.0, mean: vec![0.0; channels], std: vec![1.0; channels] }
}

/// FNV-1a.
fn hash(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash, v| (hash ^ *v as u64).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn pillow() {
    for (size, resized, crop, channels, hashes) in CASES {
        let bytes = pixels(size.0, size.1);
        let image = Image::new(size.0, size.1, &bytes).unwrap();
        for (filter, expected) in [Filter::Bilinear, Filter::Bicubic].into_iter().zip(hashes) {
            let steps = plain(Resize::To(resized.0, resized.1), filter, Some(crop), channels);
            let planes = steps.apply(&image).unwrap();
            assert_eq!((planes.width, planes.height), crop);
            assert_eq!(planes.values.len(), crop.0 * crop.1 * channels);
            assert_eq!(hash(&planes.values), expected, "{size:?} {resized:?} {crop:?} {filter:?}");
        }
    }
}

#[test]
fn the_shorter_side_decides() {
    for (size, side, expected) in
        [((640, 427), 256, (383, 256)), ((427, 640), 256, (256, 383)), ((10, 10), 3, (3, 3)), ((7, 3), 5, (11, 5))]
    {
        let bytes = pixels(size.0, size.1);
        let image = Image::new(size.0, size.1, &bytes).unwrap();
        let by_side = plain(Resize::ShorterSide(side), Filter::Bicubic, None, 3).apply(&image).unwrap();
        let by_size = plain(Resize::To(expected.0, expected.1), Filter::Bicubic, None, 3).apply(&image).unwrap();
        assert_eq!((by_side.width, by_side.height), expected);
        assert_eq!(by_side, by_size);
    }
}

#[test]
fn numbers_are_normalized() {
    let image = Image::new(1, 2, &[0, 128, 255, 51, 102, 204]).unwrap();
    let steps = Preprocess {
        rescale: 1.0 / 255.0,
        mean: vec![0.5, 0.25, 0.0],
        std: vec![0.5, 2.0, 1.0],
        ..plain(Resize::Keep, Filter::Bilinear, None, 3)
    };
    let values = steps.apply(&image).unwrap().values;
    let expected = [-1.0, -0.6, (128.0 / 255.0 - 0.25) / 2.0, 0.075, 1.0, 0.8];
    assert!(values.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6), "{values:?}");
}

#[test]
fn images_and_steps_that_cannot_be() {
    // The product of these is no number of as many bits, though its low bits are zeros.
    let long = 1 << (usize::BITS / 2 + 8);
    for (width, height, bytes) in [(0, 1, 0), (1, 0, 0), (2, 2, 11), (2, 2, 13), (usize::MAX, 2, 6), (long, long, 0)] {
        assert_eq!(
            Image::new(width, height, &vec![0; bytes]).unwrap_err(),
            RunError::ImageSize { width, height, bytes },
        );
    }
    let bytes = pixels(1, 4000);
    let image = Image::new(1, 4000, &bytes).unwrap();
    let size = RunError::ImageSize { width: 1, height: 4000, bytes: 12_000 };
    for resize in [
        Resize::To(0, 5),
        Resize::To(5, 0),
        Resize::To(usize::MAX, usize::MAX),
        Resize::To(1 << 20, 1 << 20),
        Resize::ShorterSide(0),
        Resize::ShorterSide(usize::MAX),
        Resize::ShorterSide(1 << 20),
    ] {
        assert_eq!(plain(resize, Filter::Bicubic, None, 3).apply(&image), Err(size.clone()), "{resize:?}");
    }
    // Only what the crop leaves is computed.
    let cropped = plain(Resize::ShorterSide(1 << 16), Filter::Bicubic, Some((4, 4)), 3).apply(&image).unwrap();
    assert_eq!(cropped.values.len(), 48);
    for (means, deviations) in [(0, 0), (2, 2), (4, 4), (3, 1), (1, 3)] {
        let steps = Preprocess { std: vec![1.0; deviations], ..plain(Resize::Keep, Filter::Bilinear, None, means) };
        let refused = if means == 0 { size.clone() } else { RunError::ImageChannels { means, deviations } };
        assert_eq!(steps.apply(&image), Err(refused));
    }
}
