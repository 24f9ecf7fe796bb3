#!/usr/bin/env python3
"""Cycles of the kernels' inner loops on ARM CPUs, as llvm-mca computes them.

    tests/benches/loops.py [FORMAT…]            # by default q4_0 q8_0 q4_k q6_k

Compiles the kernels to assembly, takes every innermost loop that multiplies bytes out of the function of each machine and format, and gives it to
llvm-mca (Debian: llvm; the newest there is). LLVM describes a Cortex-A76 by the pipeline of an A57; its core under its server name, Neoverse N1,
has a description of its own. Products are multiplications of a weight with an activation; a block is 32 of them. Loops that unpack weights are
those for one token, the others go over many. llvm-mca assumes that every load hits the nearest cache. Loops with equal figures are shown once.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

PRODUCTS = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "umull": 8, "umlal": 8, "sdot": 16, "udot": 16, "usdot": 16, "smmla": 32, "usmmla": 32}
MACHINES = {"neon": ["cortex-a72", "neoverse-n1"], "dotprod": ["cortex-a76", "neoverse-n1"], "i8mm": ["neoverse-v1"]}
BRANCH = re.compile(r"\t(?:b(?:\.\w+)?|cbn?z\t\w+,|tbn?z\t\w+, #\w+,)\s+(\.L\w+)$")


def assembly():
    """The assembly of the crate of kernels, one function after the other, with the functions' names."""
    target = "aarch64-unknown-linux-gnu"
    command = ["targets/cross.sh", target, "rustc", "-q", "--release", "-p", "smidgen-targets", "--", "--emit", "asm", "-C", "lto=off"]
    root = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(command, check=True, cwd=root)
    folder = os.path.join(root, os.environ.get("CARGO_TARGET_DIR", "target"), "cross", target, target, "release", "deps")
    newest = max(glob.glob(folder + "/smidgen_targets-*.s"), key=os.path.getmtime)
    return open(newest).read().splitlines()


def functions(lines):
    """Lines of the functions for each (machine, format)."""
    name, body = None, []
    for line in lines:
        label = re.match(r"(_\w+):", line)
        if label:
            found = re.search(r"(neon|dotprod|i8mm)(\d+)([a-z0-9_]+?)(?:17h\w+E|B\w+|$)", label[1])
            name, body = (found[1], found[3][: int(found[2])]) if found else None, []
        elif line.startswith(".Lfunc_end"):
            if name:
                yield name, body
            name = None
        else:
            body.append(line)


def innermost(body):
    """Bodies of loops that hold no other loop."""
    at = {line[:-1]: number for number, line in enumerate(body) if line.startswith(".L") and line.endswith(":")}
    loops = []
    for number, line in enumerate(body):
        branch = BRANCH.match(line)
        if branch and at.get(branch[1], number) < number:
            loops.append((at[branch[1]], number))
    for start, end in loops:
        if not any((s, e) != (start, end) and start <= s and e <= end for s, e in loops):
            yield [line for line in body[start + 1 : end + 1] if re.match(r"\t[a-z]", line) and not line.startswith("\t.")]


def cycles(loop, cpu):
    mca = max((name for name in map(shutil.which, ["llvm-mca", *(f"llvm-mca-{n}" for n in range(14, 40))]) if name),
              key=lambda name: int((re.search(r"-(\d+)$", name) or [0, 0])[1]))
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", "-iterations=200", "-instruction-info=0", "-resource-pressure=0"]
    report = subprocess.run(command, input="\n".join(loop), capture_output=True, text=True)
    found = re.search(r"Total Cycles:\s+(\d+)", report.stdout)
    return int(found[1]) / 200 if found else None


def main():
    wanted = sys.argv[1:] or ["q4_0", "q8_0", "q4_k", "q6_k"]
    print(f"{'kernel':<14} {'tokens':<6} {'cpu':<12} {'instructions':>12} {'products':>8} {'cycles':>7} {'per block':>9}")
    for (machine, name), body in functions(assembly()):
        rows = []
        for loop in innermost(body):
            words = [line.split()[0] for line in loop]
            products = sum(PRODUCTS.get(word, 0) for word in words)
            tokens = "one" if {"fcvtl", "ushr", "sli"} & set(words) else "many"
            for cpu in MACHINES[machine] if name in wanted and products else []:
                found = cycles(loop, cpu)
                shown = f"{found:7.1f} {32 * found / products:9.2f}" if found else "not modelled"
                rows.append(f"{machine + ' ' + name:<14} {tokens:<6} {cpu:<12} {len(loop):>12} {products:>8} {shown}")
        print("".join(row + "\n" for row in sorted(set(rows), reverse=True)), end="", flush=True)


main()
