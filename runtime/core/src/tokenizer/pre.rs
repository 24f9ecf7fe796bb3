//! The pre-tokenizers that `tokenizer.ggml.pre` names: for each how a text is cut before merging, and what else its models expect.
//!
//! Names and expressions are those of llama.cpp. Where it replaces the expression of a model's own `tokenizer.json` by one without
//! letter case (`gpt-4o`, `tekken`, `kimi-k2`), or matches one without it (`youtu`, `tiny_aya`), the model's own is here, and matched
//! as it is written.

/// One step of cutting a text. Each cuts every piece of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Matches of an expression and what lies between them are pieces.
    Isolate(&'static str),
    /// The same as `Isolate(GPT2)`, quicker.
    Gpt2,
    /// The same as `Isolate(LLAMA3)` or, for one digit, `Isolate(QWEN2)`, quicker.
    Words {
        /// Most characters of a piece of numbers.
        digits: usize,
    },
    /// The same as `Isolate(r"\s+$")` in time that does not grow with the square of the text.
    FinalSpaces,
    /// Of spaces without a line's end as many as 512, 256, … 4, 2 or 1 are a piece, the most first: after `Words`, what
    /// `\s{512}(?!\S)|\s{256}(?!\S)|…|\s{1,2}(?!\S)|\s` in the place of `\s+(?!\S)|\s+` isolates, without looking at a run again and again.
    Blanks,
    /// Digits are cut into threes from the right end of their run, in time that does not grow with the square of its length.
    Thousands(Grouping),
}

/// Which digits are cut into threes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// All runs, and what lies between them: `Isolate("\d{1,3}(?=(?:\d{3})*(?!\d))")`.
    All,
    /// Runs that no word character follows: `Isolate("\d{1,3}(?=(?:\d{3})*\b)")`.
    Words,
    /// All runs, between threes only: cuts are where `(?=(\d{3})+(?!\d))` matches.
    Between,
}

/// Which pieces are taken as they are if they are tokens as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    None,
    /// Pieces of nothing but line feeds.
    Newlines,
    /// All, which llama.cpp calls `ignore_merges`.
    All,
}

/// A pre-tokenizer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    pub(super) cuts: &'static [Cut],
    pub(super) whole: Whole,
    /// Whether a BOS is put first where the file does not say.
    pub(super) add_bos: bool,
    /// Whether a BOS is put first whatever the file says.
    pub(super) force_bos: bool,
    /// Whether a text is composed (Unicode's NFC) first, as the models' own tokenizers do.
    pub(super) compose: bool,
    /// Whether tokens are spelled in characters, with `▁` for a space and `<0x0A>` for a byte that no other token has, and not in
    /// byte-level BPE's letters.
    pub(super) characters: bool,
    /// Whether pieces of spaces are left out, and no token is spelled with one.
    pub(super) drop_spaces: bool,
}

/// Without anything out of the ordinary.
const fn plain(cuts: &'static [Cut]) -> Pre {
    let (whole, add_bos, force_bos, compose) = (Whole::None, false, false, false);
    Pre { cuts, whole, add_bos, force_bos, compose, characters: false, drop_spaces: false }
}

/// Pieces that are tokens are taken as they are.
const fn whole(cuts: &'static [Cut]) -> Pre {
    Pre { whole: Whole::All, ..plain(cuts) }
}

/// The same, and a BOS comes first.
const fn whole_with_bos(cuts: &'static [Cut]) -> Pre {
    Pre { add_bos: true, ..whole(cuts) }
}

/// Texts are composed.
const fn composed(cuts: &'static [Cut]) -> Pre {
    Pre { compose: true, ..plain(cuts) }
}

/// SentencePiece's spelling, and merges that reach over spaces.
const fn characters(whole: Whole, force_bos: bool) -> Pre {
    Pre { whole, force_bos, characters: true, ..plain(LINES) }
}

/// The pre-tokenizer of a name.
pub(super) fn named(name: &str) -> Option<Pre> {
    TABLE.iter().find(|(names, _)| names.split(' ').any(|known| known == name)).map(|(_, pre)| *pre)
}

/// Names, divided by spaces, and what they mean.
static TABLE: &[(&str, Pre)] = &[
    ("default", plain(DEFAULT)),
    (
        "gpt-2 phi-2 jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe",
        plain(&[Cut::Gpt2]),
    ),
    ("mpt olmo modern-bert", composed(&[Cut::Gpt2])),
    ("smollm starcoder refact codeshell exaone minerva-7b mellum2", plain(DIGITS_GPT2)),
    ("command-r", composed(DIGITS_GPT2)),
    ("llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", whole_with_bos(WORDS_3)),
    ("glm4 glm5", whole(WORDS_3)),
    ("dbrx smaug-bpe chatglm-bpe", plain(WORDS_3)),
    ("qwen2 stablelm2 f2llmv2", composed(WORDS_1)),
    ("deepseek-r1-qwen kormo megrez hunyuan solar-open grok-2", plain(WORDS_1)),
    (
        "qwen35",
        plain(&[Cut::Isolate(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )]),
    ),
    ("laguna", plain(&[Cut::Isolate("[^\\n]+|\\n+"), Cut::Words { digits: 1 }])),
    (
        "seed-coder",
        plain(&[Cut::Isolate(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        )]),
    ),
    (
        "ufakzeka",
        plain(&[Cut::Isolate(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")]),
    ),
    (
        "bailingmoe bailingmoe2 llada-moe",
        plain(&[Cut::Isolate(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        )]),
    ),
    (
        "minicpm5",
        whole(&[
            Cut::Isolate(r"\p{N}{1,3}"),
            Cut::Isolate(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
        ]),
    ),
    ("jais-2", plain(&[Cut::Words { digits: 3 }, Cut::Blanks])),
    (
        "exaone-moe",
        plain(&[Cut::Isolate(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )]),
    ),
    ("falcon", plain(FALCON)),
    ("deepseek-llm", plain(DEEPSEEK_LLM)),
    (
        "deepseek-coder",
        plain(&[
            Cut::Isolate("[\\r\\n]"),
            Cut::Isolate(r"\s?\p{L}+"),
            Cut::Isolate(r"\s?\p{P}+"),
            CJK,
            Cut::Isolate(r"\p{N}"),
        ]),
    ),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", plain(DEEPSEEK_V3)),
    (
        "spark2_5",
        plain(&[
            Cut::Isolate(r"\p{N}{1,3}"),
            KANA,
            Cut::Isolate(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##,
            ),
            Cut::Isolate(r"\p{N}"),
        ]),
    ),
    (
        "afmoe",
        plain(&[
            Cut::Thousands(Grouping::All),
            Cut::Isolate(
                "[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{8C48}-\u{FAFF}\u{3040}-\u{30FF}\u{FF65}-\u{FF9F}\u{2F00}-\u{2FDF}\u{E40}-\u{EFF}\u{1780}-\u{17FF}\u{1000}-\u{109F}\u{AA60}-\u{AA7F}\u{A9E0}-\u{A9FF}\u{AC00}-\u{D7AF}\u{1100}-\u{11FF}]+",
            ),
            Cut::Isolate(PUNCTUATED),
        ]),
    ),
    ("poro-chat bloom gpt3-finnish", plain(&[Cut::Isolate(BLOOM)])),
    ("viking", plain(&[Cut::Isolate(BLOOM), Cut::Isolate(r"\p{N}")])),
    (
        "tekken",
        whole_with_bos(&[Cut::Isolate(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )]),
    ),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", plain(&[Cut::Isolate(GPT4O)])),
    ("granite-embed-multi-97m", whole(&[Cut::Isolate(GPT4O)])),
    ("tiny_aya cohere2moe", plain(&[Cut::Thousands(Grouping::Words), Cut::Isolate(GPT4O)])),
    (
        "youtu",
        whole(&[
            Cut::Isolate(
                "[\u{AC00}-\u{D7A3}\u{3131}-\u{318E}]+|[\u{FF01}\u{2026}\u{201C}\u{201D}\u{2018}\u{2019}\u{2014}\u{FF1A}\u{FF1B}\u{FF0C}\u{3001}-\u{303F}\u{FE30}-\u{FE4F}]+|[\u{3105}-\u{312F}]+|[\u{4E00}-\u{9FA5}\u{3040}-\u{30FF}]+",
            ),
            Cut::Isolate(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
        ]),
    ),
    (
        "kimi-k2",
        plain(&[Cut::Isolate(
            r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )]),
    ),
    (
        "chameleon",
        Pre {
            add_bos: true,
            ..plain(&[
                Cut::Isolate("<sentinel:[0-9]+>"),
                Cut::Isolate("IMGIMG[A-I]{1,4}Z"),
                Cut::Isolate("[\\t\\n]|    |  "),
                Cut::Isolate(r"\p{N}"),
                Cut::Isolate(r"[\p{P}!-/:-@\[-`{-~]"),
                Cut::Gpt2,
            ])
        },
    ),
    ("superbpe", plain(&[Cut::Isolate(r"\p{N}+"), Cut::Thousands(Grouping::Between)])),
    ("gemma4 granite-embed-multi-311m", characters(Whole::Newlines, true)),
    ("sarvam-moe", characters(Whole::None, false)),
    ("whitespace", Pre { characters: true, drop_spaces: true, ..plain(&[Cut::Isolate(r"\S+")]) }),
];

/// CLIP's, whose spaces are pieces that nothing is made of.
pub(super) const CLIP: &[Cut] = &[Cut::Isolate(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+|\s+")];

/// What [`Cut::Gpt2`] stands for.
#[cfg(test)]
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// What [`Cut::Words`] stands for, of three digits.
#[cfg(test)]
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What [`Cut::Words`] stands for, of one digit.
#[cfg(test)]
pub(super) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const WORDS_3: &[Cut] = &[Cut::Words { digits: 3 }];
const WORDS_1: &[Cut] = &[Cut::Words { digits: 1 }];
const DIGITS_GPT2: &[Cut] = &[Cut::Isolate(r"\p{N}"), Cut::Gpt2];
const LINES: &[Cut] = &[Cut::Isolate("[^\\n]+|\\n+")];
const DEFAULT: &[Cut] =
    &[Cut::Isolate(r"[\p{P}$+<=>^~|]+"), Cut::Gpt2, Cut::Isolate(r"\p{N}+"), Cut::Isolate("[0-9]{3}")];
const FALCON: &[Cut] = &[Cut::Isolate(r"[\p{P}$+<=>^~|`]+"), Cut::Gpt2, Cut::Isolate("[0-9]{3}")];
/// Without the spaces within the range, which are matched as spaces only.
const CJK: Cut = Cut::Isolate(
    "[\u{800}-\u{167F}\u{1681}-\u{1FFF}\u{200B}-\u{2027}\u{202A}-\u{202E}\u{2030}-\u{205E}\u{2060}-\u{2FFF}\u{3001}-\u{9FA5}\u{AC00}-\u{D7FF}]+",
);
const KANA: Cut = Cut::Isolate("[\u{4E00}-\u{9FA5}\u{3040}-\u{30FF}]+");
const DEEPSEEK_LLM: &[Cut] = &[
    Cut::Isolate("[\\r\\n]"),
    Cut::Isolate(
        "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    ),
    Cut::Isolate("\\s?[!-/:-~！-／：-～\u{2018}-\u{201F}\u{3001}-\u{3002}]+"),
    Cut::FinalSpaces,
    CJK,
    Cut::Isolate(r"\p{N}+"),
];
const DEEPSEEK_V3: &[Cut] = &[Cut::Isolate(r"\p{N}{1,3}"), KANA, Cut::Isolate(PUNCTUATED)];
const PUNCTUATED: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const BLOOM: &str = " ?[^(\\s|.,!?\u{2026}\u{3002}\u{FF0C}\u{3001}\u{964}\u{6D4}\u{60C})]+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
