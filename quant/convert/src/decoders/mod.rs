//! Language models, as Hugging Face names their fields and tensors. Keys and tensors of the file are named as llama.cpp names them.
//!
//! A family is data: the fields that hold its sizes, and a list of tensors with their names on both sides, their shapes and what is done to
//! their rows. What is particular to it, a function adds.

mod families;
mod particular;
mod rope;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::fields::Rule;
use crate::json::Json;
use crate::plan::{Data, Plan, Planner};
use crate::safetensors::Tensor;
use crate::tokenizer;
use families::FAMILIES;

/// Most layers of a model, as of one that is run.
const MAX_LAYERS: u32 = 4096;

/// A family of language models.
struct Family {
    /// `model_type` of `config.json`.
    names: &'static [&'static str],
    /// `general.architecture`.
    architecture: &'static str,
    fields: &'static Fields,
    /// Field of the norms' epsilon, what it is if the field is absent, and its key.
    epsilon: (&'static str, f32, &'static str),
    /// What begins the names of tensors; the first for which there is an embedding.
    prefixes: &'static [&'static str],
    /// What comes before a layer's number.
    layers: &'static str,
    outer: &'static [Row],
    layer: &'static [Row],
    /// The head, if it is no copy of the embedding.
    head: &'static str,
    /// Fields that say whether tensors have biases, what they say if absent, and the tensors. What is in none of the lists has a bias if there is one.
    biases: &'static [(&'static str, bool, &'static [&'static str])],
    /// Fields of `config.json` that change nothing in this family.
    harmless: &'static [Rule],
    /// Adds keys, and refuses what cannot be done. Gives what layers have besides.
    particular: fn(&mut Conversion) -> Result<&'static [Row], Error>,
}

/// The names of the fields of sizes, `|` between several for one. Without a name a size is what others make of it.
struct Fields {
    layers: &'static str,
    width: &'static str,
    inner: Option<&'static str>,
    heads: &'static str,
    kv_heads: KeyHeads,
    /// The size of a head where the field is absent; `None`: the width by the number of heads.
    head: Option<u32>,
    context: &'static str,
    /// The context where the field may be absent.
    longest: Option<u32>,
}

/// How many heads keys have.
#[derive(Clone, Copy)]
enum KeyHeads {
    /// As many as queries.
    All,
    /// As a field says, which may be absent if they are as many.
    OrAll(&'static str),
    /// As a field says.
    Said(&'static str),
    /// One, or as many as another function of the configuration says.
    One(fn(&Json) -> Result<Option<u32>, Error>),
}

/// A tensor: its name here, its name in the checkpoint without prefix, and what it is.
type Row = (&'static str, &'static str, Part);

#[derive(Clone, Copy)]
enum Part {
    /// A norm.
    Norm(Size),
    /// A norm whose weights are stored less 1.
    NormLessOne(Size),
    /// Norms of heads, one for each.
    NormOfHeads(Size),
    /// A product of so many outputs and inputs.
    Product(Size, Size),
    /// The same, stored with a row for each input.
    Transposed(Size, Size),
    /// Queries or keys, whose rotary pairs become neighbours.
    Rotary(Size),
    /// Queries, keys and values together, by groups of one key's head.
    Grouped,
    /// Rows of such a product: queries, keys or values.
    OfGroups(Of),
}

/// Queries, keys or values.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Queries,
    Keys,
    Values,
}

#[derive(Clone, Copy)]
enum Size {
    Width,
    Inner,
    TwoInner,
    Queries,
    Keys,
    All,
    Vocabulary,
    Head,
    Context,
}

/// Sizes of a model.
struct Sizes {
    layers: u32,
    width: u32,
    inner: u32,
    heads: u32,
    kv_heads: u32,
    head: u32,
    context: u32,
    vocabulary: u32,
}

/// A conversion under way.
struct Conversion<'p, 'c, 'a> {
    planner: &'p mut Planner<'c, 'a>,
    config: Json<'c>,
    sizes: Sizes,
}

/// The `model_type`s that can be converted.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.names).copied()
}

/// The fields of `config.json` that change nothing in a checkpoint's family.
pub(crate) fn harmless(checkpoint: &Checkpoint) -> &'static [Rule] {
    family(&checkpoint.config()).map_or(&[], |family| family.harmless)
}

fn family(config: &Json) -> Result<&'static Family, Error> {
    let name = config.require("model_type")?;
    let of = |family: &&Family| name.str().is_ok_and(|name| family.names.contains(&name));
    FAMILIES.iter().find(of).ok_or_else(|| name.unsupported())
}

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let family = family(&config)?;
    let mut planner = Planner::new(checkpoint, family.architecture);
    let sizes = Sizes::read(&config, family.fields)?;
    sizes.write(&mut planner);
    let (field, default, key) = family.epsilon;
    planner.hyper(key, config.get_f32(field)?.unwrap_or(default));
    tokenizer::decoder(&mut planner, sizes.vocabulary)?;
    let mut conversion = Conversion { planner: &mut planner, config, sizes };
    let further = (family.particular)(&mut conversion)?;
    let tied = conversion.tensors(family, further)?;
    planner.finish(|name| {
        let end = |end: &&str| name.ends_with(*end);
        // Masks, and frequencies that are computed.
        let made =
            ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"];
        made.iter().any(end) || (tied && name == format!("{}.weight", family.head))
    })
}

impl Sizes {
    fn read(config: &Json, fields: &Fields) -> Result<Sizes, Error> {
        let named = |keys: &'static str| keys.split('|').find(|key| config.get(key).is_some());
        let number = |keys: &'static str| {
            let field = config.require(named(keys).or(keys.split('|').next()).unwrap_or(keys))?;
            field.u32().and_then(|number| if number == 0 { Err(field.wrong("a number above 0")) } else { Ok(number) })
        };
        let (width, heads) = (number(fields.width)?, number(fields.heads)?);
        let inner = match fields.inner.and_then(named).map(|key| config.get_u32(key)).transpose()?.flatten() {
            Some(inner) => inner,
            None => width.checked_mul(4).ok_or_else(|| config.field_unsupported("hidden_size", width.to_string()))?,
        };
        // `null` is not absent.
        let absent = if config.has("head_dim") { None } else { fields.head };
        let head = match config.get_u32("head_dim")?.or(absent) {
            Some(head) => head,
            None if width.is_multiple_of(heads) => width / heads,
            None => {
                return Err(config.field_unsupported("num_attention_heads", format!("{heads} for a width of {width}")));
            }
        };
        let kv_heads = match fields.kv_heads {
            KeyHeads::All => heads,
            KeyHeads::OrAll(key) => config.get_u32(key)?.unwrap_or(heads),
            KeyHeads::Said(key) => number(key)?,
            KeyHeads::One(read) => read(config)?.unwrap_or(heads),
        };
        if head < 2 || !head.is_multiple_of(2) || head > 1 << 16 {
            return Err(config.field_unsupported("head_dim", head.to_string()));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(
                config.field_unsupported("num_key_value_heads", format!("{kv_heads} for {heads} heads of queries"))
            );
        }
        let rows = (u64::from(heads) + 2 * u64::from(kv_heads)) * u64::from(head);
        if rows > u64::from(u32::MAX) {
            return Err(config.field_unsupported("num_attention_heads", format!("{heads} of {head}")));
        }
        let layers = number(fields.layers)?;
        if layers > MAX_LAYERS {
            return Err(config.field_unsupported("num_hidden_layers", layers.to_string()));
        }
        let context = match (named(fields.context), fields.longest) {
            (None, Some(longest)) => longest,
            _ => number(fields.context)?,
        };
        Ok(Sizes { layers, width, inner, heads, kv_heads, head, context, vocabulary: number("vocab_size")? })
    }

    fn write(&self, planner: &mut Planner) {
        planner.hyper("block_count", self.layers);
        planner.hyper("context_length", self.context);
        planner.hyper("embedding_length", self.width);
        planner.hyper("feed_forward_length", self.inner);
        planner.hyper("attention.head_count", self.heads);
        planner.hyper("attention.head_count_kv", self.kv_heads);
        planner.hyper("attention.key_length", self.head);
        planner.hyper("attention.value_length", self.head);
        planner.hyper("vocab_size", self.vocabulary);
    }

    fn get(&self, size: Size) -> u64 {
        let head = u64::from(self.head);
        let (queries, keys) = (u64::from(self.heads) * head, u64::from(self.kv_heads) * head);
        match size {
            Size::Width => self.width.into(),
            Size::Inner => self.inner.into(),
            Size::TwoInner => 2 * u64::from(self.inner),
            Size::Queries => queries,
            Size::Keys => keys,
            Size::All => queries + 2 * keys,
            Size::Vocabulary => self.vocabulary.into(),
            Size::Head => head,
            Size::Context => self.context.into(),
        }
    }

    /// The rows of queries, keys or values in a product that has them by groups: of each group its queries, its key and its value.
    fn of_groups(&self, of: Of) -> Vec<u32> {
        let (head, group) = (self.head, self.heads / self.kv_heads);
        let (first, count) = match of {
            Of::Queries => (0, group),
            Of::Keys => (group, 1),
            Of::Values => (group + 1, 1),
        };
        let rows = |number: u32| (number * (group + 2) + first) * head..(number * (group + 2) + first + count) * head;
        (0..self.kv_heads).flat_map(rows).collect()
    }
}

impl<'a> Conversion<'_, '_, 'a> {
    /// Adds all tensors. Whether the head is the embedding.
    fn tensors(&mut self, family: &Family, further: &[Row]) -> Result<bool, Error> {
        let embedding = family.outer.first().map_or("", |(_, name, _)| name);
        let prefix = family.prefixes.iter().find(|prefix| self.planner.has(&format!("{prefix}{embedding}.weight")));
        let prefix = prefix.or(family.prefixes.first()).copied().unwrap_or("");
        for row in family.outer {
            self.tensor(family, row, row.0, &format!("{prefix}{}", row.1))?;
        }
        for number in 0..self.sizes.layers {
            for row in family.layer.iter().chain(further) {
                let source = format!("{prefix}{}.{number}.{}", family.layers, row.1);
                self.tensor(family, row, &format!("blk.{number}.{}", row.0), &source)?;
            }
        }
        let checkpoint = self.planner.checkpoint;
        let head = checkpoint.tensor(&format!("{}.weight", family.head));
        let embedding = checkpoint.tensor(&format!("{prefix}{embedding}.weight"));
        // A head of other values than the embedding's is one, whatever is said.
        let own = head.zip(embedding).is_some_and(|(head, embedding)| head.data != embedding.data);
        let said = self.config.get_bool("tie_word_embeddings")?;
        if own && let Some(field) = self.config.get("tie_word_embeddings") {
            field.leave_out("the head has values of its own");
        }
        let tied = said.unwrap_or(head.is_none()) && !own;
        if !tied {
            self.tensor(
                family,
                &("output", family.head, Part::Product(Size::Vocabulary, Size::Width)),
                "output",
                family.head,
            )?;
        }
        Ok(tied)
    }

    fn tensor(&mut self, family: &Family, row: &Row, name: &str, source: &str) -> Result<(), Error> {
        let rule = family.biases.iter().find(|(.., parts)| parts.contains(&row.1));
        let biased = match rule {
            Some((field, default, _)) => self.config.get_bool(field)?.unwrap_or(*default),
            None => self.planner.has(&format!("{source}.bias")),
        };
        let get = |size| self.sizes.get(size);
        match row.2 {
            Part::Norm(size) => {
                self.planner.tensor(format!("{name}.weight"), &format!("{source}.weight"), &[get(size)])?;
                if biased {
                    self.planner.tensor(format!("{name}.bias"), &format!("{source}.bias"), &[get(size)])?;
                }
                Ok(())
            }
            Part::NormLessOne(size) => {
                let weight = format!("{source}.weight");
                let values =
                    self.planner.take(&weight, &[get(size)])?.floats()?.iter().map(|value| value + 1.0).collect();
                self.planner.add(format!("{name}.weight"), &[get(size)], Data::Values(values));
                if biased {
                    self.planner.tensor(format!("{name}.bias"), &format!("{source}.bias"), &[get(size)])?;
                }
                Ok(())
            }
            Part::NormOfHeads(size) => {
                let shape = [get(size) / get(Size::Head), get(Size::Head)];
                self.planner.tensor(format!("{name}.weight"), &format!("{source}.weight"), &shape)
            }
            Part::Product(outputs, inputs) => {
                let (outputs, inputs) = (get(outputs), get(inputs));
                self.planner.product(name, source, outputs, inputs, Some(biased))
            }
            Part::Transposed(outputs, inputs) => {
                let (outputs, inputs) = (get(outputs), get(inputs));
                let Tensor { dtype, data, .. } = *self.planner.take(&format!("{source}.weight"), &[inputs, outputs])?;
                let data = Data::Transposed { dtype, bytes: data };
                self.planner.add(format!("{name}.weight"), &[outputs, inputs], data);
                if biased {
                    self.planner.tensor(format!("{name}.bias"), &format!("{source}.bias"), &[outputs])?;
                }
                Ok(())
            }
            Part::Rotary(outputs) => {
                let (head, outputs) = (self.sizes.head, get(outputs));
                self.rows(name, source, outputs, biased, |_| neighbours((0..outputs as u32).collect(), head))
            }
            Part::Grouped => {
                let all = [Of::Queries, Of::Keys, Of::Values];
                let rows = |sizes: &Sizes| all.into_iter().flat_map(|of| sizes.of_groups(of)).collect();
                self.rows(name, source, get(Size::All), biased, rows)
            }
            Part::OfGroups(of) => {
                let rows = |sizes: &Sizes| match of {
                    Of::Values => sizes.of_groups(of),
                    _ => neighbours(sizes.of_groups(of), sizes.head),
                };
                self.rows(name, source, get(Size::All), biased, rows)
            }
        }
    }

    /// Adds some rows of a product of `outputs`, and of its bias. Which, is asked when its tensor has been found to have as many.
    fn rows(
        &mut self,
        name: &str,
        source: &str,
        outputs: u64,
        biased: bool,
        rows: impl FnOnce(&Sizes) -> Vec<u32>,
    ) -> Result<(), Error> {
        let width = self.sizes.get(Size::Width);
        let Tensor { dtype, data, .. } = *self.planner.take(&format!("{source}.weight"), &[outputs, width])?;
        let rows = rows(&self.sizes);
        let count = rows.len() as u64;
        let data = Data::Rows { dtype, bytes: data, rows: rows.clone() };
        self.planner.add(format!("{name}.weight"), &[count, width], data);
        if biased {
            let Tensor { dtype, data, .. } = *self.planner.take(&format!("{source}.bias"), &[outputs])?;
            self.planner.add(format!("{name}.bias"), &[count], Data::Rows { dtype, bytes: data, rows });
        }
        Ok(())
    }

    /// A required choice of words: that `field` is the one that the architecture does, or absent.
    fn only(&self, field: &str, known: &[&str]) -> Result<(), Error> {
        match self.config.get(field) {
            Some(value) if !known.contains(&value.str()?) => Err(value.unsupported()),
            _ => Ok(()),
        }
    }

    /// That a field is false or absent (or true, if it must be so).
    fn must_be(&self, field: &str, wanted: bool) -> Result<(), Error> {
        match self.config.get(field) {
            Some(value) if value.bool()? != wanted => Err(value.unsupported()),
            _ => Ok(()),
        }
    }

    /// A number for a key, with a default.
    fn number(&mut self, field: &str, default: Option<f32>, key: &str) -> Result<f32, Error> {
        let number = match default {
            Some(default) => self.config.get_f32(field)?.unwrap_or(default),
            None => self.config.require(field)?.f32()?,
        };
        self.planner.hyper(key, number);
        Ok(number)
    }

    /// Whether each layer has a window, by `layer_types`; without, `slides` says it of a layer's number.
    fn slides(&self, slides: impl Fn(u32) -> bool) -> Result<Vec<bool>, Error> {
        let Some(types) = self.config.get("layer_types") else {
            return Ok((0..self.sizes.layers).map(slides).collect());
        };
        let kind = |kind: Json| match kind.str()? {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            _ => Err(kind.unsupported()),
        };
        let found: Vec<bool> = types.whole().list()?.map(kind).collect::<Result<_, _>>()?;
        // Longer lists are of models whose last layers are left out.
        if found.len() < self.sizes.layers as usize {
            return Err(types.wrong("a list of all layers"));
        }
        Ok(found.into_iter().take(self.sizes.layers as usize).collect())
    }

    /// The window, if any layer has one that a context exceeds; of `default` tokens if the configuration does not say, which is not `null`.
    fn window(&self, default: Option<u32>) -> Result<Option<u32>, Error> {
        let window = match self.config.get_u32("sliding_window")? {
            None if self.config.has("sliding_window") => None,
            None => default,
            window => window,
        };
        Ok(window.filter(|window| *window < self.sizes.context))
    }

    /// That no layer has a window.
    fn no_windows(&self) -> Result<(), Error> {
        if let Some(types) = self.config.get("layer_types")
            && self.slides(|_| false)?.contains(&true)
            && self.window(None)?.is_some()
        {
            return Err(types.unsupported());
        }
        Ok(())
    }
}

/// The rows of heads with the two of each rotary pair, which lie half a head apart, next to each other.
fn neighbours(rows: Vec<u32>, head: u32) -> Vec<u32> {
    let half = head as usize / 2;
    let pairs = |head: &[u32]| (0..half).flat_map(|i| [head[i], head[i + half]]).collect::<Vec<_>>();
    rows.chunks_exact(head as usize).flat_map(pairs).collect()
}
