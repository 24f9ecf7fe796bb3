"""What makes a server of a model: cancelling, batching, prompt cache, metrics, health, shutdown, several models, Ollama's API, the page, a soak."""
import contextlib, json, os, re, shutil, signal, statistics, subprocess, tempfile, threading
from concurrent.futures import ThreadPoolExecutor
from .core import *

CHAT = "/v1/chat/completions"
LONG = "Count from 1 to 2000 in words, one number a line, without stopping."
FACTS = ["the sea", "a lighthouse", "winter", "bread", "the moon", "a bicycle", "rice", "gold", "an owl", "glass", "the Nile", "a violin", "salt", "clouds", "chess", "paper"]


def long_body(ctx, **more):
    return {"model": ctx.model, "messages": [{"role": "user", "content": LONG}], "max_tokens": 1200, "temperature": 0, **more}


def prefix(seed, words):
    """A long text that no other check sends."""
    import random
    r = random.Random(f"{seed}")
    return " ".join(r.choice("house river stone light green seven walk under table music winter orange paper horse cloud silver garden copper ocean candle".split()) for _ in range(words))


def gauge(ctx, base=None):
    """The number of running requests by /metrics, if there is a gauge that looks like it."""
    r = ctx.get("/metrics", base=base)
    if r.status_code != 200:
        return None
    for l in r.text.splitlines():
        if re.match(r"[a-z_:]*(requests_processing|requests_running|running_requests|requests_in_flight|active_requests|requests_active)(\{.*\})? ", l):
            return float(l.rsplit(" ", 1)[1])
    return None


def rest(ctx):
    """Waits until what other checks left is done."""
    if ctx.pid:
        idle(psutil.Process(ctx.pid), 120)


def stopped(ctx, within=1.0):
    """The server is at rest within the time, by processor time if its process is known, else by its gauge."""
    t0 = time.monotonic()
    if ctx.pid:
        t = idle(psutil.Process(ctx.pid), within + 5, window=0.25)
        need(t is not None, f"still computing {within + 5:.0f} s after the client went away")
        need(t <= within + 0.5, f"computed for {t:.1f} s after the client had gone away")
        return f"at rest after {max(0, t - 0.25):.1f} s"
    while time.monotonic() - t0 < within + 5:
        g = gauge(ctx)
        if g is None:
            raise Skip("needs --pid, --profile or a gauge of running requests in /metrics")
        if g == 0:
            took = time.monotonic() - t0
            need(took <= within + 0.3, f"runs for {took:.1f} s after the client went away")
            return f"at rest after {took:.1f} s"
        time.sleep(0.05)
    raise AssertionError("still running after the client went away")


# ---------------------------------------------------------------- cancel

@check("cancel", "stream")
def _(ctx):
    rest(ctx)
    s = open_request(ctx, CHAT, long_body(ctx, stream=True))
    got = b""
    while got.count(b"data:") < 6:
        piece = s.recv(4096)
        need(piece, f"the stream ended: {short(got)}")
        got += piece
    abort(s)
    return stopped(ctx)


@check("cancel", "stream-closed-politely")
def _(ctx):
    rest(ctx)
    s = open_request(ctx, CHAT, long_body(ctx, stream=True))
    got = b""
    while got.count(b"data:") < 6:
        got += s.recv(4096)
    s.shutdown(socket.SHUT_RDWR); s.close()
    return stopped(ctx)


@check("cancel", "whole-answer")
def _(ctx):
    rest(ctx)
    s = open_request(ctx, CHAT, long_body(ctx))
    time.sleep(1.0); abort(s)
    return stopped(ctx)


@check("cancel", "during-the-prompt")
def _(ctx):
    rest(ctx)
    content = prefix(f"cancel{time.time()}", 900)
    t = time.monotonic(); ctx.text(prefix("alone", 900), 1); alone = time.monotonic() - t
    s = open_request(ctx, CHAT, long_body(ctx, messages=[{"role": "user", "content": content}]))
    time.sleep(min(0.3, alone / 4)); abort(s)
    return f"{stopped(ctx)}; the prompt takes {alone:.1f} s"


@check("cancel", "in-the-queue")
def _(ctx):
    """40 requests whose clients go away before their turn must not be computed."""
    rest(ctx)
    socks = [open_request(ctx, CHAT, long_body(ctx, max_tokens=200)) for _ in range(40)]
    time.sleep(0.5)
    for s in socks:
        abort(s)
    note = stopped(ctx, 2.0)
    t = time.monotonic(); ctx.alive()
    need(time.monotonic() - t < 5, f"the next request waited {time.monotonic() - t:.1f} s")
    return note


@check("cancel", "leaves-others-alone")
def _(ctx):
    rest(ctx)
    want = ctx.text("Tell me about the sea.", 64)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(ctx.text, "Tell me about the sea.", 64)
        for _ in range(5):
            s = open_request(ctx, CHAT, long_body(ctx, stream=True)); time.sleep(0.1); abort(s)
        eq(job.result(), want, "text beside five requests that were cancelled")


# ---------------------------------------------------------------- concurrency

@check("concurrency", "16-streams-equal-alone")
def _(ctx):
    ask = [f"Write two sentences about {f}." for f in FACTS]
    alone = [ctx.text(a, 32) for a in ask]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda a: joined(stream_chat(ctx, a, 32)[0]), ask))
    same = sum(a == b for a, b in zip(alone, together))
    ctx.numbers["16_streams_equal"] = f"{same}/16"
    need(same == 16, f"{same} of 16 texts are those that the same requests give alone")


@check("concurrency", "16-the-same")
def _(ctx):
    with ThreadPoolExecutor(16) as pool:
        texts = set(pool.map(lambda _: ctx.text("Write two sentences about rivers.", 32), range(16)))
    eq(len(texts), 1, "different texts of 16 equal requests")


@check("concurrency", "sampled-equal-alone")
def _(ctx):
    def one(i):
        return ctx.text(f"Write two sentences about {FACTS[i]}.", 24, temperature=0.9, top_p=0.95, seed=100 + i)
    alone = [one(i) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one, range(8)))
    same = sum(a == b for a, b in zip(alone, together))
    need(same == 8, f"{same} of 8 sampled texts with a seed are the same beside others")


@check("concurrency", "async-client")
def _(ctx):
    import asyncio
    async def go():
        async with ctx.openai_async() as c:
            async def one(f):
                text = ""
                async for chunk in await c.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": f"Write about {f}."}], max_tokens=16, temperature=0, stream=True):
                    if chunk.choices:
                        text += chunk.choices[0].delta.content or ""
                return text
            return await asyncio.gather(*(one(f) for f in FACTS))
    need(all(asyncio.run(go())), "an empty stream")


@check("concurrency", "a-short-one-beside-long-ones")
def _(ctx):
    """Three long streams must not starve a short request."""
    rest(ctx)
    t = time.monotonic(); ctx.text("Say yes.", 4); alone = time.monotonic() - t
    socks = [open_request(ctx, CHAT, long_body(ctx, stream=True)) for _ in range(3)]
    try:
        for s in socks:
            s.recv(1024)
        t = time.monotonic(); ctx.text("Say yes.", 4); beside = time.monotonic() - t
    finally:
        for s in socks:
            abort(s)
    need(beside < alone * 12 + 2, f"{beside:.1f} s beside three long streams, {alone:.1f} s alone")
    return f"{beside:.2f} s beside, {alone:.2f} s alone"


@check("concurrency", "a-long-prompt-does-not-stall-streams")
def _(ctx):
    """While a long prompt is read, running streams go on: their longest pause stays under half of the prompt's time."""
    rest(ctx)
    n = 1000
    t = time.monotonic(); ctx.text(prefix("stall-alone", n), 1); alone = time.monotonic() - t
    gaps, go = [], threading.Event()
    def reader():
        s = open_request(ctx, CHAT, long_body(ctx, stream=True, max_tokens=600))
        s.settimeout(120); last = None; seen = 0
        while not go.is_set():
            piece = s.recv(65536)
            if not piece:
                break
            now = time.monotonic(); seen += 1
            if last and seen > 5:
                gaps.append(now - last)
            last = now
        abort(s)
    th = threading.Thread(target=reader); th.start()
    time.sleep(1.0); quiet = max(gaps[3:] or [0]); gaps.clear()
    ctx.text(prefix("stall-beside", n), 1); go.set(); th.join()
    worst = max(gaps or [0])
    need(gaps and worst < max(alone * 0.5, quiet * 4, 0.3), f"a pause of {worst:.2f} s while a prompt of {alone:.2f} s was read (longest before: {quiet:.2f} s)")
    return f"longest pause {worst:.2f} s, the prompt takes {alone:.2f} s"


# ---------------------------------------------------------------- prompt cache

def ttft(ctx, messages, base=None, n=4):
    chunks, events = stream_chat(ctx, messages, n, base=base, stream_options={"include_usage": True})
    cached = ((chunks[-1].get("usage") or {}).get("prompt_tokens_details") or {}).get("cached_tokens")
    return first_token(events), cached, (chunks[-1].get("usage") or {}).get("prompt_tokens"), joined(chunks)


@check("prompt-cache", "same-prefix")
def _(ctx):
    rest(ctx)
    firsts, seconds = [], []
    for i in range(3):
        p = prefix(f"{ctx.seed}cache{i}{time.time()}", 1000)
        firsts.append(ttft(ctx, [{"role": "system", "content": p}, {"role": "user", "content": "Say yes."}])[0])
        t, cached, total, _ = ttft(ctx, [{"role": "system", "content": p}, {"role": "user", "content": "What is the sea?"}])
        seconds.append(t)
    a, b = min(firsts), min(seconds)
    ctx.numbers["prompt_cache"] = {"first_s": round(a, 3), "second_s": round(b, 3), "times": round(a / b, 1), "tokens": total}
    need(a / b >= 3, f"time to the first token {a:.2f} s, then {b:.2f} s: {a / b:.1f} times, not 3")
    return f"{a:.2f} s, then {b:.2f} s: {a / b:.1f} times"


@check("prompt-cache", "is-told")
def _(ctx):
    p = prefix(f"told{time.time()}", 400)
    m = [{"role": "system", "content": p}, {"role": "user", "content": "Say yes."}]
    ctx.chat(m, 2)
    u = ctx.chat(m, 2)["usage"]
    cached = (u.get("prompt_tokens_details") or {}).get("cached_tokens")
    need(cached and cached > u["prompt_tokens"] * 0.8, f"prompt_tokens_details.cached_tokens: {cached} of {u['prompt_tokens']}")


@check("prompt-cache", "changes-no-bit")
def _(ctx):
    p = prefix(f"bits{ctx.seed}", 300)
    m = [{"role": "system", "content": p}, {"role": "user", "content": "Tell me about the sea."}]
    a = ctx.chat(m, 24, logprobs=True, top_logprobs=1)["choices"][0]
    ctx.chat([{"role": "user", "content": prefix("other", 200)}], 2)
    b = ctx.chat(m, 24, logprobs=True, top_logprobs=1)["choices"][0]
    eq(b["message"]["content"], a["message"]["content"], "text with the cache")
    worst = max(abs(x["logprob"] - y["logprob"]) for x, y in zip(a["logprobs"]["content"], b["logprobs"]["content"]))
    need(worst == 0, f"log-probabilities differ by up to {worst:.2g} with the cache")


@check("prompt-cache", "conversation")
def _(ctx):
    rest(ctx)
    p = prefix(f"talk{time.time()}", 800)
    m = [{"role": "system", "content": p}, {"role": "user", "content": "Say yes."}]
    a, _, _, text = ttft(ctx, m, n=24)
    m += [{"role": "assistant", "content": text}, {"role": "user", "content": "And now no."}]
    b, cached, total, _ = ttft(ctx, m)
    need(a / b >= 3, f"first turn {a:.2f} s, second {b:.2f} s ({cached} of {total} tokens cached)")
    return f"{a / b:.1f} times"


@check("prompt-cache", "four-in-turn")
def _(ctx):
    """Four clients in turn, each with its own long prefix (a voice assistant, a chat, an editor, a script)."""
    rest(ctx)
    ps = [prefix(f"turn{i}{time.time()}", 600) for i in range(4)]
    first = [ttft(ctx, [{"role": "system", "content": p}, {"role": "user", "content": "Say yes."}])[0] for p in ps]
    second = [ttft(ctx, [{"role": "system", "content": p}, {"role": "user", "content": "What now?"}])[0] for p in ps]
    ratio = [a / b for a, b in zip(first, second)]
    need(statistics.median(ratio) >= 3 and sum(r >= 2 for r in ratio) >= 3, f"times: {[round(r, 1) for r in ratio]}")
    return f"times: {[round(r, 1) for r in ratio]}"


# ---------------------------------------------------------------- metrics, health

def samples(ctx, base=None):
    from prometheus_client.parser import text_string_to_metric_families as families
    r = ctx.get("/metrics", base=base)
    need(r.status_code == 200, f"/metrics: {r.status_code}")
    return r, list(families(r.text))


@check("metrics", "parse")
def _(ctx):
    r, found = samples(ctx)
    need(r.headers.get("content-type", "").startswith("text/plain"), f"content-type {r.headers.get('content-type')}")
    need(len(found) >= 5, f"{len(found)} metrics")
    need(all(f.documentation for f in found), f"no HELP: {[f.name for f in found if not f.documentation][:3]}")
    need(all(f.type != "unknown" for f in found), f"no TYPE: {[f.name for f in found if f.type == 'unknown'][:3]}")
    import math
    need(all(math.isfinite(s.value) for f in found for s in f.samples if f.type != "histogram"), "NaN or infinity")
    return ", ".join(sorted(f.name for f in found))[:200]


@check("metrics", "count-tokens")
def _(ctx):
    def total():
        return {s.name: s.value for f in samples(ctx)[1] for s in f.samples if f.type == "counter"}
    a = total(); u = ctx.chat("Count from 1 to 100.", 17)["usage"]; time.sleep(0.3); b = total()
    grown = {k: b[k] - a.get(k, 0) for k in b if b[k] != a.get(k, 0)}
    need(any(v == 17 and re.search("token", k) for k, v in grown.items()), f"no counter of tokens grew by the {u['completion_tokens']} that were made: {grown}")


@check("metrics", "gauge-of-requests")
def _(ctx):
    if gauge(ctx) is None:
        raise AssertionError("no gauge of running requests")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(ctx.text, LONG, 150) for _ in range(2)]
        seen = 0
        while not all(j.done() for j in jobs):
            seen = max(seen, gauge(ctx)); time.sleep(0.02)
    eq(seen, 2, "running requests seen in the gauge")
    time.sleep(0.5); eq(gauge(ctx), 0, "running requests afterwards")


@check("metrics", "histogram-of-times")
def _(ctx):
    found = [f.name for f in samples(ctx)[1] if f.type == "histogram"]
    need(found, "no histogram (time to the first token, time of a request): no quantile can be drawn")
    return ", ".join(found)


@check("metrics", "no-labels-from-requests")
def _(ctx):
    for i in range(5):
        ctx.post(CHAT, {"model": f"made-up-{i}", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}); ctx.get(f"/made-up-path-{i}")
    need("made-up" not in ctx.get("/metrics").text, "names out of requests become labels, without bound")


@check("health", "ready")
def _(ctx):
    r = httpx.get(ctx.base + "/health", timeout=10)
    need(r.status_code == 200 and r.json().get("status") == "ok", f"{r.status_code} {short(r.text)}")


@check("health", "fast-under-load")
def _(ctx):
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(ctx.text, LONG, 48) for _ in range(8)]
        time.sleep(0.2); worst = 0
        for _ in range(10):
            t = time.monotonic(); eq(httpx.get(ctx.base + "/health", timeout=10).status_code, 200, "status"); worst = max(worst, time.monotonic() - t); time.sleep(0.05)
        for j in jobs:
            j.result()
    need(worst < 0.5, f"/health took {worst:.2f} s under load")
    return f"slowest {worst * 1000:.0f} ms"


@check("health", "start", ("profile",))
def _(ctx):
    with ctx.launch() as s:
        ctx.numbers["start_s"] = round(s.ready, 2)
        return f"healthy {s.ready:.2f} s after its start"


# ---------------------------------------------------------------- shutdown

@check("shutdown", "running-streams-end", ("profile",))
def _(ctx):
    with ctx.launch() as s:
        sock = open_request(ctx, CHAT, long_body(ctx, stream=True, max_tokens=100), base=s.base)
        sock.settimeout(60); got = b""
        while got.count(b"data:") < 4:
            piece = sock.recv(4096)
            need(piece, f"no stream: {short(got)}"); got += piece
        t = time.monotonic(); s.process.send_signal(signal.SIGTERM); time.sleep(0.3)
        try:
            code = httpx.post(s.base + CHAT, json=long_body(ctx, max_tokens=1), timeout=20).status_code
            need(code in (503, 429), f"a new request during shutdown: {code}")
        except httpx.HTTPError:
            pass
        try:
            while piece := sock.recv(65536):
                got += piece
        except OSError as e:
            raise AssertionError(f"the running stream was cut: {e!r}")
        took = time.monotonic() - t; sock.close()
        need(b"[DONE]" in got, f"the running stream was cut after {took:.1f} s, without [DONE]")
        need(b'"finish_reason":"length"' in got.replace(b" ", b""), "the stream did not go to its end")
        try:
            s.process.wait(10)
        except subprocess.TimeoutExpired:
            raise AssertionError("runs on 10 s after its last stream")
        eq(s.process.returncode, 0, "exit status")
        return f"over {took:.1f} s after SIGTERM"


@check("shutdown", "at-rest", ("profile",))
def _(ctx):
    for sig in (signal.SIGTERM, signal.SIGINT):
        with ctx.launch() as s:
            idle_client = httpx.Client(); idle_client.get(s.base + "/health")  # a kept connection must not delay it
            t = time.monotonic(); s.process.send_signal(sig)
            try:
                s.process.wait(10)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"runs 10 s after {sig.name} with nothing to do")
            took = time.monotonic() - t
            eq(s.process.returncode, 0, f"exit status after {sig.name}"); need(took < 3, f"took {took:.1f} s")
            idle_client.close()


@check("shutdown", "second-signal-ends-at-once", ("profile",))
def _(ctx):
    with ctx.launch() as s:
        sock = open_request(ctx, CHAT, long_body(ctx, stream=True), base=s.base); sock.recv(1000)
        s.process.send_signal(signal.SIGTERM); time.sleep(0.3); s.process.send_signal(signal.SIGTERM)
        t = time.monotonic()
        try:
            s.process.wait(6)
        except subprocess.TimeoutExpired:
            raise AssertionError("a second SIGTERM does not end it within 6 s")
        finally:
            abort(sock)
        return f"{time.monotonic() - t:.1f} s"


@check("shutdown", "port-in-use-is-said", ("profile",))
def _(ctx):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); s.listen()
        command = ctx.profile.fill(ctx.profile.spec["base"], {"port": s.getsockname()[1]})
        try:
            r = subprocess.run(command, capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            raise AssertionError("runs on though its port is taken")
        need(r.returncode != 0, "exit status 0"); need(r.returncode > 0, f"killed by signal {-r.returncode}")
        need(re.search(rb"(?i)in use|bind|listen|address", r.stderr + r.stdout), f"says nothing of the port: {short((r.stderr + r.stdout)[-200:])}")


# ---------------------------------------------------------------- several models

@check("models", "several", ("profile",))
def _(ctx):
    with ctx.launch("router") as s:
        names = [m.id for m in ctx.openai(s.base).models.list().data]
        need(len(names) >= 2, f"models: {names}")
        for name in names[:2] * 2:
            r = ctx.post("/v1/completions", {"model": name, "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}, base=s.base)
            need(r.status_code == 200, f"{name}: {r.status_code} {short(r.text)}")
        with ThreadPoolExecutor(4) as pool:
            codes = list(pool.map(lambda n: ctx.post("/v1/completions", {"model": n, "prompt": "Once", "max_tokens": 8}, base=s.base).status_code, names[:2] * 4))
        need(set(codes) == {200}, f"both at once: {codes}")


# ---------------------------------------------------------------- Ollama

def ollama(ctx):
    import ollama as o
    c = o.Client(host=ctx.base, headers=ctx.headers())
    r = ctx.get("/api/version")
    if r.status_code != 200:
        raise AssertionError(f"/api/version: {r.status_code}")
    return c, o


@check("ollama", "version-tags-show-ps")
def _(ctx):
    c, _o = ollama(ctx)
    need(any(m.model.split(":")[0] == ctx.model.split(":")[0] for m in c.list().models), f"{ctx.model} is not in /api/tags")
    need(all(m.size and m.modified_at for m in c.list().models), "size or modified_at is missing")
    s = c.show(ctx.model)
    need(s.modelinfo and s.details and s.capabilities, f"/api/show: {short(s)}")
    c.ps()


@check("ollama", "chat")
def _(ctx):
    c, _o = ollama(ctx)
    args = dict(model=ctx.model, messages=[{"role": "user", "content": "Say hello."}], options={"num_predict": 12, "temperature": 0})
    r = c.chat(**args)
    need(r.message.content and r.done and r.eval_count and r.prompt_eval_count and r.total_duration, f"{short(r)}")
    parts = list(c.chat(**args, stream=True))
    need(len(parts) > 3 and parts[-1].done and not parts[0].done, "not streamed as lines")
    eq("".join(p.message.content or "" for p in parts), r.message.content, "streamed text")
    eq(parts[-1].done_reason, "length", "done_reason")


@check("ollama", "generate")
def _(ctx):
    c, _o = ollama(ctx)
    r = c.generate(model=ctx.model, prompt="Say hello.", options={"num_predict": 12, "temperature": 0, "seed": 1, "stop": ["ZZZ"]})
    need(r.response and r.done, f"{short(r)}")
    a = c.generate(model=ctx.model, prompt="Once upon a time", raw=True, options={"num_predict": 12, "temperature": 0}).response
    eq(a, ctx.openai().completions.create(model=ctx.model, prompt="Once upon a time", max_tokens=12, temperature=0).choices[0].text, "raw text against /v1/completions")


@check("ollama", "format-and-tools")
def _(ctx):
    c, _o = ollama(ctx)
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}, "room": {"enum": ["kitchen", "bath"]}}, "required": ["on", "room"], "additionalProperties": False}
    v = json.loads(c.chat(model=ctx.model, messages=[{"role": "user", "content": "Is the kitchen light on?"}], format=schema, options={"num_predict": 100, "temperature": 0}).message.content)
    need(v["room"] in ("kitchen", "bath") and isinstance(v["on"], bool), f"{v}")
    tools = [{"type": "function", "function": {"name": "get_time", "description": "The time", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
    r = c.chat(model=ctx.model, messages=[{"role": "user", "content": "What time is it in Rome?"}], tools=tools, options={"num_predict": 60, "temperature": 0})
    for call in r.message.tool_calls or []:
        need(call.function.name == "get_time" and isinstance(call.function.arguments, dict), f"{call}")


@check("ollama", "errors")
def _(ctx):
    c, o = ollama(ctx)
    try:
        c.chat(model="no-such-model", messages=[{"role": "user", "content": "Hi"}])
        raise AssertionError("no error")
    except o.ResponseError as e:
        eq(e.status_code, 404, "status of an unknown model"); need(e.error, "no text")


@check("ollama", "embed", ("embed_base",))
def _(ctx):
    import ollama as o
    c = o.Client(host=ctx.embed_base, headers=ctx.headers())
    r = c.embed(model=ctx.embed_model or ctx.model, input=["A cat.", "A dog."])
    need(len(r.embeddings) == 2 and len(r.embeddings[0]) > 100, f"{short(r)}")


@check("ollama", "keep_alive")
def _(ctx):
    c, _o = ollama(ctx)
    r = ctx.post("/api/generate", {"model": ctx.model, "keep_alive": 0})
    need(r.status_code == 200 and r.json().get("done"), f"unloading by keep_alive 0: {r.status_code} {short(r.text)}")
    ctx.alive()


# ---------------------------------------------------------------- page

@check("web", "page")
def _(ctx):
    r = httpx.get(ctx.base + "/", headers={"Accept": "text/html"}, timeout=10, follow_redirects=True)
    need(r.status_code == 200 and r.headers.get("content-type", "").startswith("text/html"), f"{r.status_code} {r.headers.get('content-type')}")
    need(len(r.text) > 500, "next to nothing on the page")
    outside = set(re.findall(r"""(?:src|href|action)\s*=\s*["'](https?:)?//([^/"']+)""", r.text))
    need(not [o for o in outside if "127.0.0.1" not in o[1] and "localhost" not in o[1] and "w3.org" not in o[1]], f"the page loads from {outside}")


@check("web", "policy")
def _(ctx):
    r = httpx.get(ctx.base + "/", headers={"Accept": "text/html"}, timeout=10, follow_redirects=True)
    need(r.headers.get("x-content-type-options") == "nosniff", "no X-Content-Type-Options: nosniff")
    csp = r.headers.get("content-security-policy", "") + "".join(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', r.text))
    need("default-src" in csp or "script-src" in csp, "no Content-Security-Policy")
    need("frame-ancestors" in csp or r.headers.get("x-frame-options"), "another site may put the page into a frame")


@check("web", "chromium")
def _(ctx):
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("no chromium")
    with tempfile.TemporaryDirectory() as d:
        net = os.path.join(d, "net.json")
        r = subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={d}/p", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--log-net-log={net}", "--virtual-time-budget=20000", "--enable-logging=stderr", "--dump-dom", ctx.base + "/"], capture_output=True, text=True, timeout=120)
        text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", r.stdout, flags=re.S)
        need(len(text.split()) >= 5, f"an empty page: {short(text)} {short(r.stderr[-200:])}")
        errors = [l for l in r.stderr.splitlines() if "CONSOLE" in l and re.search("(?i)uncaught|failed to load|refused", l)]
        need(not errors, f"errors in the console: {short(errors[0])}")
        need(re.search(r"<(textarea|input)\b", r.stdout), "nothing to write into")


# ---------------------------------------------------------------- soak

@check("soak", "memory")
def _(ctx):
    if not ctx.soak:
        raise Skip("needs --soak SECONDS")
    process = ctx.need_pid()
    # A cache takes memory when it is filled for the first time, which is no leak: all of them are, twice, as there may be more than streams.
    fill = lambda k: ctx.chat([{"role": "user", "content": prefix(f"fill {k}", 1800)}], 1)
    for turn in range(2):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(fill, range(16 * turn, 16 * turn + 16)))
    end = time.monotonic() + ctx.soak
    points, count, failures = [], [0], []
    schema = lambda value: {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object", "properties": {"a": {"enum": [value, "x"]}}, "required": ["a"], "additionalProperties": False}}}
    # Who refuses schemas by name goes without them here; group json-schema tells.
    refused = ctx.post(CHAT, {"model": ctx.model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "response_format": schema("a")})
    schemas = not (refused.status_code == 400 and "response_format" in refused.text)
    def worker(k):
        i = 0
        while time.monotonic() < end:
            i += 1
            try:
                kind = (i + k) % 5
                if kind == 0: stream_chat(ctx, prefix(f"{k}-{i}", 60 + i % 90), 16)
                elif kind == 1: ctx.text(f"Say {i}.", 12, **({"response_format": schema(str(i))} if schemas else {}))
                elif kind == 2: s = open_request(ctx, CHAT, long_body(ctx, stream=True)); s.recv(2000); abort(s)
                elif kind == 3: ctx.post(CHAT, '{"broken'); ctx.post(CHAT, {"model": ctx.model, "messages": [], "max_tokens": 2})
                else: ctx.chat([{"role": "system", "content": "You are brief."}, {"role": "user", "content": f"{i}?"}], 8, logprobs=True, top_logprobs=2)
                count[0] += 1
            except Exception as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=worker, args=(k,)) for k in range(4)]
    for t in threads: t.start()
    while time.monotonic() < end:
        time.sleep(max(1, ctx.soak / 60)); points.append(anon(process))
    for t in threads: t.join()
    time.sleep(1)
    n = len(points); middle = statistics.median(points[n // 3: n // 2 + 1]); last = statistics.median(points[-max(2, n // 6):])
    fds = process.num_fds()
    ctx.numbers["soak"] = {"seconds": ctx.soak, "requests": count[0], "anon_mib_middle": middle >> 20 if isinstance(middle, int) else round(middle / 2**20, 1), "anon_mib_last": round(last / 2**20, 1), "fds": fds}
    need(not failures, f"{len(failures)} of {count[0]} requests failed: {failures[0] if failures else ''}")
    need(last - middle < max(8 << 20, middle * 0.03), f"{(last - middle) / 2**20:.0f} MiB more at the end than in the middle, after {count[0]} requests")
    need(fds < 200, f"{fds} open files")
    return f"{count[0]} requests, {(last - middle) / 2**20:+.1f} MiB in the second half{'' if schemas else ', without schemas'}"
