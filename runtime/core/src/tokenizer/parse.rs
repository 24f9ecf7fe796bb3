//! A tokenizer from the metadata of a file.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use smidgen_gguf::{Gguf, Value, ValueKind};

use super::error::{Error, Warning};
use super::merge::Merges;
use super::pipeline::{self, Pipeline};
use super::pre::{self, Pre};
use super::special::Specials;
use super::split::Splitter;
use super::unigram::{Charsmap, Unigram};
use super::vocab::{Key, Kind, MAX_ENTRIES, NONE, Texts, Vocab, byte_of, char_of_byte, try_with_capacity};
use super::wordpiece::Cleaning;
use super::{Bpe, Ids, Scheme, Tokenizer, clip};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const MERGE_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const CLS: &str = "tokenizer.ggml.cls_token_id";
/// As llama.cpp spells it.
const SEP: &str = "tokenizer.ggml.seperator_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
/// Keys of ids that no text needs: nothing here reads them, unless they stand for BOS and EOS.
const OTHER_IDS: &[&str] = &[
    BOS,
    EOS,
    CLS,
    SEP,
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
];
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
/// Names of the tokens before and after CLIP's texts.
const CLIP_START: &[u8] = b"<|startoftext|>";
const CLIP_END: &[u8] = b"<|endoftext|>";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";
pub(super) const NORMALIZED: &str = "smidgen.tokenizer.normalized_ids";
const END_IDS: &str = "smidgen.tokenizer.end_token_ids";

/// A token that only Phi-3's vocabulary has.
const PHI_3: &[u8] = b"<|placeholder1|>";

/// How SentencePiece writes a space.
const SPACE_BYTES: &[u8] = "▁".as_bytes();

/// Names of a token that ends a turn, as in llama.cpp.
const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Names of other tokens that end a generation, as in llama.cpp.
const OTHER_ENDS: &[&str] = &[
    "<|eom_id|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

impl<'a> Tokenizer<'a> {
    /// Reads the tokenizer of a file and checks all of it.
    ///
    /// # Errors
    /// When a key is missing or of the wrong type, `tokenizer.ggml.model` or `pre` is not known, an array has not one
    /// element per token, a byte token is malformed, a merge names no token, or the id of a BOS, EOS, EOT, EOM or, for `bert`, of the
    /// unknown token lies outside of the vocabulary. Other ids outside of it are [`warnings`](Tokenizer::warnings).
    pub fn parse(file: &Gguf<'a>) -> Result<Tokenizer<'a>, Error> {
        // CLIP's files by llama.cpp's converter hold its tokens only.
        let is_clip = file.get("general.architecture").is_some_and(|name| name.as_str() == Some("clip"));
        let model = string(file, MODEL)?.or(is_clip.then_some("clip")).ok_or(Error::Missing { key: MODEL })?;
        let parse_scheme = match model {
            "gpt2" | "gemma4" | "whitespace" => Parsed::bpe,
            "llama" => Parsed::sentencepiece,
            "t5" => Parsed::unigram,
            "bert" => Parsed::wordpiece,
            "clip" => Parsed::clip,
            pipeline::NAME => Parsed::pipeline,
            _ => return Err(Error::UnknownModel { name: String::from(model) }),
        };
        let mut vocab = read_vocab(file)?;
        let Parsed { scheme, mut add_bos, mut add_eos, bos_key, eos_key, mut ids, strips, mask } =
            parse_scheme(file, &mut vocab)?;

        for (key, id) in [
            (bos_key, &mut ids.bos),
            (eos_key, &mut ids.eos),
            ("tokenizer.ggml.eot_token_id", &mut ids.eot),
            ("tokenizer.ggml.eom_token_id", &mut ids.eom),
        ] {
            *id = special_id(file, key, *id, vocab.len())?;
        }
        let mut warnings = Vec::new();
        for (key, id) in [(UNKNOWN, &mut ids.unknown), ("tokenizer.ggml.padding_token_id", &mut ids.padding)] {
            *id = match special_id(file, key, *id, vocab.len()) {
                // A word that WordPiece cannot spell would be left out without it.
                Err(error) if key == UNKNOWN && matches!(scheme, Scheme::WordPiece(_)) => return Err(error),
                Err(Error::SpecialId { key, id, tokens }) => {
                    warnings.push(Warning::SpecialId { key, id, tokens });
                    None
                }
                id => id?,
            };
        }
        for key in OTHER_IDS.iter().filter(|key| ![bos_key, eos_key].contains(key)) {
            if let Err(Error::SpecialId { key, id, tokens }) = special_id(file, key, None, vocab.len()) {
                warnings.push(Warning::SpecialId { key, id, tokens });
            }
        }
        if !scheme.is_framed() {
            let forced = matches!(&scheme, Scheme::Bpe(bpe) if bpe.pre.force_bos);
            add_bos = flag(file, ADD_BOS)?.unwrap_or(add_bos) || forced;
            add_eos = flag(file, ADD_EOS)?.unwrap_or(add_eos);
        }
        for (wanted, id, key) in [(add_bos, ids.bos, bos_key), (add_eos, ids.eos, eos_key)] {
            if wanted && id.is_none() {
                return Err(Error::Missing { key });
            }
        }
        let further = ids_of(file, END_IDS, vocab.len())?;
        let ends = find_ends(&mut vocab, &mut ids, &further, matches!(scheme, Scheme::Pipeline(_)));
        let bytes = byte_tokens(&vocab, matches!(&scheme, Scheme::Bpe(bpe) if !bpe.pre.characters))?;
        let late = |id: u32| matches!(&scheme, Scheme::Clip { normalized, .. } if normalized.contains(id));
        let specials = Specials::new(&vocab, |id| !late(id))?;
        Ok(Tokenizer { vocab, scheme, bytes, specials, strips, mask, ids, add_bos, add_eos, ends, warnings })
    }
}

/// A scheme as read from a file, before the keys that all schemes have in common.
struct Parsed<'a> {
    scheme: Scheme<'a>,
    add_bos: bool,
    add_eos: bool,
    bos_key: &'static str,
    eos_key: &'static str,
    /// Defaults of the scheme.
    ids: Ids,
    /// See [`Tokenizer::strips`].
    strips: Option<[Option<u32>; 3]>,
    /// See [`Tokenizer::mask`].
    mask: Option<u32>,
}

impl<'a> Parsed<'a> {
    fn new(scheme: Scheme<'a>, ids: Ids) -> Parsed<'a> {
        Parsed { scheme, add_bos: true, add_eos: false, bos_key: BOS, eos_key: EOS, ids, strips: None, mask: None }
    }

    /// BPE over the pieces of a pre-tokenizer.
    fn bpe(file: &Gguf<'a>, vocab: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let named = string(file, PRE)?.unwrap_or("default");
        // These models have one pre-tokenizer each, which some of their files leave out.
        let name = string(file, MODEL)?.filter(|model| *model != "gpt2").unwrap_or(named);
        let pre = pre::named(name).ok_or_else(|| Error::UnknownPre { name: String::from(name) })?;
        let lowercase = pre.drop_spaces && flag(file, LOWERCASE)?.unwrap_or(false);
        let Pre { cuts, add_bos, .. } = pre;
        let scheme = Bpe { pre, splitter: splitter(cuts, name)?, merges: read_merges(file, vocab)?, lowercase };
        let mask = match name {
            "jina-v2-de" | "jina-v2-es" | "jina-v2-code" => vocab.id(b"<mask>"),
            "modern-bert" => vocab.id(b"[MASK]"),
            _ => None,
        };
        Ok(Parsed { add_bos, mask, ..Parsed::new(Scheme::Bpe(scheme), Ids::default()) })
    }

    /// SentencePiece's Unigram.
    fn unigram(file: &Gguf<'a>, vocab: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let scores = numbers(file, SCORES, ValueKind::F32, vocab.len())?.ok_or(Error::Missing { key: SCORES })?;
        let charsmap = charsmap(file)?.unwrap_or_default();
        let space_prefix = flag(file, ADD_SPACE_PREFIX)?.unwrap_or(false);
        let merge_spaces = flag(file, MERGE_SPACES)?.unwrap_or(false);
        let scheme = Unigram::new(vocab, scores, charsmap, space_prefix, merge_spaces)?;
        let ids = Ids { eos: Some(1), unknown: Some(2), padding: Some(0), ..Ids::default() };
        // Files do not say that it swallows spaces; llama.cpp knows it by the architecture.
        let architecture = string(file, "general.architecture")?.unwrap_or_default();
        let mask = matches!(architecture, "nomic-bert-moe" | "jina-bert-v3").then(|| vocab.id(b"<mask>")).flatten();
        let parsed = Parsed::new(Scheme::Unigram(scheme), ids);
        Ok(Parsed { add_bos: false, add_eos: true, mask, ..parsed })
    }

    /// SentencePiece's BPE.
    fn sentencepiece(file: &Gguf<'a>, vocab: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let scores = numbers(file, SCORES, ValueKind::F32, vocab.len())?.ok_or(Error::Missing { key: SCORES })?;
        let space_prefix = flag(file, ADD_SPACE_PREFIX)?.unwrap_or(true);
        let scheme = Scheme::Spm { scores, space_prefix, word_by_word: spaces_lead(vocab) };
        let ids = Ids { bos: Some(1), eos: Some(2), unknown: Some(0), ..Ids::default() };
        // Phi-3's special tokens swallow spaces, which its files do not say: its vocabulary is told by a token that no other has.
        let strips = vocab
            .id(PHI_3)
            .filter(|id| vocab.kind(*id) == Some(Kind::Control))
            .map(|_| ["<unk>", "<s>", "<|endoftext|>"].map(|name| vocab.id(name.as_bytes())));
        Ok(Parsed { strips, ..Parsed::new(scheme, ids) })
    }

    /// BERT's WordPiece.
    fn wordpiece(file: &Gguf<'a>, _: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let lowercase = flag(file, LOWERCASE)?.unwrap_or(true);
        let strip_accents = flag(file, STRIP_ACCENTS)?.unwrap_or(lowercase);
        let scheme = Scheme::WordPiece(Cleaning { lowercase, strip_accents });
        let or = |key, other| if file.get(key).is_some() { key } else { other };
        let (bos_key, eos_key) = (or(CLS, BOS), or(SEP, EOS));
        let ids = Ids { bos: Some(101), eos: Some(102), unknown: Some(100), padding: Some(0), ..Ids::default() };
        Ok(Parsed { add_eos: true, bos_key, eos_key, ..Parsed::new(scheme, ids) })
    }

    /// Steps that the file lists.
    fn pipeline(file: &Gguf<'a>, vocab: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let scheme = Pipeline::parse(file, vocab)?;
        let or = |key, other| if file.get(key).is_some() { key } else { other };
        let (bos_key, eos_key) = (or(CLS, BOS), or(SEP, EOS));
        let is_framed = scheme.is_framed;
        let parsed = Parsed::new(Scheme::Pipeline(Box::new(scheme)), Ids::default());
        Ok(Parsed { add_bos: is_framed, add_eos: is_framed, bos_key, eos_key, ..parsed })
    }

    /// CLIP's BPE.
    fn clip(file: &Gguf<'a>, vocab: &mut Vocab<'a>) -> Result<Parsed<'a>, Error> {
        let ids = Ids { bos: vocab.id(CLIP_START), eos: vocab.id(CLIP_END), ..Ids::default() };
        for id in [ids.bos, ids.eos].into_iter().flatten() {
            vocab.set_kind(id, Kind::Control);
        }
        let late = ids_of(file, NORMALIZED, vocab.len())?;
        let normalized = Box::new(Specials::new(vocab, |id| late.binary_search(&id).is_ok())?);
        let splitter = splitter(pre::CLIP, "clip")?;
        let bytes = Box::new(clip::bytes(vocab));
        let has_merges = file.get(MERGES).is_some();
        let merges = if has_merges { read_merges(file, vocab)? } else { clip::merges(vocab, &bytes)? };
        Ok(Parsed { add_eos: true, ..Parsed::new(Scheme::Clip { splitter, bytes, merges, normalized }, ids) })
    }
}

/// The table of normalizations, if there is one.
pub(super) fn charsmap<'a>(file: &Gguf<'a>) -> Result<Option<Charsmap<'a>>, Error> {
    let Some(value) = file.get(CHARSMAP) else { return Ok(None) };
    let table = value.as_array().filter(|array| matches!(array.kind(), ValueKind::I8 | ValueKind::U8));
    let bytes = table.ok_or(Error::WrongType { key: CHARSMAP, expected: "array of u8" })?.bytes();
    Charsmap::parse(bytes).map(Some).ok_or(Error::Charsmap { bytes: bytes.len() })
}

/// What cuts texts for the pre-tokenizer `name`.
fn splitter(cuts: &[pre::Cut], name: &str) -> Result<Splitter, Error> {
    Splitter::new(cuts).ok_or_else(|| Error::UnknownPre { name: String::from(name) })
}

/// The tokens of a file and their types.
fn read_vocab<'a>(file: &Gguf<'a>) -> Result<Vocab<'a>, Error> {
    let texts = array(file, TOKENS, ValueKind::Str)?.ok_or(Error::Missing { key: TOKENS })?;
    if Texts(texts.bytes()).any(|text| core::str::from_utf8(text).is_err()) {
        let offset = texts.iter().find_map(|text| text.not_utf8()).unwrap_or_default();
        return Err(Error::NotUtf8 { key: TOKENS, offset });
    }
    let count = texts.len();
    if count == 0 || count > MAX_ENTRIES {
        return Err(Error::VocabularySize { tokens: count });
    }
    let mut kinds = try_with_capacity(count)?;
    match numbers(file, TOKEN_TYPE, ValueKind::I32, count)? {
        Some(found) => kinds.extend(found.iter().map(|&kind| Kind::from_file(i32::from_le_bytes(kind)))),
        None => kinds.resize(count, Kind::Normal),
    }
    Vocab::new(Texts(texts.bytes()), kinds)
}

/// Whether a token of this name ends a generation.
pub(super) fn ends_by_name(token: &str) -> bool {
    TURN_ENDS.contains(&token) || OTHER_ENDS.contains(&token)
}

/// The ids of tokens under a key, ascending; none if it is absent.
pub(super) fn ids_of(file: &Gguf<'_>, key: &'static str, tokens: usize) -> Result<Vec<u32>, Error> {
    let Some(list) = array(file, key, ValueKind::U32)? else { return Ok(Vec::new()) };
    let mut ids = try_with_capacity(list.len())?;
    ids.extend(list.bytes().as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)));
    ids.sort_unstable();
    match ids.iter().find(|id| **id as usize >= tokens) {
        Some(id) => Err(Error::SpecialId { key, id: i64::from(*id), tokens }),
        None => Ok(ids),
    }
}

/// The sorted ids of the tokens that end a generation, by id and by name; those found by name become control tokens, and the ends of turns and
/// messages that the file does not name. A pipeline's file says what its control tokens are, and no others are found by name.
fn find_ends(vocab: &mut Vocab<'_>, ids: &mut Ids, further: &[u32], is_pipeline: bool) -> Vec<u32> {
    let named =
        |name: &&str| vocab.id(name.as_bytes()).filter(|&id| !is_pipeline || vocab.kind(id) == Some(Kind::Control));
    ids.eot = ids.eot.or_else(|| TURN_ENDS.iter().find_map(named));
    ids.eom = ids.eom.or_else(|| named(&"<|eom_id|>"));
    let mut ends: Vec<u32> = TURN_ENDS.iter().chain(OTHER_ENDS).filter_map(named).collect();
    // A token by such a name is an event even where the file calls it text.
    for &id in &ends {
        vocab.set_kind(id, Kind::Control);
    }
    ends.extend([ids.eos, ids.eot, ids.eom].into_iter().flatten());
    ends.sort_unstable();
    ends.dedup();
    // In these vocabularies a message ends with <|end|>, but not the turn.
    let has = |name: &str| vocab.id(name.as_bytes()).is_some();
    if (has("<|return|>") && has("<|call|>")) || (has("<|flush|>") && has("<|calls|>")) {
        ends.retain(|&id| vocab.text(id) != Some("<|end|>"));
    }
    ends.extend(further);
    ends.sort_unstable();
    ends.dedup();
    ends
}

pub(super) fn string<'a>(file: &Gguf<'a>, key: &'static str) -> Result<Option<&'a str>, Error> {
    let Some(value) = file.get(key) else { return Ok(None) };
    match value.not_utf8() {
        Some(offset) => Err(Error::NotUtf8 { key, offset }),
        None => value.as_str().map(Some).ok_or(Error::WrongType { key, expected: "string" }),
    }
}

pub(super) fn flag(file: &Gguf<'_>, key: &'static str) -> Result<Option<bool>, Error> {
    let Some(value) = file.get(key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or(Error::WrongType { key, expected: "bool" })
}

pub(super) fn array<'a>(
    file: &Gguf<'a>,
    key: &'static str,
    kind: ValueKind,
) -> Result<Option<smidgen_gguf::Array<'a>>, Error> {
    let Some(value) = file.get(key) else { return Ok(None) };
    let expected = match kind {
        ValueKind::Str => "array of strings",
        ValueKind::F32 => "array of f32",
        ValueKind::F64 => "array of f64",
        ValueKind::U32 => "array of u32",
        _ => "array of i32",
    };
    value.as_array().filter(|array| array.kind() == kind).map(Some).ok_or(Error::WrongType { key, expected })
}

/// The elements of an array of one 4-byte number per token.
pub(super) fn numbers<'a>(
    file: &Gguf<'a>,
    key: &'static str,
    kind: ValueKind,
    expected: usize,
) -> Result<Option<&'a [[u8; 4]]>, Error> {
    let Some(array) = array(file, key, kind)? else { return Ok(None) };
    if array.len() != expected {
        return Err(Error::WrongLength { key, found: array.len(), expected });
    }
    Ok(Some(array.bytes().as_chunks().0))
}

fn special_id(file: &Gguf<'_>, key: &'static str, default: Option<u32>, tokens: usize) -> Result<Option<u32>, Error> {
    let id = match (file.get(key), default) {
        (None, None) => return Ok(None),
        (None, Some(default)) => i64::from(default),
        (Some(Value::U64(id)), _) => i64::try_from(id).unwrap_or(i64::MAX),
        (Some(value), _) => value.as_i64().ok_or(Error::WrongType { key, expected: "integer" })?,
    };
    match u32::try_from(id) {
        Ok(small) if (small as usize) < tokens => Ok(Some(small)),
        _ => Err(Error::SpecialId { key, id, tokens }),
    }
}

fn read_merges(file: &Gguf<'_>, vocab: &Vocab<'_>) -> Result<Merges, Error> {
    let array = array(file, MERGES, ValueKind::Str)?.ok_or(Error::Missing { key: MERGES })?;
    if array.len() > MAX_ENTRIES {
        return Err(Error::Merge { index: MAX_ENTRIES });
    }
    let mut merges = Merges::new(array.len())?;
    let mut joined = NONE;
    let mut spelled = Vec::new();
    for (index, merge) in Texts(array.bytes()).enumerate() {
        let mut ids = || {
            let space = merge.iter().skip(1).position(|&byte| byte == b' ')? + 1;
            let (left, right) = (merge.get(..space)?, merge.get(space + 1..)?);
            let (left_key, right_key) = (Key::new(left), Key::new(right));
            // The tokens that merges make mostly follow each other, which saves searching.
            joined = joined.wrapping_add(1);
            let next = vocab.bytes(joined).unwrap_or_default();
            let split = next.split_at_checked(left.len());
            if !split.is_some_and(|(l, r)| left_key.is(l) && right_key.is(r)) {
                spelled.clear();
                spelled.extend_from_slice(left);
                spelled.extend_from_slice(right);
                joined = vocab.id(&spelled)?;
            }
            Some((vocab.find(left_key)?, vocab.find(right_key)?))
        };
        let (left, right) = ids().ok_or(Error::Merge { index })?;
        merges.push(left, right, joined);
    }
    Ok(merges)
}

/// Whether no token has a space after anything but spaces, so that no merge reaches over the start of a word.
fn spaces_lead(vocab: &Vocab<'_>) -> bool {
    let leads = |text: &[u8]| {
        let mut word = text;
        while let Some(rest) = word.strip_prefix(SPACE_BYTES) {
            word = rest;
        }
        !word.windows(SPACE_BYTES.len()).any(|part| part == SPACE_BYTES)
    };
    (0..vocab.len() as u32).all(|id| vocab.bytes(id).is_none_or(leads))
}

/// The token of each byte.
fn byte_tokens(vocab: &Vocab<'_>, byte_level: bool) -> Result<[u32; 256], Error> {
    let mut tokens = [NONE; 256];
    if byte_level {
        for byte in 0..=u8::MAX {
            let id = vocab.id(char_of_byte(byte).encode_utf8(&mut [0; 4]).as_bytes());
            if let Some(id) = id.filter(|&id| vocab.kind(id) == Some(Kind::Normal)) {
                tokens[usize::from(byte)] = id;
            }
        }
    }
    for id in (0..vocab.len() as u32).filter(|&id| vocab.kind(id) == Some(Kind::Byte)) {
        let byte = vocab.bytes(id).and_then(byte_of).ok_or(Error::ByteToken { id })?;
        let token = &mut tokens[usize::from(byte)];
        if *token == NONE {
            *token = id;
        }
    }
    Ok(tokens)
}
