//! Which file of a repository a format means.

use super::error::HubError;
use super::name::is_safe_path;

/// A file of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// In lower-case hexadecimal, if it is stated.
    pub(crate) sha256: Option<String>,
}

/// A model in a repository: a file, or all parts of a split one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) items: Vec<Item>,
    /// The format, by the name (`Q4_K_M`, `UD-Q4_K_XL`), in capitals.
    pub(crate) quant: Option<String>,
}

impl Candidate {
    pub(crate) fn size(&self) -> u64 {
        self.items.iter().map(|item| item.size).fold(0, u64::saturating_add)
    }

    pub(crate) fn path(&self) -> &str {
        self.items.first().map_or("", |item| &item.path)
    }
}

/// The models among the files of a repository, and the projectors (`mmproj*.gguf`), which belong to models that see or hear.
///
/// # Errors
/// [`HubError::NoModel`] for a split model of which a part is missing, and names that lead out of a folder.
pub(crate) fn candidates(repository: &str, items: &[Item]) -> Result<(Vec<Candidate>, Vec<String>), HubError> {
    let (mut found, mut projectors): (Vec<Candidate>, Vec<String>) = (Vec::new(), Vec::new());
    for item in items {
        let Some(stem) = strip_end(&item.path, ".gguf") else { continue };
        if !is_safe_path(&item.path) {
            let reason = format!(
                "a file there is called {:?}, which leads out of its folder; use another repository",
                item.path
            );
            return Err(HubError::NoModel { repository: repository.into(), reason });
        }
        let name = stem.rsplit('/').next().unwrap_or(stem);
        if name.to_ascii_lowercase().contains("mmproj") {
            projectors.push(item.path.clone());
            continue;
        }
        let Some((whole, part, count)) = part_of(stem) else {
            found.push(Candidate { items: vec![item.clone()], quant: quant_of(stem) });
            continue;
        };
        if part != 1 {
            continue;
        }
        let named = |part: u32| format!("{whole}-{part:05}-of-{count:05}.gguf");
        let parts: Option<Vec<Item>> =
            (1..=count).map(|part| items.iter().find(|item| item.path == named(part)).cloned()).collect();
        let Some(parts) = parts else {
            let reason = format!("of the {count} parts of {whole} not all are there; use another file");
            return Err(HubError::NoModel { repository: repository.into(), reason });
        };
        found.push(Candidate { items: parts, quant: quant_of(whole) });
    }
    Ok((found, projectors))
}

fn strip_end<'t>(text: &'t str, end: &str) -> Option<&'t str> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
    tail.eq_ignore_ascii_case(end).then_some(head)
}

/// The name, number and count of a part of a split model.
pub(crate) fn part_of(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (whole, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| -> Option<u32> { digits.parse().ok().filter(|_| digits.len() == 5) };
    let (part, count) = (number(part)?, number(count)?);
    // The most parts that are looked for.
    (1..=count.min(1000)).contains(&part).then_some((whole, part, count))
}

/// The format that a name of a file ends in, in capitals.
pub(crate) fn quant_of(stem: &str) -> Option<String> {
    let name = stem.rsplit('/').next().unwrap_or(stem).to_ascii_uppercase();
    // A format is the last word, or what comes before `-imat` and the like.
    let words: Vec<(usize, &str)> = words(&name).collect();
    let (at, word) = words.iter().rev().find(|(_, word)| is_quant(word))?;
    let dynamic = name.get(..*at).is_some_and(|head| head.ends_with("UD-"));
    Some(if dynamic { format!("UD-{word}") } else { (*word).to_owned() })
}

/// The words of a name, between dashes and dots, with where each begins.
fn words(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    name.split(['-', '.']).map(move |word| {
        let start = at;
        at += word.len() + 1;
        (start, word)
    })
}

/// Whether a word in capitals names a format: `Q4_K_M`, `IQ4_NL`, `TQ1_0`, `F16`, `BF16`, `MXFP4_MOE`.
fn is_quant(word: &str) -> bool {
    if ["F16", "F32", "BF16", "FP16", "FP32"].contains(&word) || word.starts_with("MXFP4") {
        return true;
    }
    let Some(rest) = ["IQ", "TQ", "Q"].iter().find_map(|head| word.strip_prefix(head)) else { return false };
    let (bits, rest) = rest.split_at_checked(1).unwrap_or_default();
    bits.bytes().all(|b| b.is_ascii_digit()) && bits.len() == 1 && (rest.is_empty() || rest.starts_with('_'))
}

/// The candidate that a format means, in any case: the one of just this format, or else the dynamic one (`UD-`), or else one whose format
/// begins so.
///
/// # Errors
/// [`HubError::Quant`] for none and for several.
pub(crate) fn of_quant(repository: &str, all: &[Candidate], quant: &str) -> Result<Candidate, HubError> {
    let wanted = quant.to_ascii_uppercase();
    let longer = format!("{wanted}_");
    type Rule<'r> = &'r dyn Fn(&str) -> bool;
    let rules: [Rule; 4] = [
        &|found| found == wanted,
        &|found| found.strip_prefix("UD-") == Some(&wanted),
        &|found| found.starts_with(&longer),
        &|found| found.strip_prefix("UD-").is_some_and(|found| found.starts_with(&longer)),
    ];
    for rule in rules {
        let matching: Vec<&Candidate> =
            all.iter().filter(|candidate| candidate.quant.as_deref().is_some_and(rule)).collect();
        match matching[..] {
            [] => {}
            [one] => return Ok(one.clone()),
            _ => {
                let matching = matching.iter().map(|candidate| candidate.path().to_owned()).collect();
                return Err(HubError::Quant {
                    repository: repository.into(),
                    quant: quant.into(),
                    matching,
                    there: Vec::new(),
                });
            }
        }
    }
    let mut there: Vec<String> =
        all.iter().map(|candidate| candidate.quant.clone().unwrap_or_else(|| candidate.path().to_owned())).collect();
    there.sort_unstable();
    there.dedup();
    Err(HubError::Quant { repository: repository.into(), quant: quant.into(), matching: Vec::new(), there })
}

/// The candidate without a format: Q4_K_M, else the largest that fits into `memory` bytes, else the smallest.
///
/// # Errors
/// [`HubError::Quant`] when there are several in Q4_K_M.
pub(crate) fn usual(repository: &str, all: &[Candidate], memory: Option<u64>) -> Result<Option<Candidate>, HubError> {
    const USUAL: &str = "Q4_K_M";
    match of_quant(repository, all, USUAL) {
        Err(HubError::Quant { matching, .. }) if matching.is_empty() => {}
        other => return other.map(Some),
    }
    let fits = |candidate: &&Candidate| memory.is_some_and(|memory| candidate.size() <= memory);
    let largest = all.iter().filter(fits).max_by_key(|candidate| candidate.size());
    Ok(largest.or_else(|| all.iter().min_by_key(|candidate| candidate.size())).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(paths: &[&str]) -> Vec<Item> {
        let item = |(size, path): (usize, &&str)| Item { path: (*path).into(), size: 1000 + size as u64, sha256: None };
        paths.iter().enumerate().map(item).collect()
    }

    #[test]
    fn formats_in_names() {
        for (name, quant) in [
            ("Qwen3-0.6B-Q4_K_M", Some("Q4_K_M")),
            ("qwen2.5-0.5b-instruct-q4_0", Some("Q4_0")),
            ("gemma-3-1b-it-UD-Q4_K_XL", Some("UD-Q4_K_XL")),
            ("x.IQ4_NL", Some("IQ4_NL")),
            ("BF16/model-BF16", Some("BF16")),
            ("model-f16", Some("F16")),
            ("m-Q8_0-imat", Some("Q8_0")),
            ("gpt-oss-20b-MXFP4", Some("MXFP4")),
            ("m.TQ1_0", Some("TQ1_0")),
            ("Qwen3-0.6B", None),
            ("QwQ-32B", None),
            ("model", None),
        ] {
            assert_eq!(quant_of(name).as_deref(), quant, "{name}");
        }
    }

    #[test]
    fn formats_as_people_write_them() {
        let all = items(&[
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "m-UD-Q4_K_XL.gguf",
            "m-Q8_0.gguf",
            "a/m-F16.gguf",
            "b/m-F16.gguf",
        ]);
        let (all, projectors) = candidates("u/r", &all).unwrap();
        assert!(projectors.is_empty());
        for (quant, path) in [
            ("q4_k_m", "m-Q4_K_M.gguf"),
            ("UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
            ("q4_k_xl", "m-UD-Q4_K_XL.gguf"),
            ("Q8", "m-Q8_0.gguf"),
        ] {
            assert_eq!(of_quant("u/r", &all, quant).unwrap().path(), path);
        }
        let message = |quant| of_quant("u/r", &all, quant).unwrap_err().to_string();
        assert!(message("F16").contains("a/m-F16.gguf, b/m-F16.gguf"));
        assert!(message("Q4_K").contains("m-Q4_K_M.gguf, m-Q4_K_S.gguf"));
        assert!(message("Q2_K").contains("there is F16, Q4_K_M, Q4_K_S, Q8_0, UD-Q4_K_XL"));
    }

    #[test]
    fn the_usual_format() {
        let path = |paths: &[&str], memory| {
            let (all, _) = candidates("u/r", &items(paths)).unwrap();
            usual("u/r", &all, memory).unwrap().map(|one| one.path().to_owned())
        };
        assert_eq!(path(&["m-Q8_0.gguf", "m-Q4_K_M.gguf"], None).as_deref(), Some("m-Q4_K_M.gguf"));
        // Sizes are 1000, 1001, 1002.
        let three = ["m-Q4_0.gguf", "m-Q8_0.gguf", "m-F16.gguf"];
        assert_eq!(path(&three, Some(1001)).as_deref(), Some("m-Q8_0.gguf"));
        assert_eq!(path(&three, Some(10)).as_deref(), Some("m-Q4_0.gguf"));
        assert_eq!(path(&three, None).as_deref(), Some("m-Q4_0.gguf"));
        assert_eq!(path(&[], None), None);
    }

    #[test]
    fn split_models_and_projectors() {
        let files =
            ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf", "mmproj-F16.gguf", "README.md"];
        let (all, projectors) = candidates("u/r", &items(&files)).unwrap();
        assert_eq!((all.len(), all[0].items.len(), all[0].quant.as_deref()), (1, 2, Some("Q8_0")));
        assert_eq!(projectors, ["mmproj-F16.gguf"]);
        let missing = candidates("u/r", &items(&["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"])).unwrap_err();
        assert!(missing.to_string().contains("not all are there"));
        for path in ["../m.gguf", "/m.gguf", "a/../../m.gguf", "a\\m.gguf", "a\nm.gguf"] {
            let error = candidates("u/r", &items(&[path])).unwrap_err().to_string();
            assert!(error.contains("leads out") && !error.contains('\n'), "{error}");
        }
    }
}
