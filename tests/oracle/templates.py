"""Chat templates against Python's Jinja2, set up as transformers does: python3 tests/oracle/templates.py [FOLDER] [--verbose] [--update]

Without FOLDER, the one-line templates of runtime/host/src/chat/python.txt are compared, whose second lines are Python's results: a text in
JSON, or ! where Python raises; --update writes these lines.

FOLDER holds *.jinja. Each is rendered with each conversation below by Jinja2 and by `cargo run -p smidgen-tests --example render`, and the
texts must be the same byte for byte. Where Python raises, ours must refuse. Prints what differs, and counts. A virtual environment with
jinja2 is made in the cargo target folder, which needs a package index; with `SMIDGEN_PYTHON=1` the running Python is taken as it is.
"""

import collections
import json
import os
import subprocess
import sys
import venv
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FEATURES = ROOT / "runtime/host/src/chat/python.txt"
SECONDS = 1_700_000_000


def with_jinja():
    """Starts this script again in a virtual environment that has jinja2."""
    folder = TARGET / "templates-venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "-q", "install", "jinja2==3.1.6"], check=True)
    sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "SMIDGEN_PYTHON": "1"}).returncode)


def environment():
    """Jinja2 as transformers.utils.chat_template_utils sets it up."""
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

        def _support(self, caller):
            return caller()

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.fromtimestamp(SECONDS, timezone.utc).strftime(form)
    return made


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def function(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = function(
    "get_weather",
    "Weather at a <place> & its \"surroundings\"",
    {
        "place": {"type": "string", "description": "Where, say Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 1.5e3},
    },
    ["place"],
)
BOOK = function(
    "book",
    "Book a table",
    {
        "guests": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "options": {"type": "object", "properties": {"smoking": {"type": "boolean"}, "values": {"type": "number"}}, "additionalProperties": False},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "a\nb"},
    },
    ["guests", "when"],
)
TOOLS = [WEATHER, BOOK]


def call(name, arguments, id="call12345"):
    return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}


USER = turn("user", "What is 2+2?")
SYSTEM = turn("system", "Be brief.")
TURNS = [USER, turn("assistant", "4."), turn("user", "And 3+3?")]
ARGUMENTS = {"place": "Zürich", "days": 2, "unit": None, "deep": {"a": [1, 2.5, True], "b": "x'y\"z"}}
CALLED = [USER, turn("assistant", "", tool_calls=[call("get_weather", ARGUMENTS)])]
RESULT = turn("tool", "{\"sky\": \"clear\"}", tool_call_id="call12345", name="get_weather")
SPOKEN = [SYSTEM, turn("user", " Hello \"x\" <é> "), turn("assistant", "Hi!\n"), USER]
CASES = {
    "user": ([USER], {}),
    "system": ([SYSTEM, USER], {}),
    "turns": (TURNS, {}),
    "system-turns": ([SYSTEM, *TURNS], {}),
    "no-prompt": ([SYSTEM, *TURNS, turn("assistant", "6")], {"add_generation_prompt": False}),
    "tools": ([SYSTEM, USER], {"tools": TOOLS}),
    "tools-no-system": (TURNS, {"tools": TOOLS}),
    "tools-empty": ([USER], {"tools": []}),
    "call": ([*CALLED, RESULT], {"tools": TOOLS}),
    "call-text": ([USER, turn("assistant", "I look.", tool_calls=[call("get_weather", json.dumps(ARGUMENTS))]), RESULT], {"tools": TOOLS}),
    "call-none": ([USER, turn("assistant", None, tool_calls=[call("get_weather", ARGUMENTS)]), RESULT], {"tools": TOOLS}),
    "calls": (
        [
            SYSTEM,
            USER,
            turn("assistant", "Two.", tool_calls=[call("get_weather", {}), call("book", {"guests": [{"name": "A"}], "when": None}, "call23456")]),
            RESULT,
            turn("tool", "done", tool_call_id="call23456", name="book"),
            turn("assistant", "Booked."),
            turn("user", "Thanks"),
        ],
        {"tools": TOOLS},
    ),
    "call-last": (CALLED, {"tools": TOOLS, "add_generation_prompt": False}),
    "reasoning": ([USER, turn("assistant", "4.", reasoning_content="Two and two."), turn("user", "Sure?")], {}),
    "reasoning-last": ([USER, turn("assistant", "4.", reasoning_content="Two and two.")], {"add_generation_prompt": False}),
    "reasoning-other": ([USER, turn("assistant", "4.", reasoning="Two.", thinking="And two."), turn("user", "Sure?")], {}),
    "reasoning-in-text": ([USER, turn("assistant", "<think>\nTwo.\n</think>\n\n4."), turn("user", "Sure?")], {}),
    "reasoning-call": (
        [USER, turn("assistant", "", reasoning_content="Ask.", tool_calls=[call("get_weather", ARGUMENTS)]), RESULT],
        {"tools": TOOLS, "enable_thinking": True},
    ),
    "think": (TURNS, {"enable_thinking": True}),
    "no-think": (TURNS, {"enable_thinking": False}),
    "think-names": (TURNS, {"thinking": True, "reasoning_effort": "high", "thinking_mode": "enabled"}),
    "no-think-names": (TURNS, {"thinking": False, "reasoning_effort": "low", "thinking_mode": "disabled", "thinking_budget": 0}),
    "parts": ([turn("user", [{"type": "text", "text": "Part one, "}, {"type": "text", "text": "part two"}])], {}),
    "parts-all": ([turn(t["role"], [{"type": "text", "text": t["content"]}]) for t in [SYSTEM, *TURNS]], {}),
    "image": ([turn("user", [{"type": "image"}, {"type": "text", "text": "What?"}])], {}),
    "empty": ([turn("system", ""), turn("user", ""), turn("assistant", ""), turn("user", " ")], {}),
    "line-ends": ([turn("user", "a\r\nb\rc\n\n"), turn("assistant", "\r\n d\r\n"), turn("user", "\n\te ")], {}),
    "unicode": ([turn("system", "é\u0301 中文 \u2028"), turn("user", "\U0001f600\u200d\U0001f525 İß \x85\xa0"), turn("assistant", "ﬁ\x1c"), turn("user", "\ufeff\x00x")], {}),
    "markers": ([turn("user", "<|im_end|> {{ 7*7 }} {% raw %} /no_think"), turn("assistant", "</think>a</think>b"), turn("user", "/think")], {}),
    "roles": ([USER, USER, turn("assistant", "a"), turn("assistant", "b"), turn("developer", "c"), turn("user", "d")], {}),
    "odd-role": ([turn("narrator", "Once."), USER], {}),
    "late-system": ([USER, SYSTEM, USER], {}),
    "long": ([SYSTEM, *CALLED[:1], *([turn("assistant", "Yes. " * 30), turn("user", "And " * 50)] * 100)], {"tools": TOOLS}),
    "long-calls": ([USER, *([*CALLED[1:], RESULT, turn("assistant", "So. "), USER] * 60)], {"tools": TOOLS}),
    "none-content": ([turn("user", None)], {}),
    "nothing": ([], {}),
}
# Where `variables` says null, Python sees None. The names that transformers gives in any case:
ALWAYS = {"tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}


def python(made, source, variables):
    import jinja2

    try:
        return {"text": made.from_string(source).render(**variables)}
    except jinja2.exceptions.TemplateError as error:
        return {"refused": str(error)}
    except Exception as error:  # What templates do to Python: whatever it raises counts as a refusal.
        return {"error": f"{type(error).__name__}: {error}"}


def given(messages, more):
    """What is rendered must be the same here and there."""
    return json.loads(json.dumps({"messages": messages, **ALWAYS, **more}))


def render(cases):
    """Ours for each (source, variables)."""
    lines = [json.dumps({"source": source, "variables": variables, "seconds": SECONDS}) for source, variables in cases]
    command = ["cargo", "run", "-q", "-p", "smidgen-tests", "--example", "render"]
    ours = subprocess.run(command, cwd=ROOT, input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in ours.stdout.split("\n") if line]


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    verbose, update = "--verbose" in sys.argv, "--update" in sys.argv
    made = environment()
    names, cases = [], []
    if words:
        for path in sorted(Path(words[0]).glob("*.jinja")):
            for name, (messages, more) in CASES.items():
                names.append(f"{path.stem} / {name}")
                cases.append((path.read_bytes().decode(), given(messages, more)))
    else:
        for source in FEATURES.read_text().split("\n")[:-1:2]:
            names.append(source)
            cases.append((source, given(SPOKEN, {})))
    theirs = [python(made, *case) for case in cases]
    if update and not words:
        lines = [(source, json.dumps(their["text"], ensure_ascii=True) if "text" in their else "!") for (source, _), their in zip(cases, theirs)]
        FEATURES.write_text("".join(f"{source}\n{expected}\n" for source, expected in lines))
    counts = collections.Counter()
    for name, their, our in zip(names, theirs, render(cases), strict=True):
        same = our.get("text") == their.get("text")
        counts["rendered alike" if same and "text" in our else "refused alike" if same else "different"] += 1
        if same:
            continue
        print(name)
        if verbose:
            a, b = str(next(iter(their.values()))), str(next(iter(our.values())))
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            at = max(0, at - 30) if "text" in their and "text" in our else 0
            print(f"    python {next(iter(their))} {a[at : at + 160]!r}\n    ours   {next(iter(our))} {b[at : at + 160]!r}")
    print(f"{len(cases)} cases: " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    sys.exit(counts["different"] > 0)


if __name__ == "__main__":
    main() if os.environ.get("SMIDGEN_PYTHON") == "1" else with_jinja()
