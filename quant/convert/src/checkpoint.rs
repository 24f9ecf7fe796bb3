//! A trained model as it is published: `config.json`, weights in one or several safetensors files, and sidecar files.

use crate::Error;
use crate::json::{self, Json, Reads};
use crate::safetensors::{SafeTensors, Tensor};
use crate::sentences::MODULES;
use serde_json::Value;
use std::collections::BTreeMap;

/// The configuration.
pub const CONFIG: &str = "config.json";
/// The one weights file of a model that is not split.
pub const WEIGHTS: &str = "model.safetensors";
/// Says which weights file has which tensor, for a model that is split.
pub const INDEX: &str = "model.safetensors.index.json";
/// Files beside the weights that are read where they are there, by their place in the model's folder.
pub const SIDECARS: &[&str] = &[
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "processor_config.json",
];

/// A file's place in the model's folder, and its bytes.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// The name, with `/` for a folder in the folder.
    pub name: String,
    /// The contents.
    pub bytes: &'a [u8],
}

/// The names of the weights files in the order of their names, from the text of an [`INDEX`].
///
/// # Errors
/// [`Error::Json`], [`Error::MissingField`], [`Error::WrongField`]; [`Error::ShardName`] for a name that leads out of the folder.
pub fn shards(index: &[u8]) -> Result<Vec<String>, Error> {
    let mut names: Vec<_> = weight_map(&Json::new(INDEX, &json::parse(INDEX, index)?))?.into_values().collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The folders of a model's modules that have a configuration, from the text of `modules.json`: files of the model too.
///
/// # Errors
/// [`Error::Json`], [`Error::MissingField`], [`Error::WrongField`]; a folder outside of the model's is one.
pub fn modules(text: &[u8]) -> Result<Vec<String>, Error> {
    let modules = json::parse(MODULES, text)?;
    let folders = module_folders(&Json::new(MODULES, &modules))?;
    Ok(folders.into_iter().map(|(_, folder)| folder).filter(|folder| !folder.is_empty()).collect())
}

/// The modules, and the folder of each, which is empty for the model itself.
pub(crate) fn module_folders<'c>(modules: &Json<'c>) -> Result<Vec<(Json<'c>, String)>, Error> {
    let module = |module: Json<'c>| {
        let path = module.get("path");
        let folder = path.as_ref().map_or(Ok(""), |path| path.str())?;
        let inside = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
        match path.filter(|_| !folder.is_empty() && !folder.split('/').all(inside)) {
            Some(path) => Err(path.wrong("a folder in the model's folder")),
            None => Ok((module, folder.to_owned())),
        }
    };
    modules.list()?.map(module).collect()
}

/// The weights file of each tensor.
fn weight_map(index: &Json) -> Result<BTreeMap<String, String>, Error> {
    let map = index.require("weight_map")?;
    let fields = map.value().as_object().ok_or_else(|| map.wrong("an object"))?;
    let entry = |(tensor, file): (&String, &Value)| {
        let name = file.as_str().ok_or_else(|| map.wrong("an object of strings"))?;
        if !name.ends_with(".safetensors") || name.contains(['/', '\\', ':', '\0']) {
            let name = name.chars().take(100).collect();
            return Err(Error::ShardName { file: INDEX.into(), name });
        }
        Ok((tensor.clone(), name.to_owned()))
    };
    fields.iter().map(entry).collect()
}

/// A published model, checked and ready to be planned.
#[derive(Debug, Default)]
pub struct Checkpoint<'a> {
    sidecars: BTreeMap<String, Value>,
    texts: BTreeMap<String, &'a [u8]>,
    tensors: BTreeMap<String, Tensor<'a>>,
    reads: Reads,
}

impl<'a> Checkpoint<'a> {
    /// Reads a model from its files: those of [`SIDECARS`] that are there, and all weights files; with an [`INDEX`] too, the weights
    /// are held against it.
    ///
    /// # Errors
    /// [`Error::SafeTensors`], [`Error::Json`], [`Error::MissingFile`], [`Error::Duplicate`], [`Error::NotInShard`].
    pub fn read(files: &[File<'a>]) -> Result<Checkpoint<'a>, Error> {
        let mut checkpoint = Checkpoint::default();
        let mut places = BTreeMap::new();
        for File { name, bytes } in files {
            if name.ends_with(".safetensors") {
                let failed = |error| Error::SafeTensors { file: name.clone(), error };
                for tensor in SafeTensors::parse(bytes).map_err(failed)?.tensors {
                    places.insert(tensor.name.clone(), name.as_str());
                    if let Some(twice) = checkpoint.tensors.insert(tensor.name.clone(), tensor) {
                        return Err(Error::Duplicate { tensor: twice.name, file: name.clone() });
                    }
                }
            } else if name.ends_with(".json") {
                checkpoint.sidecars.insert(name.clone(), json::parse(name, bytes)?);
            } else {
                checkpoint.texts.insert(name.clone(), bytes);
            }
        }
        if let Some(index) = checkpoint.json(INDEX) {
            for (tensor, file) in weight_map(&index)? {
                if places.get(&tensor).is_none_or(|place| *place != file) {
                    return Err(Error::NotInShard { tensor, file });
                }
            }
        }
        if !checkpoint.sidecars.contains_key(CONFIG) {
            return Err(Error::MissingFile { file: CONFIG.into() });
        }
        if places.is_empty() {
            return Err(Error::MissingFile { file: WEIGHTS.into() });
        }
        Ok(checkpoint)
    }

    /// `config.json`.
    pub fn config(&self) -> Json<'_> {
        Json::noted(CONFIG, self.sidecars.get(CONFIG).unwrap_or(&Value::Null), &self.reads)
    }

    /// A sidecar file in JSON, if it is there.
    pub fn json(&self, name: &str) -> Option<Json<'_>> {
        self.sidecars.get_key_value(name).map(|(name, value)| Json::noted(name, value, &self.reads))
    }

    /// The sidecar files in JSON, sorted by name.
    pub(crate) fn sidecars(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.sidecars.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The fields of sidecar files that were read so far.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// A sidecar file of plain text, if it is there.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let Some(bytes) = self.texts.get(name) else { return Ok(None) };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let failed = |error: std::str::Utf8Error| Error::Encoding { file: name.into(), offset: error.valid_up_to() };
        std::str::from_utf8(bytes).map(Some).map_err(failed)
    }

    /// The names of the sidecar files of plain text, sorted.
    pub(crate) fn text_names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// A tensor by name, if it is there.
    pub fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.get(name)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}
