//! Small vocabularies made here; real ones are in the golden tests.

extern crate std;

mod families;
mod split;

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use smidgen_gguf::{Gguf, NewValue, Writer};

use super::pre;
use super::split::Splitter;
use super::unicode::category;
use super::vocab::{NONE, byte_of_char, char_of_byte};
use super::{Merger, Special, Tokenizer};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER: i32 = 4;
const BYTE: i32 = 6;

/// Metadata of a tokenizer, owned so that a test can build it up.
#[derive(Default)]
struct Made {
    tokens: Vec<(String, i32, f32)>,
    merges: Vec<String>,
    flags: Vec<(&'static str, bool)>,
    ids: Vec<(&'static str, u32)>,
    pre: &'static str,
}

impl Made {
    /// Byte-level BPE: a token for each byte, in order, then those that `merges` make, then `more`.
    fn bpe(pre: &'static str, merges: &[&str], more: &[(&str, i32)]) -> Made {
        let mut made = Made { pre, merges: merges.iter().map(|merge| merge.to_string()).collect(), ..Made::default() };
        made.tokens.extend((0..=255).map(|byte| (char_of_byte(byte).to_string(), NORMAL, 0.0)));
        made.tokens.extend(merges.iter().map(|merge| (merge.replace(' ', ""), NORMAL, 0.0)));
        made.tokens.extend(more.iter().map(|&(text, kind)| (text.to_owned(), kind, 0.0)));
        made
    }

    /// SentencePiece: unknown, BOS, EOS, the 256 bytes if wanted, then `tokens`.
    fn spm(bytes: bool, tokens: &[(&str, i32, f32)]) -> Made {
        let mut made = Made::default();
        for (text, kind) in [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)] {
            made.tokens.push((text.to_owned(), kind, 0.0));
        }
        if bytes {
            made.tokens.extend((0..=255).map(|byte: u8| (format!("<0x{byte:02X}>"), BYTE, 0.0)));
        }
        made.tokens.extend(tokens.iter().map(|&(text, kind, score)| (text.to_owned(), kind, score)));
        made
    }

    fn file(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let mut put = |key: &str, value: NewValue<'_>| writer.metadata(key, value).unwrap();
        let texts: Vec<&str> = self.tokens.iter().map(|token| token.0.as_str()).collect();
        let kinds: Vec<i32> = self.tokens.iter().map(|token| token.1).collect();
        let scores: Vec<f32> = self.tokens.iter().map(|token| token.2).collect();
        let merges: Vec<&str> = self.merges.iter().map(String::as_str).collect();
        put("tokenizer.ggml.tokens", texts.as_slice().into());
        put("tokenizer.ggml.token_type", kinds.as_slice().into());
        if self.pre.is_empty() {
            put("tokenizer.ggml.model", "llama".into());
            put("tokenizer.ggml.scores", scores.as_slice().into());
        } else {
            put("tokenizer.ggml.model", "gpt2".into());
            put("tokenizer.ggml.pre", self.pre.into());
            put("tokenizer.ggml.merges", merges.as_slice().into());
        }
        for &(key, value) in &self.flags {
            put(&format!("tokenizer.ggml.{key}"), value.into());
        }
        for &(key, value) in &self.ids {
            put(&format!("tokenizer.ggml.{key}"), value.into());
        }
        writer.write(&[], Vec::new()).unwrap()
    }

    fn with<T>(&self, check: impl FnOnce(&Tokenizer<'_>) -> T) -> T {
        let bytes = self.file();
        check(&Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap())
    }
}

/// The spelling of each token of a text.
fn pieces(tokenizer: &Tokenizer<'_>, text: &str, special: Special) -> Vec<String> {
    tokenizer.encode(text, special).iter().map(|&id| tokenizer.token_text(id).unwrap().to_owned()).collect()
}

/// A small generator of numbers below `n`.
fn random(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as usize % n
}

#[test]
fn merges_go_by_rank_then_from_the_left() {
    let split = |merges: &[&str], text: &str| {
        Made::bpe("gpt-2", merges, &[]).with(|tokenizer| pieces(tokenizer, text, Special::Text))
    };
    assert_eq!(split(&["b c", "a b"], "abc"), ["a", "bc"]);
    assert_eq!(split(&["a b", "b c"], "abc"), ["ab", "c"]);
    assert_eq!(split(&["a a"], "aaa"), ["aa", "a"]);
    assert_eq!(split(&["a a", "aa aa"], "aaaaaaa"), ["aaaa", "aa", "a"]);
    assert_eq!(split(&["a b", "ab c", "Ġ abc"], "abc abc"), ["abc", "Ġabc"]);
    // A pair that arises late may still come before all that wait.
    assert_eq!(split(&["ab c", "a b", "c d"], "abcd"), ["abc", "d"]);
    // Not the longest match: no merge leads to it.
    assert_eq!(split(&["b c", "a b", "ab c"], "abc"), ["a", "bc"]);
}

#[test]
fn the_queue_merges_as_the_definition_does() {
    let mut state = 1;
    for _ in 0..2_000 {
        // Pair tables over six symbols, the joined ones among them; priorities may repeat.
        let table: Vec<Option<(u32, u32)>> = (0..36)
            .map(|_| (random(&mut state, 3) > 0).then(|| (random(&mut state, 8) as u32, random(&mut state, 6) as u32)))
            .collect();
        let look = |left: u32, right: u32| table.get((left * 6 + right) as usize).copied().flatten();
        let symbols: Vec<u32> = (0..random(&mut state, 40)).map(|_| random(&mut state, 6) as u32).collect();

        let mut slow = symbols.clone();
        while let Some((_, at, id)) =
            slow.windows(2).enumerate().filter_map(|(at, pair)| look(pair[0], pair[1]).map(|(p, id)| (p, at, id))).min()
        {
            slow.splice(at..at + 2, [id]);
        }
        let mut merger = Merger::default();
        symbols.iter().for_each(|&id| merger.push(id, 1));
        merger.run(|left, right| look(left.id, right.id));
        assert_eq!(merger.symbols().map(|symbol| symbol.id).collect::<Vec<_>>(), slow);
        assert_eq!(merger.symbols().map(|symbol| symbol.len as usize).sum::<usize>(), symbols.len());
    }
}

#[test]
fn whole_pieces_count_only_for_llama3() {
    let more = [("abc", NORMAL), ("<s>", CONTROL), ("xyz", CONTROL)];
    for (pre, expected) in [("llama-bpe", &["abc"] as &[&str]), ("qwen2", &["a", "b", "c"])] {
        let mut made = Made::bpe(pre, &[], &more);
        made.ids.push(("bos_token_id", 257));
        made.with(|tokenizer| {
            assert_eq!(pieces(tokenizer, "abc", Special::Text), expected);
            assert_eq!(pieces(tokenizer, "xyz", Special::Text), ["x", "y", "z"], "control tokens are no words");
            assert_eq!(tokenizer.adds_bos(), pre == "llama-bpe");
        });
    }
}

#[test]
fn bytes_that_no_token_spells() {
    let mut made = Made::bpe("gpt-2", &[], &[]);
    made.tokens.retain(|token| token.0 != "b");
    made.with(|tokenizer| assert_eq!(pieces(tokenizer, "abc", Special::Text), ["a", "c"]));
    let tokens = [("▁", NORMAL, -1.0), ("a", NORMAL, -1.0)];
    Made::spm(false, &tokens).with(|tokenizer| assert_eq!(pieces(tokenizer, "ab", Special::Text), ["▁", "a", "<unk>"]));
}

#[test]
fn byte_spelling_is_a_bijection() {
    let mut seen = std::collections::HashSet::new();
    for byte in 0..=255 {
        let c = char_of_byte(byte);
        assert!(seen.insert(c) && !c.is_control() && !c.is_whitespace());
        assert_eq!(byte_of_char(c), Some(byte));
    }
    assert_eq!((char_of_byte(b' '), char_of_byte(b'\n'), char_of_byte(0xAD)), ('Ġ', 'Ċ', 'Ń'));
    assert_eq!([' ', '\u{7F}', '\u{AD}', '\u{144}', '€'].map(byte_of_char), [None; 5]);
}

const WORDS: &[(&str, i32, f32)] = &[
    ("▁", NORMAL, -9.0),
    ("a", NORMAL, -9.0),
    ("b", NORMAL, -9.0),
    ("c", NORMAL, -9.0),
    ("<", NORMAL, -9.0),
    ("s", NORMAL, -9.0),
    (">", NORMAL, -9.0),
    ("ab", NORMAL, -2.0),
    ("bc", NORMAL, -1.0),
    ("▁a", NORMAL, -3.0),
    ("▁ab", NORMAL, -4.0),
    ("<s", NORMAL, -1.0),
    ("▁▁", NORMAL, -1.0),
    ("user", USER, 0.0),
];

#[test]
fn scores_decide_and_then_the_left() {
    Made::spm(true, WORDS).with(|tokenizer| {
        let split = |text| pieces(tokenizer, text, Special::Text);
        assert_eq!(split("ab"), ["▁ab"]);
        assert_eq!(split("abc"), ["▁a", "bc"]);
        assert_eq!(split("ab ab"), ["▁ab", "▁ab"]);
        assert_eq!(split("  a"), ["▁▁", "▁a"]);
        assert_eq!(split("a   "), ["▁a", "▁▁", "▁"]);
        assert_eq!(split("aé"), ["▁a", "<0xC3>", "<0xA9>"]);
        assert_eq!(split("a\n"), ["▁a", "<0x0A>"]);
        assert_eq!(split(""), [""; 0]);
    });
}

#[test]
fn word_by_word_or_whole_is_the_same() {
    // A token with a space inside forbids the cut at spaces; here it never wins, so all results stay.
    let mut whole = Made::spm(true, WORDS);
    whole.tokens.push(("zz▁zz".to_owned(), NORMAL, -20.0));
    let mut state = 7;
    Made::spm(true, WORDS).with(|a| {
        whole.with(|b| {
            for _ in 0..500 {
                let text: String = (0..random(&mut state, 30))
                    .map(|_| ["a", "b", "c", " ", "  ", "é", "▁"][random(&mut state, 7)])
                    .collect();
                assert_eq!(a.encode(&text, Special::Text), b.encode(&text, Special::Text), "{text:?}");
            }
        });
    });
}

#[test]
fn control_tokens_only_on_demand() {
    Made::spm(true, WORDS).with(|tokenizer| {
        assert_eq!(pieces(tokenizer, "a<s>", Special::Text), ["▁a", "<s", ">"]);
        assert_eq!(pieces(tokenizer, "a<s>b", Special::Parse), ["▁a", "<s>", "▁", "b"]);
        assert_eq!(pieces(tokenizer, "<0x0A>", Special::Parse)[..2], ["▁", "<"], "a byte token is not spelled");
        for special in [Special::Text, Special::Parse] {
            assert_eq!(pieces(tokenizer, "auserb", special), ["▁a", "user", "▁", "b"]);
        }
    });
    let more = [("<|x|>", CONTROL), ("<|x|>y", CONTROL), ("<|", USER), ("<|x", USER)];
    Made::bpe("gpt-2", &[], &more).with(|tokenizer| {
        assert_eq!(pieces(tokenizer, "<|x|>y<|x|>z", Special::Parse), ["<|x|>y", "<|x|>", "z"]);
        assert_eq!(pieces(tokenizer, "<|x|>y", Special::Text), ["<|x", "|", ">", "y"]);
        assert_eq!(pieces(tokenizer, "<<|<|x<", Special::Parse), ["<", "<|", "<|x", "<"]);
    });
}

#[test]
fn special_tokens_of_phi_3_swallow_spaces() {
    let mut made = Made::spm(true, WORDS);
    made.tokens.push(("<|user|>".to_owned(), CONTROL, 0.0));
    for (token, expected) in
        [("<|placeholder1|>", ["<|user|>", "▁a"].as_slice()), ("<|placeholder|>", &["<|user|>", "▁▁", "▁a"])]
    {
        made.tokens.push((token.to_owned(), CONTROL, 0.0));
        made.with(|tokenizer| assert_eq!(pieces(tokenizer, "<|user|>  a", Special::Parse), expected));
        made.tokens.pop();
    }
    made.tokens.push(("<|placeholder1|>".to_owned(), CONTROL, 0.0));
    made.with(|tokenizer| assert_eq!(pieces(tokenizer, "<s> a", Special::Parse), ["<s>", "▁▁", "a"]));
}

#[test]
fn bos_and_eos_as_the_file_says() {
    let prompt = |made: &Made, text: &str| made.with(|tokenizer| tokenizer.encode_prompt(text, Special::Parse));
    let mut made = Made::bpe("gpt-2", &[], &[("<s>", CONTROL), ("<e>", CONTROL)]);
    let a = u32::from(b'a');
    made.ids.extend([("bos_token_id", 256), ("eos_token_id", 257)]);
    assert_eq!(prompt(&made, "a"), [a]);
    made.flags.push(("add_bos_token", true));
    assert_eq!(prompt(&made, "a"), [256, a]);
    assert_eq!(prompt(&made, "<s>a"), [256, a], "not doubled");
    assert_eq!(prompt(&made, ""), [256]);
    made.flags.push(("add_eos_token", true));
    assert_eq!(prompt(&made, "a"), [256, a, 257]);
    assert_eq!(prompt(&made, "a<e>"), [256, a, 257], "not doubled");
    // SentencePiece: by default ids 1 and 2, BOS but no EOS, and a space before the first word.
    let mut made = Made::spm(true, WORDS);
    made.with(|tokenizer| {
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.unknown()), (Some(1), Some(2), Some(0)));
        assert_eq!(tokenizer.encode_prompt("a", Special::Text), [1, tokenizer.id_of("▁a").unwrap()]);
    });
    made.flags.push(("add_space_prefix", false));
    made.with(|tokenizer| {
        assert_eq!(tokenizer.encode_prompt("a", Special::Text), [1, tokenizer.id_of("a").unwrap()]);
        assert_eq!(tokenizer.decode(&tokenizer.encode(" a", Special::Text), false), " a");
    });
}

#[test]
fn ends_by_id_and_by_name() {
    let more = [("<|endoftext|>", NORMAL), ("<|im_end|>", CONTROL), ("stop", CONTROL), ("<|im_start|>", CONTROL)];
    let mut made = Made::bpe("smollm", &[], &more);
    made.ids.push(("eos_token_id", 258));
    made.with(|tokenizer| {
        assert_eq!(tokenizer.ends(), [256, 257, 258]);
        assert!(tokenizer.is_end(256) && !tokenizer.is_end(259) && !tokenizer.is_end(NONE));
        assert_eq!((tokenizer.eos(), tokenizer.eot(), tokenizer.bos()), (Some(258), Some(257), None));
        assert!(tokenizer.is_control(256), "its name says that it is no text");
    });
    let more = [("<|end|>", CONTROL), ("<|return|>", CONTROL), ("<|call|>", CONTROL)];
    Made::bpe("gpt-2", &[], &more).with(|tokenizer| assert_eq!(tokenizer.ends(), [257, 258]));
}

#[test]
fn streaming_never_splits_a_character() {
    let text = "aé€😀 z";
    Made::bpe("gpt-2", &[], &[("<|x|>", CONTROL)]).with(|tokenizer| {
        let mut decoder = tokenizer.decoder(false);
        let got: Vec<String> =
            tokenizer.encode(text, Special::Text).iter().map(|&id| decoder.push(id).to_owned()).collect();
        assert_eq!(got, ["a", "", "é", "", "", "€", "", "", "", "😀", " ", "z"]);
        assert_eq!(decoder.finish(), "");

        // Broken bytes come out as the whole would: E2 82 alone, then E2 82 41, then FF, then F0 9F at the end.
        let bytes = [0xE2, 0x82, 0xE2, 0x82, 0x41, 0xFF, 0x42, 0xF0, 0x9F];
        let ids = bytes.map(u32::from);
        assert_eq!(tokenizer.decode(&ids, false), String::from_utf8_lossy(&bytes));
        let got: Vec<String> = ids.iter().map(|&id| decoder.push(id).to_owned()).collect();
        assert_eq!(got, ["", "", "\u{FFFD}", "", "\u{FFFD}A", "\u{FFFD}", "B", "", ""]);
        assert_eq!(decoder.finish(), "\u{FFFD}");
        assert_eq!(decoder.finish(), "", "and begins anew");

        assert_eq!(tokenizer.decode(&[97, 256, 98, 999, NONE], false), "ab");
        assert_eq!(tokenizer.decode(&[97, 256, 98], true), "a<|x|>b");
        assert_eq!(tokenizer.token_bytes(0xE2), [0xE2]);
        assert_eq!((tokenizer.token_text(0x20), tokenizer.token_text(999)), (Some("Ġ"), None));
    });
    Made::spm(true, WORDS).with(|tokenizer| {
        let mut decoder = tokenizer.decoder(false);
        let got: String = tokenizer.encode(text, Special::Text).iter().map(|&id| decoder.push(id).to_owned()).collect();
        assert_eq!(got, text);
    });
}

#[test]
fn decoding_is_lossy_as_a_whole() {
    let mut state = 3;
    Made::bpe("gpt-2", &[], &[]).with(|tokenizer| {
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random(&mut state, 12))
                .map(|_| [0x41, 0x80, 0xBF, 0xC3, 0xE0, 0xE2, 0xED, 0xF0, 0xF4, 0xFF][random(&mut state, 10)])
                .collect();
            let ids: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
            assert_eq!(tokenizer.decode(&ids, false), String::from_utf8_lossy(&bytes), "{bytes:x?}");
        }
    });
}

#[test]
fn the_space_that_encoding_adds_is_taken_away() {
    Made::spm(true, WORDS).with(|tokenizer| {
        let id = |text| tokenizer.id_of(text).unwrap();
        let (bos, a, ab, user) = (1, id("▁a"), id("▁ab"), id("user"));
        assert_eq!(tokenizer.decode(&[a, ab], false), "a ab");
        assert_eq!(tokenizer.decode(&[bos, a, ab], false), "a ab");
        assert_eq!(tokenizer.decode(&[bos, a, ab], true), "<s>a ab");
        assert_eq!(tokenizer.decode(&[a, user, a], false), "ausera");
        assert_eq!(tokenizer.decode(&[id("▁▁"), a], false), "  a");
        // After a prompt that ends in text the space belongs to the text, after a special token it does not.
        assert_eq!(tokenizer.decoder_after(&[bos, a], false).push(ab), " ab");
        assert_eq!(tokenizer.decoder_after(&[a, bos], false).push(ab), "ab");
        assert_eq!(tokenizer.decoder_after(&[], false).push(ab), "ab");
        for text in ["", " ", "a", " a", "  a  ", "ab c\n", "é", "user", " user a"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, Special::Text), false), text, "{text:?}");
        }
        let text = "<s>a </s> ab<unk>";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, Special::Parse), true), text);
    });
}

#[test]
fn long_runs_end() {
    let merges: Vec<String> = (0..8).map(|level| format!("{0} {0}", "a".repeat(1 << level))).collect();
    let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
    Made::bpe("gpt-2", &merges, &[("<|x|>", CONTROL)]).with(|tokenizer| {
        let ids = tokenizer.encode(&"a".repeat(1 << 20), Special::Text);
        assert_eq!(ids, vec![tokenizer.id_of(&"a".repeat(256)).unwrap(); 1 << 12]);
        for text in [" ", "\n", "<", "<|x|", "'", "9", "é", "字", "\u{3000}"] {
            let text = text.repeat(1 << 16);
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Special::Parse), true), text);
        }
    });
    Made::spm(true, WORDS).with(|tokenizer| {
        for text in ["a", " ", "ab", "é"] {
            let text = text.repeat(1 << 18);
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Special::Text), false), text);
        }
    });
}

#[test]
fn categories_are_those_of_unicode_15_1() {
    let mut count = [0; 7];
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for c in '\0'..=char::MAX {
        let category = category(c) as usize;
        count[category] += 1;
        hash = (hash ^ category as u64).wrapping_mul(0x100_0000_01b3);
        assert_eq!(category == 6, c.is_whitespace(), "{c:?}");
    }
    assert_eq!(count, [962_415, 136_726, 1_831, 842, 7_775, 2_450, 25]);
    // FNV-1a over the categories of all characters, by another program.
    assert_eq!(hash, 0x29f7_deef_5df4_e2ab);
}

/// Texts on which the rules differ.
const TRICKY: [&str; 12] = [
    "I've WE'VE it'Ll don't 'tis",
    "a12345b 3,14",
    "  two\n\n  lines\n ",
    "x   y",
    "我想在apple工作1314151天～",
    "😁 ?!...",
    "กาន់តែ e\u{301}",
    "y'all '",
    "tab\t\tx \r\n\r\n",
    " \u{3000}、「a」",
    "= {\n\t$x++;}\n",
    "½ⅷ٣４5",
];

/// What each set of rules makes of [`TRICKY`], the pieces separated by `¦`. By llama.cpp.
const SPLITS: [(&str, [&str; 12]); 6] = [
    (
        "gpt-2",
        [
            "I¦'ve¦ WE¦'¦VE¦ it¦'¦Ll¦ don¦'t¦ '¦tis",
            "a¦12345¦b¦ 3¦,¦14",
            " ¦ two¦\n\n ¦ lines¦\n ",
            "x¦  ¦ y",
            "我想在apple工作¦1314151¦天¦～",
            "😁¦ ?!...",
            "กาន¦់¦ត¦ែ¦ e¦\u{301}",
            "y¦'¦all¦ '",
            "tab¦\t¦\t¦x¦ \r\n\r\n",
            " ¦\u{3000}¦、「¦a¦」",
            "=¦ {¦\n¦\t¦$¦x¦++;}¦\n",
            "½ⅷ٣４5",
        ],
    ),
    (
        "smollm",
        [
            "I¦'ve¦ WE¦'¦VE¦ it¦'¦Ll¦ don¦'t¦ '¦tis",
            "a¦1¦2¦3¦4¦5¦b¦ ¦3¦,¦1¦4",
            " ¦ two¦\n\n ¦ lines¦\n ",
            "x¦  ¦ y",
            "我想在apple工作¦1¦3¦1¦4¦1¦5¦1¦天¦～",
            "😁¦ ?!...",
            "กาន¦់¦ត¦ែ¦ e¦\u{301}",
            "y¦'¦all¦ '",
            "tab¦\t¦\t¦x¦ \r\n\r\n",
            " ¦\u{3000}¦、「¦a¦」",
            "=¦ {¦\n¦\t¦$¦x¦++;}¦\n",
            "½¦ⅷ¦٣¦４¦5",
        ],
    ),
    (
        "llama-bpe",
        [
            "I¦'ve¦ WE¦'VE¦ it¦'Ll¦ don¦'t¦ '¦tis",
            "a¦123¦45¦b¦ ¦3¦,¦14",
            " ¦ two¦\n\n¦ ¦ lines¦\n¦ ",
            "x¦  ¦ y",
            "我想在apple工作¦131¦415¦1¦天¦～",
            "😁¦ ?!...",
            "กาន¦់ត¦ែ¦ e¦\u{301}",
            "y¦'all¦ '",
            "tab¦\t¦\tx¦ \r\n\r\n",
            " ¦\u{3000}¦、「¦a¦」",
            "=¦ {\n¦\t¦$x¦++;}\n",
            "½ⅷ٣¦４5",
        ],
    ),
    (
        "qwen2",
        [
            "I¦'ve¦ WE¦'VE¦ it¦'Ll¦ don¦'t¦ '¦tis",
            "a¦1¦2¦3¦4¦5¦b¦ ¦3¦,¦1¦4",
            " ¦ two¦\n\n¦ ¦ lines¦\n¦ ",
            "x¦  ¦ y",
            "我想在apple工作¦1¦3¦1¦4¦1¦5¦1¦天¦～",
            "😁¦ ?!...",
            "กาន¦់ត¦ែ¦ e¦\u{301}",
            "y¦'all¦ '",
            "tab¦\t¦\tx¦ \r\n\r\n",
            " ¦\u{3000}¦、「¦a¦」",
            "=¦ {\n¦\t¦$x¦++;}\n",
            "½¦ⅷ¦٣¦４¦5",
        ],
    ),
    (
        "deepseek-llm",
        [
            "I¦'¦ve¦ WE¦'¦VE¦ it¦'¦Ll¦ don¦'¦t¦ '¦tis",
            "a¦12345¦b¦ ¦3¦,¦14",
            " ¦ two¦\n¦\n¦ ¦ lines¦\n¦ ",
            "x¦  ¦ y",
            "我想在¦apple¦工作¦1314151¦天¦～",
            "😁¦ ?!...",
            "กาន់តែ¦ e¦\u{301}",
            "y¦'¦all¦ '",
            "tab¦\t¦\tx¦ ¦\r¦\n¦\r¦\n",
            " ¦\u{3000}¦、¦「¦a¦」",
            "=¦ {¦\n¦\t$¦x¦++;}¦\n",
            "½¦ⅷ¦٣４5",
        ],
    ),
    (
        "default",
        [
            "I¦'¦ve¦ WE¦'¦VE¦ it¦'¦Ll¦ don¦'¦t¦ ¦'¦tis",
            "a¦123¦45¦b¦ ¦3¦,¦14",
            " ¦ two¦\n\n ¦ lines¦\n ",
            "x¦  ¦ y",
            "我想在apple工作¦131¦415¦1¦天¦～",
            "😁¦ ¦?!...",
            "กาន¦់¦ត¦ែ¦ e¦\u{301}",
            "y¦'¦all¦ ¦'",
            "tab¦\t¦\t¦x¦ \r\n\r\n",
            " \u{3000}¦、「¦a¦」",
            "=¦ ¦{¦\n\t¦$¦x¦++;}¦\n",
            "½ⅷ٣４5",
        ],
    ),
];

fn split(pre: &str, text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    Splitter::new(pre::named(pre).unwrap().cuts).unwrap().split(text, &mut |piece| pieces.push(piece.to_owned()));
    pieces
}

#[test]
fn pre_tokenizers_split_tricky_texts() {
    for (pre, splits) in SPLITS {
        for (text, expected) in TRICKY.into_iter().zip(splits) {
            assert_eq!(split(pre, text), expected.split('¦').collect::<Vec<_>>(), "{pre}");
        }
    }
}

#[test]
fn pre_tokenizers_keep_every_byte() {
    let alphabet =
        ["a", "Z", "'s", "'", " ", "\n", "\r", "\t", "7", "٣", "é", "字", "\u{3000}", "😁", "\u{301}", "~", "。", "\0"];
    let mut state = 11;
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-llm", "default", "falcon"] {
        for _ in 0..500 {
            let text: String =
                (0..random(&mut state, 24)).map(|_| alphabet[random(&mut state, alphabet.len())]).collect();
            let pieces = split(pre, &text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty()), "{pre}: {text:?}");
        }
    }
}

#[test]
fn other_names_of_the_same_rules() {
    for (name, same) in
        [("llama3", "llama-bpe"), ("starcoder", "smollm"), ("phi-2", "gpt-2"), ("deepseek-r1-qwen", "qwen2")]
    {
        for text in TRICKY {
            assert_eq!(split(name, text), split(same, text), "{name}");
        }
    }
    assert!(pre::named("no-such").is_none() && pre::named("").is_none());
}
