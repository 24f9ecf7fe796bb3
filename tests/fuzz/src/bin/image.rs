//! An image file is decoded and made ready for a model, in a way that its last four bytes choose.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::frontend::image::{Filter, Preprocess, Resize};
use smidgen_host::Picture;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(picture) = Picture::decode(bytes, Path::new("image")) else { return };
    let image = picture.image().expect("a decoded image has pixels");
    // A file of a few bytes can be an image of many pixels, all of which are computed with: nothing is learnt from waiting for that.
    if image.pixels().len() > 1 << 20 {
        return;
    }
    let [how, first, second, crop] = bytes.last_chunk().map_or([0; 4], |last| last.map(usize::from));
    let resize = [Resize::Keep, Resize::To(first, second), Resize::ShorterSide(first)][how % 3];
    let channels = [1, 3][how / 3 % 2];
    let (mean, std) = (vec![0.5; channels], vec![0.25; channels]);
    let filter = [Filter::Bilinear, Filter::Bicubic][how / 6 % 2];
    let crop = (crop % 2 == 1).then_some((crop, second));
    let preprocess = Preprocess { resize, filter, crop, rescale: 1.0 / 255.0, mean, std };
    if let Ok(planes) = preprocess.apply(&image) {
        assert_eq!(planes.values.len(), planes.width * planes.height * channels);
        assert!(planes.values.iter().all(|value| value.is_finite()));
    }
});
