//! Which tensor gets which block format. The rules are those of llama.cpp's `llama-quantize` without an importance matrix, so that a
//! file of ours has the types that its name makes people expect.
//!
//! The exception are mixtures of four bits for the architecture `bert` ([`Facts::bert`]). Those rules spend their bits on the token embedding, since
//! decoders without an `output.weight` multiply by it; an encoder only looks rows up, and four bits do. What suffers in small encoders
//! is the sum of many products: all-MiniLM-L6-v2 in Q4_0 by llama.cpp's rules is 20.0 MB and has cosines of 0.871 at least with the embeddings of the
//! original, by these 14.5 MB and 0.978.

use smidgen_quant::Format;

macro_rules! mixtures {
    ($($name:ident = $id:literal, $base:ident;)*) => {
        /// The target of quantizing a file: one format, or for the K-quants a mixture of formats. Names are those of llama.cpp's files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, missing_docs, reason = "the names by which the whole field knows them")]
        pub enum Mixture { $($name),* }

        impl Mixture {
            /// Every mixture.
            pub const ALL: &[Mixture] = &[$(Mixture::$name),*];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Mixture::$name => stringify!($name)),* }
            }

            /// The value of `general.file_type`.
            pub const fn file_type(self) -> u32 {
                match self { $(Mixture::$name => $id),* }
            }

            /// The format of most tensors.
            pub const fn base(self) -> Format {
                match self { $(Mixture::$name => Format::$base),* }
            }
        }
    };
}

mixtures! {
    F32 = 0, F32;
    F16 = 1, F16;
    BF16 = 32, BF16;
    Q8_0 = 7, Q8_0;
    Q4_0 = 2, Q4_0;
    Q4_1 = 3, Q4_1;
    Q5_0 = 8, Q5_0;
    Q5_1 = 9, Q5_1;
    IQ4_NL = 25, IQ4_NL;
    Q2_K = 10, Q2_K;
    Q2_K_S = 21, Q2_K;
    Q3_K_S = 11, Q3_K;
    Q3_K_M = 12, Q3_K;
    Q3_K_L = 13, Q3_K;
    Q4_K_S = 14, Q4_K;
    Q4_K_M = 15, Q4_K;
    Q5_K_S = 16, Q5_K;
    Q5_K_M = 17, Q5_K;
    Q6_K = 18, Q6_K;
}

/// Facts about a model that the rules use beside a tensor's name and shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Whether there is no `output.weight`, so that the token embedding is the output too.
    pub tied: bool,
    /// Query heads for each key-value head.
    pub group: u32,
    /// Layers.
    pub layers: u32,
    /// Whether the architecture is `bert`.
    pub bert: bool,
}

/// Parts of the names of matrices that stay as they are: small ones, and ones that are looked up rather than multiplied.
const KEPT: &[&str] = &[
    "_norm.weight",
    "position_embd",
    "token_types.weight",
    ".patch_embd",
    "ffn_gate_inp.weight",
    "attn_rel_b.weight",
    "ssm_conv1d",
];

impl Mixture {
    /// The mixture of a name in any case; `Q3_K`, `Q4_K` and `Q5_K` mean the `_M` ones.
    pub fn named(name: &str) -> Option<Mixture> {
        let is = |mixture: &&Mixture| {
            let own = mixture.name();
            own.eq_ignore_ascii_case(name) || own.strip_suffix("_M").is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        Mixture::ALL.iter().find(is).copied()
    }

    /// The format for a tensor's weights (dims with the row length first); none for a tensor that no mixture changes, which stays
    /// F32 or as it was.
    pub fn format(self, name: &str, dims: &[u64], facts: &Facts) -> Option<Format> {
        let (&cols, rows) = dims.split_first()?;
        let matrix = rows.iter().any(|extent| *extent > 1);
        if !matrix || !name.ends_with("weight") || KEPT.iter().any(|part| name.contains(part)) {
            return None;
        }
        if self.base().block_len() == 1 {
            return Some(self.base());
        }
        Some(fit(self.wanted(name, cols, facts), cols))
    }

    /// The format by the rules, whether rows fit it or not.
    fn wanted(self, name: &str, cols: u64, facts: &Facts) -> Format {
        use Format::{IQ4_NL as IQ4, Q3_K, Q4_0, Q4_1, Q4_K, Q5_1, Q5_K, Q6_K, Q8_0};
        use Mixture::{IQ4_NL, Q2_K, Q2_K_S, Q3_K_L, Q3_K_M, Q4_K_M, Q4_K_S, Q5_K_M};
        let base = self.base();
        let has = |part: &str| name.contains(part);
        if facts.bert && matches!(base, Q4_0 | Q4_1 | IQ4 | Q4_K) {
            let (some, more) = if base == Q4_K { (Q5_K, Q6_K) } else { (Q5_1, Q8_0) };
            return match () {
                () if has("attn_v.weight") => more,
                () if has("attn_output.weight") || has("ffn_up") || has("ffn_down") => some,
                () => base,
            };
        }
        if name == "output.weight" || (facts.tied && name == "token_embd.weight") {
            let whole = cols.is_multiple_of(base.block_len() as u64);
            return if whole && base != Q8_0 { Q6_K } else { Q8_0 };
        }
        let layer = layer(name);
        let more_bits = more_bits(layer, facts.layers);
        if has("attn_v.weight") || has("attn_qkv.weight") || has("attn_kv_b.weight") {
            let shared = facts.group >= 4;
            let format = match self {
                Q2_K if shared => Q4_K,
                Q2_K => Q3_K,
                Q2_K_S if shared => Q4_K,
                Q3_K_M if layer < 2 => Q5_K,
                Q3_K_M => Q4_K,
                Q3_K_L => Q5_K,
                IQ4_NL if shared => Q5_K,
                Q4_K_M | Q5_K_M if more_bits => Q6_K,
                Q4_K_S if layer < 4 => Q5_K,
                _ => base,
            };
            // Large models of 80 layers whose heads share keys have small matrices of values, which are worth the bits.
            let large = facts.layers == 80 && facts.group > 1;
            return if large && matches!(format, Q3_K | Q4_K) { Q5_K } else { format };
        }
        if has("ffn_down") {
            let first = layer < facts.layers / 8;
            return match self {
                Q2_K => Q3_K,
                Q2_K_S if first => Q4_K,
                Q3_K_M if layer < facts.layers / 16 => Q5_K,
                Q3_K_M => Q4_K,
                Q3_K_L => Q5_K,
                Q4_K_M | Q5_K_M if more_bits => Q6_K,
                IQ4_NL | Q4_K_S if first => Q5_K,
                _ => base,
            };
        }
        if has("attn_output.weight") {
            return match self {
                Q2_K => Q3_K,
                Q3_K_M => Q4_K,
                Q3_K_L => Q5_K,
                _ => base,
            };
        }
        base
    }
}

/// The number after `blk.`; 0 without one.
fn layer(name: &str) -> u32 {
    let number = name.split_once("blk.").and_then(|(_, rest)| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The first and last eighth of the layers, and every third between.
fn more_bits(layer: u32, layers: u32) -> bool {
    let eighth = layers / 8;
    layer < eighth || u64::from(layer) >= 7 * u64::from(layers) / 8 || (layer - eighth) % 3 == 2
}

/// `format`, or where rows are not whole blocks of it one with shorter blocks.
fn fit(format: Format, cols: u64) -> Format {
    let fits = |format: Format| cols.is_multiple_of(format.block_len() as u64);
    if fits(format) {
        return format;
    }
    let shorter = match format {
        Format::Q2_K | Format::Q3_K => Format::Q4_0,
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        other => other,
    };
    if fits(shorter) { shorter } else { Format::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for mixture in Mixture::ALL {
            assert_eq!(Mixture::named(mixture.name()), Some(*mixture));
            assert_eq!(Mixture::named(&mixture.name().to_lowercase()), Some(*mixture));
        }
        assert_eq!(Mixture::named("Q4_K"), Some(Mixture::Q4_K_M));
        assert_eq!(Mixture::named("q2_k"), Some(Mixture::Q2_K));
        assert_eq!(Mixture::named("Q6_K_M"), None);
        assert_eq!(Mixture::named("Q9_0"), None);
    }

    #[test]
    fn rules() {
        let facts = Facts { tied: true, group: 3, layers: 30, bert: false };
        let q4_k_m = |name: &str, dims: &[u64]| Mixture::Q4_K_M.format(name, dims, &facts);
        assert_eq!(q4_k_m("token_embd.weight", &[512, 1000]), Some(Format::Q6_K));
        assert_eq!(q4_k_m("token_embd.weight", &[576, 1000]), Some(Format::Q8_0));
        assert_eq!(q4_k_m("blk.0.attn_q.weight", &[512, 512]), Some(Format::Q4_K));
        assert_eq!(q4_k_m("blk.0.attn_q.weight", &[576, 576]), Some(Format::Q5_0));
        assert_eq!(q4_k_m("blk.0.attn_q.weight", &[40, 576]), Some(Format::F16));
        let down: Vec<u32> =
            (0..30).filter(|i| q4_k_m(&format!("blk.{i}.ffn_down.weight"), &[256, 2]) == Some(Format::Q6_K)).collect();
        assert_eq!(down, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
        for (name, dims) in [
            ("blk.0.attn_norm.weight", &[512, 2][..]),
            ("blk.0.attn_q.bias", &[512]),
            ("blk.0.attn_q.weight", &[512]),
            ("position_embd.weight", &[512, 512]),
            ("token_types.weight", &[512, 2]),
            ("v.patch_embd.weight", &[32, 32, 3, 768]),
        ] {
            assert_eq!(q4_k_m(name, dims), None, "{name}");
            assert_eq!(Mixture::F16.format(name, dims, &facts), None, "{name}");
        }
        assert_eq!(Mixture::F16.format("blk.0.attn_q.weight", &[7, 3], &facts), Some(Format::F16));
    }

    #[test]
    fn encoders_of_text() {
        let facts = Facts { tied: true, group: 1, layers: 12, bert: true };
        use Format::{Q4_0, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
        for (name, formats) in [
            ("token_embd.weight", [Q4_0, Q5_0, Q4_K, Q8_0]),
            ("blk.3.attn_q.weight", [Q4_0, Q5_0, Q4_K, Q8_0]),
            ("blk.3.attn_v.weight", [Q8_0, Q8_0, Q6_K, Q8_0]),
            ("blk.3.attn_output.weight", [Q5_1, Q5_1, Q5_K, Q8_0]),
            ("blk.3.ffn_up.weight", [Q5_1, Q5_1, Q5_K, Q8_0]),
            ("blk.3.ffn_down.weight", [Q5_1, Q5_1, Q5_K, Q8_0]),
        ] {
            let of = |mixture: Mixture, cols| mixture.format(name, &[cols, 768], &facts);
            let found =
                [of(Mixture::Q4_0, 768), of(Mixture::Q4_K_M, 384), of(Mixture::Q4_K_S, 768), of(Mixture::Q8_0, 384)];
            assert_eq!(found, formats.map(Some), "{name}");
        }
    }
}
