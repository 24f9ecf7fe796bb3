//! The preprocessing of images: from `preprocessor_config.json` (or the part of `processor_config.json` that newer checkpoints have it in), or
//! where both are missing, as models of the kind have in common.

use crate::Error;
use crate::json::Json;
use crate::plan::Planner;

const FILE: &str = "preprocessor_config.json";
const WHOLE: &str = "processor_config.json";
/// Means and deviations of the data set ImageNet.
pub(crate) const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// Those with which CLIP was trained.
pub(crate) const OPENAI: [[f32; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];
const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];

/// The preprocessing of a kind of model, for what the configuration leaves out.
#[derive(Clone)]
pub(crate) struct Defaults {
    /// Whether both sides are brought to a size, rather than the shorter.
    pub(crate) stretched: bool,
    /// The size.
    pub(crate) size: u32,
    /// Side of the middle that is cut out.
    pub(crate) crop: Option<u32>,
    /// Whether pixels between pixels are found by the bicubic filter, rather than the bilinear.
    pub(crate) bicubic: bool,
    /// Means and deviations of the channels.
    pub(crate) normal: [Vec<f32>; 2],
}

/// What the classes of transformers do where a configuration leaves it out: whether they stretch, size, crop, whether by the bicubic filter,
/// means and deviations.
type Class = (&'static str, bool, u32, Option<u32>, bool, [[f32; 3]; 2]);
const CLASSES: &[Class] = &[
    ("ViT", true, 224, None, false, HALF),
    ("DeiT", true, 256, Some(224), true, HALF),
    ("Bit", false, 224, Some(224), true, OPENAI),
    ("CLIP", false, 224, Some(224), true, OPENAI),
];

/// Adds the keys that say it, each with `prefix` before it.
pub(crate) fn images(planner: &mut Planner, prefix: &str, defaults: Defaults) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    let part = |name| checkpoint.json(name).and_then(|file| file.get("image_processor"));
    let file = part(WHOLE).or_else(|| part(FILE)).or_else(|| checkpoint.json(FILE));
    let Defaults { stretched, size, crop, bicubic, normal: [mean, std] } = match file {
        Some(file) => configured(&file, defaults)?,
        None => defaults,
    };
    let key = |name: &str| format!("{prefix}{name}");
    planner.hyper(&key("image_resize"), if stretched { "stretch" } else { "shorter_side" });
    planner.hyper(&key("image_resize_size"), size);
    if let Some(crop) = crop {
        planner.hyper(&key("image_crop_size"), crop);
    }
    planner.hyper(&key("image_filter"), if bicubic { "bicubic" } else { "bilinear" });
    planner.hyper(&key("image_mean"), mean);
    planner.hyper(&key("image_std"), std);
    Ok(())
}

/// What a configuration says.
fn configured(file: &Json, defaults: Defaults) -> Result<Defaults, Error> {
    let channels = defaults.normal[0].len();
    let Defaults { mut stretched, mut size, mut crop, mut bicubic, normal: [mut mean, mut std] } =
        class(file)?.unwrap_or(defaults);
    if let Some(field) = file.get("do_resize")
        && !field.bool()?
    {
        return Err(field.unsupported());
    }
    if let Some(field) = file.get("size") {
        let shorter = field.get("shortest_edge");
        stretched = if field.is_object() { shorter.is_none() } else { stretched };
        size = shorter.map_or_else(|| square(&field), |side| side.u32())?;
    }
    let cropped = file.get_bool("do_center_crop")?.unwrap_or(crop.is_some());
    if let Some(side) = file.get("crop_size").map(|field| square(&field)).transpose()? {
        crop = Some(side);
    }
    crop = crop.filter(|_| cropped);
    if let Some(filter) = file.get("resample") {
        bicubic = match filter.u32()? {
            2 => false,
            3 => true,
            _ => return Err(filter.wrong("2 (bilinear) or 3 (bicubic)")),
        };
    }
    for (key, numbers) in [("image_mean", &mut mean), ("image_std", &mut std)] {
        if let Some(field) = file.get(key) {
            *numbers = if field.is_list() { field.f32s()? } else { vec![field.f32()?; numbers.len()] };
        }
        if let Some(field) = file.get(key)
            && numbers.len() != channels
        {
            return Err(field.wrong("a number for each channel"));
        }
        if key == "image_std" && numbers.contains(&0.0) {
            return Err(file.require(key)?.wrong("deviations other than 0"));
        }
    }
    if !file.get_bool("do_normalize")?.unwrap_or(true) {
        (mean, std) = (vec![0.0; mean.len()], vec![1.0; std.len()]);
    }
    // Models divide bytes by 255. Another factor is as good as other means and deviations.
    let factor = file.get_f32("rescale_factor")?.unwrap_or(1.0 / 255.0);
    let factor = if file.get_bool("do_rescale")?.unwrap_or(true) { factor } else { 1.0 };
    if factor <= 0.0 {
        return Err(file.require("rescale_factor")?.wrong("a number above 0"));
    }
    let factor = factor * 255.0;
    if (factor - 1.0).abs() > 1e-5 {
        mean.iter_mut().chain(&mut std).for_each(|number| *number /= factor);
    }
    Ok(Defaults { stretched, size, crop, bicubic, normal: [mean, std] })
}

/// What the class does that the configuration is for, if it names one.
fn class(file: &Json) -> Result<Option<Defaults>, Error> {
    let mut found = None;
    for key in ["feature_extractor_type", "image_processor_type"] {
        let Some(field) = file.get(key) else { continue };
        let name = field.str()?;
        let kind = name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name);
        let kind = kind.strip_suffix("ImageProcessor").or_else(|| kind.strip_suffix("FeatureExtractor"));
        let class = CLASSES.iter().find(|(class, ..)| Some(*class) == kind).ok_or_else(|| field.unsupported())?;
        found = Some(class);
    }
    Ok(found.map(|&(_, stretched, size, crop, bicubic, normal)| Defaults {
        stretched,
        size,
        crop,
        bicubic,
        normal: normal.map(Vec::from),
    }))
}

/// The side of a square: a number, or `height` and `width` that are the same.
fn square(field: &Json) -> Result<u32, Error> {
    if !field.is_object() {
        return field.u32();
    }
    let (height, width) = (field.require("height")?.u32()?, field.require("width")?.u32()?);
    if height == width { Ok(height) } else { Err(field.wrong("a square")) }
}
