"""Small tokenizers of every kind, by Hugging Face's `tokenizers`, and the ids that it gives for 400 random texts each.

Each line of the output is a JSON map: `name`, `files` (the tokenizer's, by name), `vocabulary` (how many tokens), `texts`, `ids` (with
special tokens found), `framed` (with the tokens before and after a text). Seeds are the names, with what SMIDGEN_SEED adds.
"""

import json
import os
import random
import sys

try:
    import sentencepiece
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as error:
    print(f"ABSENT: {error}; comparison with tokenizers", file=sys.stderr)
    sys.exit(0)

TEXTS = 400

WORDS = "the quick brown fox jumps over lazy dogs hello world don't we'll they've it's I'm you're he'd café naïve résumé".split()
POOLS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789٠١٢३४५０１２²³½Ⅷ①৪",
    "àáâãäåçèéêëìíîïñòóôõöùúûüýÿāăąćčđēęěğıłńőœřśşšťůűźżžÀÉÎÕÜŸŁŠŻßƀǅ",
    "\u0300\u0301\u0302\u0303\u0304\u0308\u030a\u030c\u0323\u0327\u0328\u0331\u0338\u0345\u20d0\u20e3\u093c\u0903\u0591\u05bc\u064b\u0650",
    "的一是了我不人在他有这中大来上国到说們為學龍㐀㐂𠀀𪜀豈更金兀﨎",
    "가나다라마바사아자차카타파하갂힣한국어ㄱㄴㅏㅑ\u1100\u1161\u11a8\u1112\u1175\u11c2",
    "あいうえおかがきぎアイウエオカガパピﾊﾟｶﾞー々〆",
    "αβγδεζηθάέήίόύώΑΒΓΣςσЖжЗзИйЁёЇїҐґЙ",
    "ابتثجحخدذرزسשלוםעבריתกขคงจฉชนมยรลวสหอฮहिन्दीতামিழ்",
    "🦙😀👍🏽👩‍👩‍👧🇩🇪🏳️‍🌈❤️✨☃",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»„“”‘’…—–·§¶†‡•。、「」【】！？，：",
    "€£¥$¢+<>=|~^¨°©®™→←∑√∞≠≤≥×÷",
    "ﬁﬂﬀ①⑩ⅣⅻＡＢｃｄ１２㎏㍿㈱ℌℵ™ª²№℃ｱﾊﾟ¼ǆΩÅ\u2126\u212b",
    "\x00\x01\x07\x08\x0b\x0e\x1b\x1f\x7f\x80\x85\x8f\x9f\xad\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\ue000\U000e0001",
]
SPACES = [" ", " ", " ", " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u1680", "\u2009", "\x0b\x0c"]
# Beside spaces and letters, on either side, in other cases, and one inside of another.
ADDED = ["<tok>", "<TOK>", "[MASK]", "[mask]", "</s>", "<s>", "<tok><tok>", "<to", "ok>", "new", "newer", "né", "NE\u0301", "foo bar", "▁", "中文", "##ing"]


def text(rng):
    made = []
    for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13])):
        kind = rng.random()
        if kind < 0.3:
            made.append(rng.choice(WORDS))
        elif kind < 0.6:
            pool = rng.choice(POOLS)
            made.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 6))))
        elif kind < 0.75:
            made.append("".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randint(1, 5))))
        elif kind < 0.9:
            made.append(rng.choice(ADDED))
        else:
            made.append(rng.choice([str(rng.randint(0, 99999999)), "'s", "'LL", "don'T", "a" * rng.randint(3, 30), "-" * rng.randint(2, 9)]))
        if rng.random() < 0.6:
            made.append(rng.choice(SPACES))
    if rng.random() < 0.2:
        made.insert(0, rng.choice(SPACES))
    return "".join(made)


def corpus(seed):
    rng = random.Random(seed)
    plain = [" ".join(rng.choice(WORDS) for _ in range(12)) for _ in range(200)]
    return plain + [text(rng) for _ in range(600)]


def special(content, **flags):
    return AddedToken(content, **{"normalized": False, "special": True} | flags)


def byte_level(**kw):
    tokenizer = Tokenizer(models.BPE(**kw))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus("bytes"), trainer)
    return tokenizer


def characters(pre=None, **kw):
    model = {"unk_token": "<unk>"} | kw
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre or pre_tokenizers.WhitespaceSplit()
    names = {"continuing_subword_prefix": "continuing_subword_prefix", "end_of_word_suffix": "end_of_word_suffix"}
    options = {names[key]: value for key, value in kw.items() if key in names}
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if kw.get("byte_fallback") else []
    trainer = trainers.BpeTrainer(
        vocab_size=900 + len(bytes_), special_tokens=["<unk>", "</s>", *bytes_], limit_alphabet=300, show_progress=False, **options
    )
    tokenizer.train_from_iterator(corpus("characters"), trainer)
    if bytes_:
        # Bytes are tokens of the model, and not found in texts.
        described = json.loads(tokenizer.to_str())
        described["added_tokens"] = [token for token in described["added_tokens"] if not token["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(described))
    return tokenizer


def wordpiece(normalizer=None, pre=None, without="", **kw):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **kw))
    tokenizer.normalizer = normalizer or normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre or pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    prefix = kw.get("continuing_subword_prefix", "##")
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=names, limit_alphabet=300, continuing_subword_prefix=prefix, show_progress=False)
    tokenizer.train_from_iterator([line.replace(without, "") for line in corpus("words")], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def unigram(byte_fallback=False, single=True):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus("unigram"), trainer)
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    model["byte_fallback"] = byte_fallback
    if byte_fallback:
        model["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    if single:
        model["vocab"] = [[token, round(score * 1024) / 1024] for token, score in model["vocab"]]
    return Tokenizer.from_str(json.dumps(described))


def changed(tokenizer, **parts):
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def added(tokenizer, *tokens):
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def closed(tokenizer):
    """The same tokenizer with all merges that make a token, in the order of the tokens, as conversions of SentencePiece's have them."""
    described = json.loads(tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    names = {token["content"] for token in described["added_tokens"]} | {f"<0x{byte:02X}>" for byte in range(256)}
    order = list(dict.fromkeys("".join(pair) for pair in described["model"]["merges"]))
    known = lambda token: token in vocabulary and token not in names
    cuts = lambda token: [[token[:at], token[at:]] for at in range(1, len(token))]
    described["model"]["merges"] = [cut for token in order for cut in cuts(token) if known(cut[0]) and known(cut[1])]
    return Tokenizer.from_str(json.dumps(described))


def table():
    """SentencePiece's own table of normalizations."""
    import io

    model = io.BytesIO()
    lines = iter(["a b c"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=8, hard_vocab_limit=False, minloglevel=2, normalization_rule_name="nmt_nfkc"
    )
    from sentencepiece import sentencepiece_model_pb2 as form

    parsed = form.ModelProto()
    parsed.ParseFromString(model.getvalue())
    return parsed.normalizer_spec.precompiled_charsmap


N, P = normalizers, pre_tokenizers
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
EXPRESSIONS = {
    "llama3": LLAMA3,
    "qwen2": QWEN2,
    "gpt-4o": GPT4O,
    "thousands": r"\d{1,3}(?=(?:\d{3})*\b)",
    "lookbehind": r"(?<=\p{L})\d+|(?<!\s)\p{P}",
    "lazy": r"a+?|[^a]*?\s",
    "possessive": r"\p{L}++|\s*+\S",
    "empty": r"(?=\d)|(?<=\.)",
    "nested": r"(?:[a-c](?:x|y)?)*z|\w+",
    "intersection": r"[\p{L}&&[^a-m]]+|[^\s\w]",
    "lines": r"^\s+|\s+$|\b",
    "any": r".{1,4}",
}

def cases():
    b, c, w, u = byte_level, characters, wordpiece, unigram
    forms = {
        "nfc": N.NFC(), "nfd": N.NFD(), "nfkc": N.NFKC(), "nfkd": N.NFKD(), "lowercase": N.Lowercase(), "strip-accents": N.StripAccents(),
        "nmt": N.Nmt(), "strip": N.Strip(), "strip-left": N.Strip(right=False), "strip-right": N.Strip(left=False), "prepend": N.Prepend("▁x"),
        "replace": N.Replace("o", "0"), "replace-longer": N.Replace(" ", "▁_"), "replace-regex": N.Replace(Regex(r"\s{2,}|\d(?=\d)"), " "),
        "replace-empty": N.Replace(Regex(r"(?=[aeiou])"), "·"), "byte-level": N.ByteLevel(),
        "sequence": N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase(), N.Strip()]), "precompiled": N.Precompiled(table()),
    }
    for name, form in forms.items():
        yield f"normalizer {name}", changed(b(), normalizer=form)
        yield f"normalizer {name}, first", added(changed(c(byte_fallback=True), normalizer=form, pre_tokenizer=P.Metaspace(prepend_scheme="first")), special("<tok>"), AddedToken("new"))
    for flags in range(16):
        clean, chinese, strip, lower = ((flags >> bit & 1) == 1 for bit in range(4))
        yield f"bert {flags:04b}", w(N.BertNormalizer(clean, chinese, strip, lower))
    yield "bert default", w(N.BertNormalizer())
    yield "bert, no token with a low line", w(without="▁")
    yield "bert cased, no token with a low line", w(N.BertNormalizer(lowercase=False), without="▁")
    yield "bert longest", w(max_input_chars_per_word=6)
    yield "bert prefix", w(continuing_subword_prefix="@@")
    for name, form in [("nfc", N.NFC()), ("lowercase", N.Lowercase()), ("sequence", N.Sequence([N.NFKC(), N.Lowercase()]))]:
        yield f"wordpiece {name}", w(form)
    for name, pre in [("whitespace", P.Whitespace()), ("split", P.WhitespaceSplit()), ("punctuation", P.Sequence([P.WhitespaceSplit(), P.Punctuation()]))]:
        yield f"wordpiece pre {name}", w(pre=pre)
    for prefix in (False, True):
        for regex in (False, True):
            yield f"byte-level {prefix} {regex}", changed(b(), pre_tokenizer=P.ByteLevel(add_prefix_space=prefix, use_regex=regex))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            for name, pattern in (("text", "o"), ("regex", Regex(r"\s+|\d"))):
                cut = P.Split(pattern, behavior, invert)
                yield f"split {name} {behavior} {invert}", changed(b(), pre_tokenizer=P.Sequence([cut, P.ByteLevel(False, use_regex=False)]))
        yield f"punctuation {behavior}", changed(c(), pre_tokenizer=P.Punctuation(behavior))
    for name, expression in EXPRESSIONS.items():
        cut = P.Split(Regex(expression), "isolated")
        yield f"expression {name}", changed(b(), pre_tokenizer=P.Sequence([cut, P.ByteLevel(False, use_regex=False)]))
    yield "llama3 whole", changed(b(ignore_merges=True), pre_tokenizer=P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(False, use_regex=False)]))
    yield "qwen2 nfc", changed(b(), normalizer=N.NFC(), pre_tokenizer=P.Sequence([P.Split(Regex(QWEN2), "isolated"), P.ByteLevel(False, use_regex=False)]))
    for name, pre in {
        "digits": P.Digits(), "digits alone": P.Digits(True), "whitespace": P.Whitespace(), "whitespace-split": P.WhitespaceSplit(),
        "delimiter": P.CharDelimiterSplit("o"), "bert": P.BertPreTokenizer(), "fixed": P.FixedLength(3),
        "none": P.Sequence([]), "sequence": P.Sequence([P.WhitespaceSplit(), P.Digits(), P.Punctuation("merged_with_next")]),
    }.items():
        yield f"pre {name}", changed(c(), pre_tokenizer=pre)
        yield f"pre {name}, bytes", changed(b(), pre_tokenizer=P.Sequence([pre, P.ByteLevel(False)]))
    yield "pre absent", changed(c(), pre_tokenizer=None)
    yield "smollm", changed(b(), pre_tokenizer=P.Sequence([P.Digits(True), P.ByteLevel(False)]))
    for scheme in ("always", "first", "never"):
        for split in (False, True):
            made = changed(c(P.Metaspace(), byte_fallback=True, fuse_unk=True), pre_tokenizer=P.Metaspace(prepend_scheme=scheme, split=split))
            yield f"metaspace {scheme} {split}", added(made, special("<s>"), special("<tok>"))
    spm = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
    yield "sentencepiece", added(changed(c(P.Metaspace(), byte_fallback=True, fuse_unk=True), normalizer=spm, pre_tokenizer=None), special("<s>"))
    made = closed(changed(c(P.Metaspace(), byte_fallback=True, fuse_unk=True), normalizer=spm, pre_tokenizer=None))
    yield "sentencepiece, all merges", added(made, special("<s>"))
    made = closed(changed(c(P.Metaspace(), byte_fallback=True), normalizer=N.Replace(" ", "▁"), pre_tokenizer=None))
    yield "sentencepiece without prefix", added(made, special("<s>"), AddedToken("new", normalized=False))
    yield "gemma", added(changed(c(P.Metaspace(), byte_fallback=True), normalizer=N.Replace(" ", "▁"), pre_tokenizer=P.Split(" ", "merged_with_previous")), special("<s>"))
    yield "fuse", c(fuse_unk=True)
    yield "prefix", c(continuing_subword_prefix="##")
    yield "suffix", c(end_of_word_suffix="</w>")
    yield "whole", c(ignore_merges=True)
    yield "some bytes", changed(c(byte_fallback=True), normalizer=N.NFKC())
    yield "unigram", u()
    yield "unigram double", u(single=False)
    yield "unigram bytes", u(byte_fallback=True)
    yield "unigram xlm", changed(u(), normalizer=N.Sequence([N.Precompiled(table()), N.Replace(Regex(" {2,}"), " ")]), pre_tokenizer=P.Sequence([P.WhitespaceSplit(), P.Metaspace()]))
    for flags in range(16):
        lstrip, rstrip, single, normalized = ((flags >> bit & 1) == 1 for bit in range(4))
        how = {"lstrip": lstrip, "rstrip": rstrip, "single_word": single, "normalized": normalized}
        tokens = [special("<tok>", **how), AddedToken("[MASK]", special=False, **how), AddedToken("new", **how), special("né", **how)]
        yield f"added {flags:04b}", added(b(), *tokens)
        yield f"added {flags:04b}, lower", added(changed(b(), normalizer=N.Sequence([N.NFC(), N.Lowercase()])), *tokens)
        yield f"added {flags:04b}, bert", added(w(), *tokens)
    yield "added over each other", added(b(), special("<tok>"), special("<tok><tok>"), AddedToken("<to", normalized=True), AddedToken("ok>"), AddedToken("new"), special("newer", rstrip=True))
    yield "added spaces", added(b(), AddedToken("  ", normalized=False), special("<tok>", rstrip=True, lstrip=True), AddedToken("\n"), AddedToken(" foo bar", lstrip=True))
    frame = lambda tokenizer, single: processors.TemplateProcessing(single=single, special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")])
    for single in ("<s> $A", "$A </s>", "<s> $A </s>"):
        made = b()
        yield f"frame {single}", changed(made, post_processor=frame(made, single))
    made = b()
    yield "frame in a sequence", changed(made, post_processor=processors.Sequence([processors.ByteLevel(), frame(made, "<s> $A")]))
    for kind in (processors.BertProcessing, processors.RobertaProcessing):
        yield f"frame {kind.__name__}", changed(b(), post_processor=kind(("</s>", 1), ("<s>", 0)))
    # Refused.
    yield "pre scripts", changed(c(), pre_tokenizer=P.UnicodeScripts())
    yield "dropout", b(dropout=0.5)
    yield "words", Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    made = b()
    yield "frame of two", changed(made, post_processor=frame(made, "<s> <s> $A"))
    yield "expression names", changed(c(), pre_tokenizer=P.Split(Regex("(?<n>a)"), "isolated"))


for name, tokenizer in cases():
    rng = random.Random(name + os.environ.get("SMIDGEN_SEED", ""))
    texts = [text(rng) for _ in range(TEXTS)]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    framed = [tokenizer.encode(text).ids for text in texts]
    files = {"tokenizer.json": json.loads(tokenizer.to_str()), "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}}
    line = {"name": name, "files": files, "vocabulary": tokenizer.get_vocab_size(), "texts": texts, "ids": ids, "framed": framed}
    print(json.dumps(line))
