#!/usr/bin/env python3
"""LiteLLM's proxy before two servers, as examples/serve/litellm.yaml has it:  litellm_proxy.py --bin SMIDGEN --gguf FILE [--venv FOLDER]

Both servers get requests, streamed and not, and their answers are the same; one is killed, and the other answers all. LiteLLM is installed into FOLDER, which may
be there already (default: a temporary one). All traffic stays on 127.0.0.1, and every process that is started here ends here. Exit status 1 if anything is otherwise."""
import argparse, concurrent.futures, json, os, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

# The newest one whose proxy can be installed from what is published.
LITELLM = "litellm[proxy]==1.103.0"
KEY, MASTER = "of-the-servers", "sk-of-the-proxy"
HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "../../examples/serve/litellm.yaml")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, key=None, body=None, timeout=60):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with OPENER.open(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(what, seconds, process, log):
    for _ in range(seconds * 4):
        if process.poll() is not None:
            break
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(0.25)
    sys.exit(f"{' '.join(process.args[:2])} is not ready; its last lines:\n" + "".join(open(log).readlines()[-20:]))


class Server:
    def __init__(self, binary, gguf, folder, name):
        self.port, self.log = free_port(), os.path.join(folder, name + ".log")
        flags = ["--alias", "smollm2", "--port", str(self.port), "--api-key", KEY, "--threads", "1", "--context", "512"]
        self.process = subprocess.Popen([binary, "serve", gguf, *flags], stderr=open(self.log, "w"))
        until(lambda: get(f"http://127.0.0.1:{self.port}/readyz")[0] == 200, 60, self.process, self.log)

    def answered(self):
        """Chats that it has answered with 200."""
        lines = [json.loads(line) for line in open(self.log) if line.endswith("\n")]
        return sum(line["event"] == "request" and line["path"].endswith("/chat/completions") and line["status"] == 200 for line in lines)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--bin", required=True)
    a.add_argument("--gguf", required=True)
    a.add_argument("--venv", help="where LiteLLM is, or is installed")
    o = a.parse_args()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        venv = os.path.abspath(o.venv or os.path.join(folder, "venv"))
        program = os.path.join(venv, "bin/litellm")
        if not os.path.exists(program):
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            subprocess.run([os.path.join(venv, "bin/pip"), "install", "-q", LITELLM], check=True)
        processes = []
        try:
            servers = []
            for name in "ab":
                servers.append(Server(o.bin, o.gguf, folder, name))
                processes.append(servers[-1].process)
            port, log = free_port(), os.path.join(folder, "litellm.log")
            environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
            environment |= {"LITELLM_MASTER_KEY": MASTER, "SMIDGEN_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1", "NO_PROXY": "127.0.0.1",
                            "SMIDGEN_A": f"http://127.0.0.1:{servers[0].port}/v1", "SMIDGEN_B": f"http://127.0.0.1:{servers[1].port}/v1"}
            proxy = subprocess.Popen([program, "--config", CONFIG, "--host", "127.0.0.1", "--port", str(port)], env=environment, cwd=folder, stdout=open(log, "w"), stderr=subprocess.STDOUT)
            processes.append(proxy)
            base = f"http://127.0.0.1:{port}"
            until(lambda: get(f"{base}/health/liveliness")[0] == 200, 180, proxy, log)
            failures = checks(base, servers)
            for failure in failures:
                print("FAIL", failure)
            if failures:
                print("".join(open(log).readlines()[-30:]))
            return 1 if failures else 0
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def checks(base, servers):
    failures = []

    def expect(what, name, note=""):
        print("PASS" if what else "FAIL", name, note, flush=True)
        if not what:
            failures.append(f"{name} {note}")

    def chat(stream):
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 12, "temperature": 0, "stream": stream}
        status, text = get(f"{base}/v1/chat/completions", MASTER, body, 120)
        if status != 200:
            return status, text[:300]
        if not stream:
            return status, json.loads(text)["choices"][0]["message"]["content"]
        events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        if not events or events[-1] != "[DONE]":
            return 0, f"a stream without its end: {text[-200:]}"
        return status, "".join((choice["delta"].get("content") or "") for event in events[:-1] for choice in json.loads(event)["choices"])

    def many(count):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(chat, [number % 2 == 0 for number in range(count)]))

    status, text = get(f"{base}/v1/chat/completions", "sk-another", {"model": "smollm2", "messages": [{"role": "user", "content": "a"}]})
    expect(status in (400, 401, 403), "another key is refused", f"status {status}")
    expect(get(f"http://127.0.0.1:{servers[0].port}/v1/models")[0] == 401, "the servers want their own key")
    status, text = get(f"{base}/v1/models", MASTER)
    expect(status == 200 and [model["id"] for model in json.loads(text)["data"]] == ["smollm2"], "one name for both")
    answers = many(16)
    wrong = [answer for answer in answers if answer[0] != 200]
    expect(not wrong, "16 chats, every other one streamed", str(wrong[:1] or ""))
    expect(len({answer for answer in answers}) == 1, "streamed or not, from either server: the same text", repr(answers[0][1]))
    counts = [server.answered() for server in servers]
    expect(min(counts) > 0 and sum(counts) >= 16, "both servers get some", f"{counts[0]} and {counts[1]}")
    servers[0].process.kill()
    servers[0].process.wait()
    again = many(12)
    wrong = [answer for answer in again if answer[0] != 200]
    expect(not wrong, "one server is killed, the rest is answered", str(wrong[:1] or ""))
    expect(set(again) == set(answers[:1]), "with the same text")
    expect(servers[1].answered() >= counts[1] + 12, "by the other one", str(servers[1].answered() - counts[1]))
    return failures


if __name__ == "__main__":
    sys.exit(main())
