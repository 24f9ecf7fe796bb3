#!/usr/bin/env python3
"""Writes splits.txt: how each pre-tokenizer of llama.cpp cuts some texts, by the expressions in its sources and Python's regex.

Expressions that only llama.cpp's own code understands, or that it has instead of a model's, are replaced by what its comments quote.
Usage: python3 splits.py .../llama.cpp/src/llama-vocab.cpp > splits.txt (packages: regex)
"""

import re
import sys

import regex

TEXTS = [
    "I've WE'VE it'Ll don't 'tis y'all 'S'Ll' we'll",
    "a12345b 3,14 1234567 12345a x123_ 1,234,567.89 x=1000;",
    "½ⅷ٣４5 १२३४ ２３４５６ 7²",
    "  two\n\n  lines\n ",
    "x   y\ttab\t\tx \r\n\r\n",
    " " * 300 + "x" + " " * 7 + "\n" + " " * 9,
    "我想在apple工作1314151天～一二三abc一123四々〇",
    "😁 ?!... 🙂🙂\u200d👨 ☺\ufe0f",
    "กาน់តែ e\u0301 x\u0300y\u0301 \u0301z e\u0301\u0302lan",
    " \u3000、「a」 \u00a0\u2003x",
    "= {\n\t$x++;}\n#include <a.h>\r\nint y=1; a/b\n/c//\n\n !abc",
    "HelloWorld iPhone's XMLParser ÉCOLEs aÉb Élan ǅungla ʰa ªb ΣΑΣ",
    "한국어 ㄱㄴ カタカナ ひらがな ㄅㄆ 漢字。，「」！…“a”",
    "ไทย ລາວ မြန်မာ ភាសា Việt Nam",
    "नमस्ते दुनिया क्षत्रिय বাংলা తెలుగు",
    "<sentinel:12> IMGIMGABCZ  \t    x <sentinel:> IMGIMGZ",
    " " * 5 + "a" + " " * 2 + "b" + " " * 3 + "c\t\t\t\t\t" + " " * 1030 + "\u3000" * 9,
    "(foo).bar!baz? a|b — ‘q’",
    "مرحبا، بالعالم۔ کیا हाल।",
    "ａｂｃＡＢ１２！，～ ﬁ \U00010400\U00010428",
    "New York City 2024 is big\n\n\nnext",
    "_x__y --flag=`v` ~^ <=>",
    "\u0000\u200b\ufeffx",
    "it'sometimes 'Reality 'dark 'llama a'veb",
]
K2 = (
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
REPLACED = {r"\p{Han}+": K2, r"\p{AFMoE_digits}": r"\d{1,3}(?=(?:\d{3})*(?!\d))"}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"


def literal(text):
    """The value of a C++ string literal."""
    escapes = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text)


def expressions(source):
    """Expressions by the name of the enumerator."""
    found = {}
    switch = source[source.index("struct llm_tokenizer_bpe : llm_tokenizer") :]
    switch = switch[: switch.index("std::vector<std::string> regex_exprs;")]
    for block in switch.split("break;"):
        cases = re.findall(r"case LLAMA_VOCAB_PRE_TYPE_(\w+):", block) + ["DEFAULT"] * ("default:" in block)
        body = block[block.index("regex_exprs") :] if "regex_exprs" in block else ""
        body = body[body.index("= {") :] if body else ""
        if "TEKKEN" in cases or "GPT4O" in cases:
            body = re.search(r'// "(\[\^.*)"', block)[0]
            list_ = [literal(body[body.index('"') + 1 : -1])]
        else:
            lines = [line.split("//")[0] if line.strip().startswith("//") else line for line in body.splitlines()]
            list_ = [literal(text) for text in re.findall(r'"((?:[^"\\]|\\.)*)"', "\n".join(lines)) if text]
        for case in cases:
            found[case] = list_
    found["GRANITE_EMB_MULTI"] = found["GPT4O"]
    return found


def names(source):
    """Pairs of names and enumerators."""
    chain = source[source.index('tokenizer_pre == "default"') :]
    waiting = []
    for match in re.finditer(r'tokenizer_pre == "([^"]+)"|pre_type = LLAMA_VOCAB_PRE_TYPE_(\w+)', chain):
        if match[1]:
            waiting.append(match[1])
        else:
            yield from ((name, match[2]) for name in waiting)
            waiting = []


def isolate(expression, text):
    """Matches and what lies between them."""
    if "\\p" not in expression:
        # As llama.cpp has it: spaces that are not ASCII match as spaces only.
        seen = "".join("\v" if c.isspace() and ord(c) > 127 else c for c in text)
    else:
        seen = text
    cuts = {0, len(text)}
    for match in regex.finditer(expression, seen, flags=regex.V1):
        cuts.update(match.span())
    cuts = sorted(cuts)
    return [text[a:b] for a, b in zip(cuts, cuts[1:])]


def escaped(text):
    return "".join(c if 0x20 < ord(c) < 0x7F and c != "\\" else f"\\u{{{ord(c):X}}}" for c in text)


def main():
    source = open(sys.argv[1], encoding="utf-8").read()
    known = expressions(source)
    print("# Written by splits.py; do not edit. Texts, then names of pre-tokenizers, each with the bytes of the pieces of each text.")
    for text in TEXTS:
        print(f"text {escaped(text)}")
    same = {}
    for name, case in names(source):
        list_ = [REPLACED.get(e, e) for e in known[case]]
        list_ = [e + r"|\s+" if e == GPT2 else e.replace("$", r"\Z") if e == r"\s+$" else e for e in list_]
        rows = []
        for text in TEXTS:
            pieces = [text]
            for expression in list_:
                pieces = [part for piece in pieces for part in isolate(expression, piece)]
            rows.append(" ".join(str(len(piece.encode())) for piece in pieces))
        same.setdefault(tuple(rows), []).append(name)
    for rows, list_ in same.items():
        print("pre " + " ".join(list_))
        print("\n".join(rows))


main()
