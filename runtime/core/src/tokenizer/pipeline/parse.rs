//! A pipeline from the metadata of a file.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use smidgen_gguf::{Gguf, ValueKind};

use super::super::merge::Merges;
use super::super::parse::{NORMALIZED, SCORES, array, charsmap, flag, ids_of, numbers, string};
use super::super::unigram::Prefixes;
use super::super::vocab::{Kind, MAX_ENTRIES, NONE, Texts, Vocab};
use super::super::{Error, MOST_GROWTH};
use super::added::{Finder, Flags};
use super::model::{Bpe, Model, Scores, Unigram, WordPiece};
use super::normalize::{Normalized, Normalizer};
use super::pretokenize::PreTokenizer;
use super::steps::{Fault, Words};
use super::{Decoding, Lead, Pipeline, is_added, normalize};

const MODEL: &str = "smidgen.tokenizer.model";
const NORMALIZERS: &str = "smidgen.tokenizer.normalizers";
const PRE_TOKENIZERS: &str = "smidgen.tokenizer.pre_tokenizers";
const DECODER: &str = "smidgen.tokenizer.decoder";
const MERGES: &str = "smidgen.tokenizer.merges";
const DOUBLE_SCORES: &str = "smidgen.tokenizer.scores";
const BYTE_FALLBACK: &str = "smidgen.tokenizer.byte_fallback";
const FUSE_UNKNOWN: &str = "smidgen.tokenizer.fuse_unknown";
const IGNORE_MERGES: &str = "smidgen.tokenizer.ignore_merges";
const PREFIX: &str = "smidgen.tokenizer.continuing_subword_prefix";
const SUFFIX: &str = "smidgen.tokenizer.end_of_word_suffix";
const WORD_CHARACTERS: &str = "smidgen.tokenizer.max_word_characters";
const ADDED_ONLY: &str = "smidgen.tokenizer.added_only_ids";
const LSTRIP: &str = "smidgen.tokenizer.lstrip_ids";
const RSTRIP: &str = "smidgen.tokenizer.rstrip_ids";
const SINGLE_WORD: &str = "smidgen.tokenizer.single_word_ids";
const CLS: &str = "tokenizer.ggml.cls_token_id";

/// How much lower than the worst token an unknown character scores.
const UNKNOWN_PENALTY: f64 = 10.0;

impl<'a> Pipeline<'a> {
    /// Reads the steps of a file.
    ///
    /// # Errors
    /// When a key is missing or of the wrong type, a step is not known, an id is outside of the vocabulary, or a merge names no token.
    pub(in super::super) fn parse(file: &Gguf<'a>, vocab: &Vocab<'a>) -> Result<Pipeline<'a>, Error> {
        let charsmap = charsmap(file)?;
        let normalizers = steps(file, NORMALIZERS, |words| Normalizer::read(words, charsmap))?;
        let mut growth = 1usize;
        for step in &normalizers {
            if let Normalizer::Replace(_, text) | Normalizer::Prepend(text) = step {
                growth = growth.saturating_mul(text.len().max(1));
            }
        }
        if growth > MOST_GROWTH {
            return Err(Error::Step { key: NORMALIZERS, index: 0, reason: "makes texts too long" });
        }
        let pre_tokenizers = steps(file, PRE_TOKENIZERS, PreTokenizer::read)?;
        let flags = Flags {
            lstrip: ids_of(file, LSTRIP, vocab.len())?,
            rstrip: ids_of(file, RSTRIP, vocab.len())?,
            single_word: ids_of(file, SINGLE_WORD, vocab.len())?,
        };
        let added_only = ids_of(file, ADDED_ONLY, vocab.len())?;
        let wanted = ids_of(file, NORMALIZED, vocab.len())?;
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        for id in (0..vocab.len() as u32).filter(|id| is_added(vocab.kind(*id))) {
            let text = vocab.text(id).unwrap_or_default();
            if wanted.binary_search(&id).is_ok() {
                let found = normalize(&normalizers, Normalized { text: text.into(), head: 0 }).text;
                normalized.push((Cow::Owned(found), id));
            } else {
                raw.push((Cow::Borrowed(text), id));
            }
        }
        let model = match string(file, MODEL)?.ok_or(Error::Missing { key: MODEL })? {
            "bpe" => Model::Bpe(bpe(file, vocab, &added_only)?),
            "wordpiece" => Model::WordPiece(WordPiece {
                prefix: string(file, PREFIX)?.unwrap_or("##"),
                longest: number(file, WORD_CHARACTERS)?.unwrap_or(100),
            }),
            "unigram" => Model::Unigram(unigram(file, vocab, &added_only)?),
            name => return Err(Error::UnknownModel { name: name.into() }),
        };
        Ok(Pipeline {
            raw: Finder::new(raw),
            normalized: Finder::new(normalized),
            flags,
            added_only,
            normalizers,
            pre_tokenizers,
            model,
            decoding: decoding(file)?,
            is_framed: file.get(CLS).is_some(),
        })
    }
}

/// The steps of a list.
fn steps<'a, T>(
    file: &Gguf<'a>,
    key: &'static str,
    read: impl Fn(&mut Words<'a>) -> Result<Option<T>, Fault>,
) -> Result<Vec<T>, Error> {
    let Some(list) = array(file, key, ValueKind::Str)? else { return Ok(Vec::new()) };
    if let Some(offset) = list.iter().find_map(|text| text.not_utf8()) {
        return Err(Error::NotUtf8 { key, offset });
    }
    let mut words = Words::new(Texts(list.bytes()));
    let mut steps = Vec::new();
    loop {
        let index = words.read;
        let reason = match read(&mut words) {
            Ok(Some(step)) => {
                steps.push(step);
                continue;
            }
            Ok(None) => return Ok(steps),
            Err(Fault::Step) => "is not known",
            Err(Fault::Argument) => "has an argument that it does not take",
            Err(Fault::Expression) => "has an expression that is not supported",
            Err(Fault::Charsmap) => "needs tokenizer.ggml.precompiled_charsmap",
        };
        return Err(Error::Step { key, index, reason });
    }
}

fn number(file: &Gguf<'_>, key: &'static str) -> Result<Option<usize>, Error> {
    let Some(value) = file.get(key) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or(Error::WrongType { key, expected: "u32" })
}

fn bpe<'a>(file: &Gguf<'a>, vocab: &Vocab<'a>, added_only: &[u32]) -> Result<Bpe<'a>, Error> {
    let list = array(file, MERGES, ValueKind::U32)?.ok_or(Error::Missing { key: MERGES })?;
    let (pairs, odd) = list.bytes().as_chunks::<8>();
    if !odd.is_empty() || pairs.len() > MAX_ENTRIES {
        return Err(Error::Merge { index: pairs.len() });
    }
    let prefix = string(file, PREFIX)?.unwrap_or_default();
    let mut merges = Merges::new(pairs.len())?;
    let mut spelled = Vec::new();
    for (index, [a, b, c, d, e, f, g, h]) in pairs.iter().enumerate() {
        let (left, right) = (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
        let mut joined = || {
            spelled.clear();
            spelled.extend_from_slice(vocab.bytes(left)?);
            spelled.extend_from_slice(vocab.bytes(right)?.get(prefix.len()..)?);
            vocab.id(&spelled).filter(|id| added_only.binary_search(id).is_err())
        };
        let joined = joined().ok_or(Error::Merge { index })?;
        merges.push(left, right, joined);
    }
    Ok(Bpe {
        merges,
        bytes: bytes(file, vocab)?,
        fuse_unknown: flag(file, FUSE_UNKNOWN)?.unwrap_or(false),
        ignore_merges: flag(file, IGNORE_MERGES)?.unwrap_or(false),
        prefix,
        suffix: string(file, SUFFIX)?.unwrap_or_default(),
    })
}

fn unigram<'a>(file: &Gguf<'a>, vocab: &Vocab<'a>, added_only: &[u32]) -> Result<Unigram<'a>, Error> {
    let scores = match array(file, DOUBLE_SCORES, ValueKind::F64)? {
        Some(list) if list.len() == vocab.len() => Scores::Double(list.bytes().as_chunks().0),
        Some(list) => {
            return Err(Error::WrongLength { key: DOUBLE_SCORES, found: list.len(), expected: vocab.len() });
        }
        None => {
            let single = numbers(file, SCORES, ValueKind::F32, vocab.len())?;
            Scores::Single(single.ok_or(Error::Missing { key: SCORES })?)
        }
    };
    let mut prefixes = Prefixes::new(vocab.len())?;
    let mut worst = f64::INFINITY;
    for id in 0..vocab.len() as u32 {
        if vocab.kind(id) == Some(Kind::Unused) || added_only.binary_search(&id).is_ok() {
            continue;
        }
        prefixes.add(vocab.text(id).unwrap_or_default());
        worst = worst.min(scores.get(id));
    }
    Ok(Unigram { scores, unknown_score: worst - UNKNOWN_PENALTY, prefixes, bytes: bytes(file, vocab)? })
}

/// The tokens of bytes, spelled like `<0x0A>`, if characters that no token spells become them.
fn bytes(file: &Gguf<'_>, vocab: &Vocab<'_>) -> Result<Option<[u32; 256]>, Error> {
    if !flag(file, BYTE_FALLBACK)?.unwrap_or(false) {
        return Ok(None);
    }
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'A' + half - 10 };
    let mut tokens = [NONE; 256];
    for (byte, token) in (0..=u8::MAX).zip(&mut tokens) {
        let spelled = [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>'];
        *token = vocab.id(&spelled).filter(|&id| vocab.kind(id) != Some(Kind::Unused)).unwrap_or(NONE);
    }
    Ok(Some(tokens))
}

fn decoding<'a>(file: &Gguf<'a>) -> Result<Decoding<'a>, Error> {
    let read = |words: &mut Words<'a>| {
        let Some(name) = words.next() else { return Ok(None) };
        Ok(Some(match name {
            "ByteLevel" => Decoding::ByteLevel,
            "Metaspace" => {
                let space = words.char()?;
                Decoding::Metaspace(
                    space,
                    match words.text()? {
                        "always" => Lead::Parts,
                        "first" => Lead::Text,
                        "never" => Lead::Nowhere,
                        _ => return Err(Fault::Argument),
                    },
                )
            }
            "WordPiece" => Decoding::WordPiece(words.text()?),
            "BPEDecoder" => Decoding::Suffix(words.text()?),
            _ => return Err(Fault::Step),
        }))
    };
    match steps(file, DECODER, read)?.as_slice() {
        [] => Err(Error::Missing { key: DECODER }),
        [one] => Ok(*one),
        _ => Err(Error::Step { key: DECODER, index: 0, reason: "is not the only one" }),
    }
}
