//! Token ids to text.

use alloc::string::String;
use alloc::vec::Vec;

use super::vocab::{Kind, byte_of, byte_of_char};
use super::{Scheme, Tokenizer, clip, unescape};

impl<'a> Tokenizer<'a> {
    /// The text of `ids`; bytes that are not UTF-8 become U+FFFD. Control tokens are written as the file spells them
    /// `with_special`, and left out otherwise. Ids outside of the vocabulary are left out.
    pub fn decode(&self, ids: &[u32], with_special: bool) -> String {
        let mut decoder = self.decoder(with_special);
        let mut text = String::new();
        for &id in ids {
            text.push_str(decoder.push(id));
        }
        text.push_str(decoder.finish());
        text
    }

    /// Decodes a text from its start, token by token.
    pub fn decoder(&self, with_special: bool) -> Decoder<'_, 'a> {
        let strip = self.leads_with_space();
        Decoder { tokenizer: self, with_special, strip, pending: Vec::new(), text: String::new() }
    }

    /// Decodes what follows `prompt`: a first space is kept if the prompt ends in text.
    pub fn decoder_after(&self, prompt: &[u32], with_special: bool) -> Decoder<'_, 'a> {
        let mut decoder = self.decoder(with_special);
        decoder.strip &= prompt.last().is_none_or(|&id| self.is_special(id) && self.parts_lead_with_space());
        decoder
    }

    /// The bytes that a token stands for, whole words of SentencePiece with their space; the spelling of a control token;
    /// nothing for an id outside of the vocabulary. They need not be UTF-8.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append(id, &mut bytes);
        bytes
    }

    /// Whether [`encode`](Tokenizer::encode) takes the token from the text before splitting it.
    fn is_special(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(Kind::Control | Kind::Unknown | Kind::UserDefined))
    }

    /// Whether a text begins with a space that is not its own.
    fn leads_with_space(&self) -> bool {
        match &self.scheme {
            Scheme::Spm { space_prefix, .. } => *space_prefix,
            Scheme::Unigram(unigram) => unigram.space_prefix || unigram.merge_spaces,
            Scheme::WordPiece(_) => true,
            Scheme::Pipeline(pipeline) => pipeline.leads().0,
            Scheme::Bpe(_) | Scheme::Clip { .. } => false,
        }
    }

    /// Whether what follows a special token begins with a space that is not its own.
    fn parts_lead_with_space(&self) -> bool {
        match &self.scheme {
            Scheme::Pipeline(pipeline) => pipeline.leads().1,
            _ => self.leads_with_space(),
        }
    }

    fn append(&self, id: u32, bytes: &mut Vec<u8>) {
        let (Some(text), Some(kind)) = (self.vocab.text(id), self.vocab.kind(id)) else { return };
        let escaped = match &self.scheme {
            Scheme::Spm { .. } | Scheme::Unigram(_) | Scheme::WordPiece(_) => true,
            Scheme::Bpe(bpe) => bpe.pre.characters,
            Scheme::Clip { .. } | Scheme::Pipeline(_) => false,
        };
        match (kind, &self.scheme) {
            (Kind::Control | Kind::Unknown | Kind::UserDefined, _) => bytes.extend_from_slice(text.as_bytes()),
            (Kind::Byte, _) => bytes.extend(byte_of(text.as_bytes())),
            (Kind::Normal, Scheme::Pipeline(pipeline)) => pipeline.append(text, bytes),
            (Kind::Normal, _) if escaped => bytes.extend_from_slice(unescape(text).as_bytes()),
            (Kind::Normal, _) => {
                let end = text.strip_suffix(clip::END).filter(|_| matches!(self.scheme, Scheme::Clip { .. }));
                for c in end.unwrap_or(text).chars() {
                    match byte_of_char(c) {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                if end.is_some() {
                    bytes.push(b' ');
                }
            }
            (Kind::Unused | Kind::Undefined, _) => {}
        }
    }
}

/// Decodes tokens one by one and never emits half a character. What it emits together is what
/// [`decode`](Tokenizer::decode) gives.
///
/// A vocabulary whose texts begin with a space that is not theirs (`add_space_prefix`) loses it here, at the start and after
/// each special token, where encoding has added it.
pub struct Decoder<'t, 'a> {
    tokenizer: &'t Tokenizer<'a>,
    with_special: bool,
    /// Whether a space at the start of the next token is dropped.
    strip: bool,
    /// Bytes that may be the beginning of a character.
    pending: Vec<u8>,
    text: String,
}

impl Decoder<'_, '_> {
    /// Takes the next token and gives the text that is certain by now.
    pub fn push(&mut self, id: u32) -> &str {
        self.text.clear();
        let special = self.tokenizer.is_special(id);
        if self.with_special || !self.tokenizer.is_control(id) {
            let start = self.pending.len();
            self.tokenizer.append(id, &mut self.pending);
            if self.strip && !special && self.pending.get(start) == Some(&b' ') {
                self.pending.remove(start);
            }
        }
        self.strip = special && self.tokenizer.parts_lead_with_space();
        self.emit();
        &self.text
    }

    /// Gives what is left: a U+FFFD if the last token ended within a character. The decoder begins anew after it.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        self.pending.clear();
        self.strip = self.tokenizer.leads_with_space();
        &self.text
    }

    /// Moves whole characters from `pending` to `text`.
    fn emit(&mut self) {
        let mut rest = self.pending.as_slice();
        loop {
            match core::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    return self.pending.clear();
                }
                Err(error) => {
                    let (valid, after) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
                    self.text.push_str(core::str::from_utf8(valid).unwrap_or_default());
                    let Some(invalid) = error.error_len() else {
                        let kept = self.pending.len() - after.len();
                        self.pending.drain(..kept);
                        return;
                    };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(invalid..).unwrap_or_default();
                }
            }
        }
    }
}
