"""What a program takes of flash and RAM: sizes.py NAME PROGRAM [FILE-IN-FLASH…], the files not counted. Fails if it is more than is promised."""

import subprocess
import sys
from pathlib import Path

name, elf, *files = sys.argv[1:]
# What is promised of the demo on a Cortex-M4. Code for a Cortex-M0 is longer.
FLASH, ARENA, OTHER = (44 if name in ("microbit", "smidgen-pico") else 40) << 10, 20 << 10, 8 << 10
# The demo's arena.
arena = 6 << 10
# defmt's texts are in sections that are not loaded; `size` counts them, so sections are added here.
sections = subprocess.run(["arm-none-eabi-size", "-A", elf], capture_output=True, check=True, text=True).stdout
size = {}
for line in sections.splitlines():
    words = line.split()
    if len(words) == 3 and words[1].isdigit():
        size[words[0]] = int(words[1])
flash = sum(size.get(section, 0) for section in (".vector_table", ".boot2", ".text", ".rodata", ".data"))
code = flash - sum(Path(file).stat().st_size for file in files)
other = sum(size.get(section, 0) for section in (".data", ".bss", ".uninit")) - arena
print(f"RAN: {name}: code and tables {code} bytes of flash (of {FLASH}); RAM: arena {arena}, other {other} bytes (of {OTHER}) without the stack")
assert 0 < code <= FLASH and arena <= ARENA and 0 < other <= OTHER, (code, arena, other)
