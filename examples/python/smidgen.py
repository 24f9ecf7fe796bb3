"""libsmidgen from Python, by ctypes alone:  python3 smidgen.py MODEL.gguf TEXT TOKENS"""

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

lib = ctypes.CDLL(os.environ.get("SMIDGEN_LIBRARY", "libsmidgen.so.1"))
lib.smidgen_error_message.restype = c_char_p
lib.smidgen_abi_version.restype = c_uint32
TOKEN = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)
FRAMED, CONTROL = 1, 2


class Struct(ctypes.Structure):
    """A struct that begins with its size."""

    def __init__(self, **fields):
        super().__init__(ctypes.sizeof(self), **fields)


class GenerateParams(Struct):
    _fields_ = [("size", c_size_t), ("max_tokens", c_uint32), ("temperature", c_float), ("top_k", c_uint32),
                ("top_p", c_float), ("min_p", c_float), ("repetition_penalty", c_float),
                ("frequency_penalty", c_float), ("presence_penalty", c_float), ("penalty_window", c_uint32),
                ("flags", c_uint32), ("seed", c_uint64), ("stops", c_void_p), ("stop_count", c_size_t)]


class Error(Exception):
    pass


def check(status):
    if status:
        raise Error(lib.smidgen_error_message().decode())


class Handle:
    """What is closed at the end of its `with`."""

    def __init__(self, close):
        self.handle, self._close = c_void_p(), close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        check(self._close(self.handle))


class Model(Handle):
    def __init__(self, path):
        super().__init__(lib.smidgen_model_close)
        check(lib.smidgen_model_open_path(os.fsencode(path), None, byref(self.handle)))

    def tokenize(self, text, flags=FRAMED):
        data, count = text.encode(), c_size_t()
        tokens = (c_uint32 * (len(data) + 4))()
        check(lib.smidgen_tokenize(self.handle, data, c_size_t(len(data)), c_uint32(flags), tokens,
                                   c_size_t(len(tokens)), byref(count)))
        return tokens[:count.value]


class Session(Handle):
    def __init__(self, model):
        super().__init__(lib.smidgen_session_close)
        check(lib.smidgen_session_open(model.handle, None, byref(self.handle)))

    def generate(self, prompt, each, **params):
        """Calls `each` with pieces of text until it returns False."""
        raised = []

        def piece(_, text, length):
            try:
                return each(ctypes.string_at(text, length).decode()) is False
            except BaseException as error:  # It must not get into the library.
                raised.append(error)
                return 1

        tokens = (c_uint32 * len(prompt))(*prompt)
        status = lib.smidgen_generate(self.handle, tokens, c_size_t(len(prompt)), byref(GenerateParams(**params)),
                                      TOKEN(piece), None, None)
        if raised:
            raise raised[0]
        check(status)


if __name__ == "__main__":
    path, text, count = sys.argv[1:]
    with Model(path) as model, Session(model) as session:
        prompt = model.tokenize(text, FRAMED | CONTROL)
        session.generate(prompt, sys.stdout.write, max_tokens=int(count))
    sys.stdout.flush()
