//! The preprocessing of images: from `preprocessor_config.json`, or where that is missing, as models of the kind have in common.

use crate::Error;
use crate::json::Json;
use crate::plan::Planner;

const FILE: &str = "preprocessor_config.json";
/// Of the data set ImageNet.
pub(crate) const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// The preprocessing of a kind of model, for what the configuration leaves out.
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

/// Adds the keys that say it, each with `prefix` before it.
pub(crate) fn images(planner: &mut Planner, prefix: &str, defaults: Defaults) -> Result<(), Error> {
    let Defaults { mut stretched, mut size, mut crop, mut bicubic, normal: [mut mean, mut std] } = defaults;
    if let Some(file) = planner.checkpoint.json(FILE) {
        if let Some(field) = file.get("size") {
            let shorter = field.get("shortest_edge");
            stretched = if field.value().is_object() { shorter.is_none() } else { stretched };
            size = shorter.map_or_else(|| square(&field), |side| side.u32())?;
        }
        let cropped = file.get_bool("do_center_crop")?.unwrap_or(crop.is_some());
        crop = match file.get("crop_size") {
            Some(field) if cropped => Some(square(&field)?),
            _ => crop.filter(|_| cropped),
        };
        if let Some(filter) = file.get("resample") {
            bicubic = match filter.u32()? {
                2 => false,
                3 => true,
                _ => return Err(filter.wrong("2 (bilinear) or 3 (bicubic)")),
            };
        }
        scaled(file.get("rescale_factor"))?;
        for (key, numbers) in [("image_mean", &mut mean), ("image_std", &mut std)] {
            if let Some(field) = file.get(key) {
                *numbers = field.f32s()?;
            }
        }
    }
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

/// That bytes are divided by 255, if it is said.
pub(crate) fn scaled(field: Option<Json>) -> Result<(), Error> {
    match field {
        Some(field) if (field.f32()? * 255.0 - 1.0).abs() > 1e-5 => Err(field.wrong("1/255")),
        _ => Ok(()),
    }
}

/// The side of a square: a number, or `height` and `width` that are the same.
fn square(field: &Json) -> Result<u32, Error> {
    if !field.value().is_object() {
        return field.u32();
    }
    let (height, width) = (field.require("height")?.u32()?, field.require("width")?.u32()?);
    if height == width { Ok(height) } else { Err(field.wrong("a square")) }
}
