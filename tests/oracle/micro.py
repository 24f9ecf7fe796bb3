"""Small int8 networks of seeded shapes, with what TensorFlow Lite Micro's reference kernels (PyPI tflite-micro) answer.

Writes to stdout, for each network: `operator refused|taken length-of-file length-of-inputs length-of-outputs`, a newline, the .tflite file,
inputs one after another, outputs. What a network is refused for is `REFUSED` below; those have no inputs. Without the package: nothing.
"""

import math
import sys

try:
    import flatbuffers
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as tfl
except ImportError as error:
    print(f"ABSENT: {error}", file=sys.stderr)
    sys.exit(0)

INPUTS = 3
SAME, VALID = 0, 1
KINDS = {"int8": (9, np.int8), "uint8": (3, np.uint8), "int32": (2, np.int32)}


class Network:
    """A graph in the making, and the random numbers that it is made of."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.tensors, self.buffers, self.codes, self.operators = [], [tfl.BufferT()], [], []

    def int(self, low, high):
        return int(self.random.integers(low, high + 1))

    def pick(self, *choices):
        return choices[self.int(0, len(choices) - 1)]

    def scale(self, low=0.003, high=0.3):
        return float(np.float32(math.exp(self.random.uniform(math.log(low), math.log(high)))))

    def tensor(self, shape, scale=None, zero=0, kind="int8", data=None, axis=0):
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.tensors)}", list(shape), KINDS[kind][0]
        if scale is not None:
            tensor.quantization = tfl.QuantizationParametersT()
            scales = [scale] if isinstance(scale, float) else list(scale)
            tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [zero] * len(scales)
            tensor.quantization.quantizedDimension = axis
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, KINDS[kind][1]).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def ints(self, values):
        return self.tensor(np.shape(values), kind="int32", data=values)

    def any(self, shape, **options):
        """A tensor of random scale and zero point."""
        return self.tensor(shape, self.scale(), self.int(-128, 127), **options)

    def like(self, shape, other):
        """A tensor with another one's scale and zero point."""
        of = self.tensors[other]
        kind = next(kind for kind, (number, _) in KINDS.items() if number == of.type)
        return self.tensor(shape, of.quantization.scale[0], of.quantization.zeroPoint[0], kind)

    def shape(self, tensor):
        return self.tensors[tensor].shape

    def step(self, tensor):
        return self.tensors[tensor].quantization.scale[0]

    def op(self, name, inputs, outputs, options=None, **fields):
        code = getattr(tfl.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        operator = tfl.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs = inputs
        operator.outputs = outputs if isinstance(outputs, list) else [outputs]
        if options:
            operator.builtinOptionsType = getattr(tfl.BuiltinOptions, options)
            operator.builtinOptions = getattr(tfl, options + "T")()
            for field, value in fields.items():
                assert hasattr(operator.builtinOptions, field), field
                setattr(operator.builtinOptions, field, value)
        self.operators.append(operator)
        return outputs

    def file(self, first, last):
        graph, model = tfl.SubGraphT(), tfl.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [first], [last]
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = []
        for number in self.codes:
            code = tfl.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def weighted(self, source, shape, count, axis, bias=True):
        """Weights of `shape` with `count` products in a sum, biases, and the scale of a result that uses the range."""
        channels = shape[axis]
        most = self.pick(127, 127, 127, 2)
        weights = self.random.integers(-most, most + 1, shape)
        per_channel = self.pick(True, True, False)
        scales = [self.scale(0.001, 0.02) for _ in range(channels)] if per_channel else [self.scale(0.001, 0.02)]
        deviation = 74 * most / math.sqrt(3) * math.sqrt(count)
        out = float(np.float32(self.step(source) * np.mean(scales) * deviation / self.pick(20, 50, 50, 100)))
        inputs = [source, self.tensor(shape, scales, data=weights, axis=axis)]
        if bias:
            biases = self.random.normal(0, deviation, channels).astype(np.int32)
            products = [self.step(source) * scale for scale in scales]
            inputs.append(self.tensor([channels], products, kind="int32", data=biases))
        return inputs, out

    def window(self, inner, taps, stride, dilation, padding):
        span = (taps - 1) * dilation + 1
        return -(-inner // stride) if padding == SAME else -(-(inner - span + 1) // stride)

    def conv(self, source, depthwise=False, multiplier=1, plain=False):
        _, rows, columns, channels = self.shape(source)
        padding, act = self.pick(SAME, SAME, VALID), self.pick(0, 0, 1, 2, 3)
        height, width = (min(self.int(1, 4), size) for size in (rows, columns))
        strides, dilations = [self.int(1, 3), self.int(1, 3)], [1, 1]
        if self.pick(True, False) and not plain:
            strides, dilations = [1, 1], [self.int(1, 3), self.int(1, 3)]
        fits = (height - 1) * dilations[0] < rows and (width - 1) * dilations[1] < columns
        padding = padding if fits else SAME
        outputs = channels * multiplier if depthwise else self.int(1, 9)
        shape = [1, height, width, outputs] if depthwise else [outputs, height, width, channels]
        count = height * width * (1 if depthwise else channels)
        inputs, scale = self.weighted(source, shape, count, 3 if depthwise else 0)
        out = [1, self.window(rows, height, strides[0], dilations[0], padding),
               self.window(columns, width, strides[1], dilations[1], padding), outputs]
        out = self.tensor(out, scale, self.pick(self.int(-128, 127), -128, 0))
        fields = dict(padding=padding, strideH=strides[0], strideW=strides[1], dilationHFactor=dilations[0],
                      dilationWFactor=dilations[1], fusedActivationFunction=act)
        if depthwise:
            return self.op("DEPTHWISE_CONV_2D", inputs, out, "DepthwiseConv2DOptions", depthMultiplier=multiplier, **fields)
        return self.op("CONV_2D", inputs, out, "Conv2DOptions", **fields)

    def dense(self, source, outputs, **fields):
        count = self.shape(source)[-1]
        inputs, scale = self.weighted(source, [outputs, count], count, 0, self.pick(True, True, False))
        out = self.tensor(self.shape(source)[:-1] + [outputs], scale, self.int(-128, 127))
        if len(inputs) == 2:
            inputs.append(-1)
        return self.op("FULLY_CONNECTED", inputs, out, "FullyConnectedOptions", **fields)

    def image(self, least=1):
        return [1, self.int(least, 9), self.int(least, 9), self.int(1, 9)]

    def add(self, a, b, **fields):
        out = self.any(self.shape(a))
        return self.op("ADD", [a, b], out, "AddOptions", fusedActivationFunction=self.pick(0, 0, 1, 2, 3), **fields)

    def relu(self, source, name="RELU"):
        return self.op(name, [source], self.like(self.shape(source), source))

    def concat(self, parts, axis, like=None):
        shape = list(self.shape(parts[0]))
        shape[axis] = sum(self.shape(part)[axis] for part in parts)
        out = self.like(shape, parts[0])
        axis = self.pick(axis, axis - len(shape))
        return self.op("CONCATENATION", parts, out, "ConcatenationOptions", axis=axis)

    def split(self, source, axis, count):
        """Parts of equal sizes or of any."""
        shape = self.shape(source)
        shaped = lambda size: self.like(shape[:axis] + [size] + shape[axis + 1 :], source)
        named = self.ints(self.pick(axis, axis - len(shape)))
        if shape[axis] % count == 0 and self.pick(True, False):
            parts = [shaped(shape[axis] // count) for _ in range(count)]
            return self.op("SPLIT", [named, source], parts, "SplitOptions", numSplits=count)
        cuts = sorted(self.random.choice(np.arange(1, shape[axis]), count - 1, replace=False).tolist())
        sizes = [b - a for a, b in zip([0, *cuts], [*cuts, shape[axis]])]
        parts = [shaped(size) for size in sizes]
        return self.op("SPLIT_V", [source, self.ints(sizes), named], parts, "SplitVOptions", numSplits=count)


def conv_2d(net):
    first = net.any(net.image())
    return first, net.conv(first)


def depthwise_conv_2d(net):
    first = net.any(net.image())
    return first, net.conv(first, depthwise=True)


def depthwise_from_one(net):
    first = net.any([1, net.int(1, 9), net.int(1, 9), 1])
    return first, net.conv(first, depthwise=True, multiplier=net.int(2, 9))


def convs_with_one_input(net):
    """Several borders around one tensor."""
    first = net.any([1, net.int(5, 9), net.int(5, 9), net.int(1, 5)])
    middle = net.relu(first)
    a, b = net.conv(middle, plain=True), net.conv(middle, depthwise=True, plain=True)
    flat = lambda t: net.op("RESHAPE", [t, net.ints([1, -1])], net.like([1, math.prod(net.shape(t))], t))
    units = net.int(1, 5)
    return first, net.add(net.dense(flat(a), units), net.dense(flat(b), units))


def fully_connected(net):
    first = net.any([net.pick(1, 1, net.int(2, 5)), net.int(1, 70)])
    return first, net.dense(first, net.int(1, 9), fusedActivationFunction=net.pick(0, 0, 1, 2, 3))


def fully_connected_rows(net):
    first = net.any([1, net.int(1, 4), net.int(1, 20)])
    return first, net.dense(first, net.int(1, 9), keepNumDims=True)


def pool(net, name):
    first = net.any(net.image(2))
    _, rows, columns, channels = net.shape(first)
    height, width, strides, padding = net.int(1, rows), net.int(1, columns), [net.int(1, 4), net.int(1, 4)], net.pick(SAME, VALID)
    out = [1, net.window(rows, height, strides[0], 1, padding), net.window(columns, width, strides[1], 1, padding), channels]
    net.op(name, [first], net.like(out, first), "Pool2DOptions", padding=padding, filterHeight=height, filterWidth=width,
           strideH=strides[0], strideW=strides[1], fusedActivationFunction=net.pick(0, 0, 1, 2, 3))
    return first, net.operators[-1].outputs[0]


def average_pool_2d(net):
    return pool(net, "AVERAGE_POOL_2D")


def max_pool_2d(net):
    return pool(net, "MAX_POOL_2D")


def mean(net):
    shape = net.pick(net.image(), [1, net.int(2, 40), net.int(2, 40), net.int(1, 5)])
    first, keep = net.any(shape), net.pick(True, False)
    out = [1, 1, 1, shape[3]] if keep else [1, shape[3]]
    out = net.tensor(out, net.step(first) * net.pick(1.0, 1.0, 0.3, 0.8, 1.7), net.int(-128, 127))
    axes = net.pick([1, 2], [2, 1], [-3, -2])
    return first, net.op("MEAN", [first, net.ints(axes)], out, "ReducerOptions", keepDims=keep)


def add(net):
    shape = net.pick(net.image(), [1, net.int(1, 30)], [1, net.int(1, 5), net.int(1, 9)])
    first = net.any(shape)
    other = net.op("QUANTIZE", [first], net.tensor(shape, net.step(first) * net.scale(0.3, 3), net.int(-128, 127)))
    return first, net.add(*net.pick([first, other], [other, first], [first, first]))


def softmax(net):
    shape = net.pick([1, net.int(1, 40)], [net.int(2, 5), net.int(2, 9)], [1, net.int(1, 3), net.int(1, 3), net.int(2, 9)])
    first = net.tensor(shape, net.scale(0.003, 2), net.int(-128, 127))
    out = net.tensor(shape, 1 / 256, -128)
    return first, net.op("SOFTMAX", [first], out, "SoftmaxOptions", beta=net.pick(1.0, 1.0, 0.25, 2.0))


def every_byte(net, name, out_scale=None, out_zero=None):
    first = net.tensor([1, 256], net.scale(0.0005, 1), net.int(-128, 127))
    out = net.tensor([1, 256], out_scale or net.step(first) * net.scale(0.2, 4), net.int(-128, 127) if out_zero is None else out_zero)
    return first, net.op(name, [first], out)


def logistic(net):
    return every_byte(net, "LOGISTIC", 1 / 256, -128)


def relu(net):
    return every_byte(net, "RELU")


def relu6(net):
    first = net.tensor([1, 256], net.scale(0.01, 0.2), net.int(-128, 127))
    return first, net.relu(first, "RELU6")


def quantize(net):
    return every_byte(net, "QUANTIZE")


def quantize_signs(net):
    first = net.tensor([1, 256], net.scale(), net.int(-128, 127))
    out = net.tensor([1, 256], net.step(first) * net.scale(0.2, 4), net.int(0, 255), "uint8")
    return first, net.op("QUANTIZE", [first], out)


def quantize_unsigned(net):
    first = net.tensor([1, 256], net.scale(), net.int(0, 255), "uint8")
    out = net.tensor([1, 256], net.step(first) * net.scale(0.2, 4), net.int(-128, 127))
    return first, net.op("QUANTIZE", [first], out)


def concatenation(net):
    """Tensors that are computed, that are used elsewhere too, and inputs."""
    first = net.any(net.image())
    parts = [net.pick(net.relu, lambda t: net.relu(t, "RELU6"), lambda t: t)(first) for _ in range(net.int(2, 4))]
    return first, net.concat(parts, net.int(1, 3))


def split(net):
    """Parts in another order, some of them changed."""
    first, axis = net.any(net.image(4)[:3] + [net.int(4, 9)]), net.int(1, 3)
    parts = net.split(first, axis, net.int(2, 4))
    parts = [net.pick(net.relu, lambda t: t)(part) for part in parts]
    return first, net.concat([parts[i] for i in net.random.permutation(len(parts))], axis)


def split_convs(net):
    """Convolutions of views."""
    first = net.any([1, net.int(2, 6), net.int(2, 6), net.int(4, 9)])
    a, b = net.split(first, 3, 2)
    parts = [net.conv(part, depthwise=net.pick(True, False), plain=True) for part in (a, b)]
    flat = [net.op("RESHAPE", [t, net.ints([1, -1])], net.like([1, math.prod(net.shape(t))], t)) for t in parts]
    scale, zero = net.scale(), net.int(-128, 127)
    return first, net.concat([net.op("QUANTIZE", [t], net.tensor(net.shape(t), scale, zero)) for t in flat], 1)


def sliced(net, name):
    first = net.any(net.image(2))
    shape = net.shape(first)
    begins = [0, *(net.int(0, size - 1) for size in shape[1:])]
    sizes = [net.int(1, size - begin) for begin, size in zip(begins, shape)]
    out = net.like(sizes, first)
    if name == "SLICE":
        given = [net.pick(size, -1) if begin + size == whole else size for begin, size, whole in zip(begins, sizes, shape)]
        net.op(name, [first, net.ints(begins), net.ints(given)], out, "SliceOptions")
    else:
        ends = [begin + size for begin, size in zip(begins, sizes)]
        masks = dict(beginMask=sum((b == 0 and net.int(0, 1)) << i for i, b in enumerate(begins)),
                     endMask=sum((e == w and net.int(0, 1)) << i for i, (e, w) in enumerate(zip(ends, shape))))
        begins = [net.pick(begin, begin - whole) for begin, whole in zip(begins, shape)]
        ends = [end if end == whole else net.pick(end, end - whole) for end, whole in zip(ends, shape)]
        net.op(name, [first, *map(net.ints, (begins, ends, [1] * 4))], out, "StridedSliceOptions", **masks)
    return first, net.relu(out) if net.pick(True, False) else net.conv(out)


def slice_(net):
    return sliced(net, "SLICE")


def strided_slice(net):
    return sliced(net, "STRIDED_SLICE")


def pad(net):
    first = net.any(net.image())
    pads = [[0, 0], *([net.int(0, 3), net.int(0, 3)] for _ in range(3))]
    out = net.like([size + sum(pad) for size, pad in zip(net.shape(first), pads)], first)
    net.op("PAD", [first, net.ints(pads)], out, "PadOptions")
    return first, net.conv(out) if net.pick(True, False) else out


def reshape(net):
    """Shapes that change between convolutions."""
    first = net.any([1, 4, 6, net.int(1, 4)])
    channels = net.shape(first)[3]
    kinds = {"RESHAPE": [1, 6, 4, channels], "SQUEEZE": [4, 6, channels], "EXPAND_DIMS": [1, 4, 1, 6, channels]}
    kind = net.pick(*kinds)
    shape = kinds[kind]
    middle = net.like(shape, first)
    if kind == "RESHAPE":
        net.op(kind, [first, net.ints(shape)], middle, "ReshapeOptions", newShape=shape)
        return first, net.conv(middle)
    if kind == "SQUEEZE":
        net.op(kind, [first], middle, "SqueezeOptions", squeezeDims=[0])
    else:
        net.op(kind, [first, net.ints(2)], middle, "ExpandDimsOptions")
    back = net.like([1, 4, 6, channels], first)
    net.op("RESHAPE", [middle, net.ints([1, 4, 6, channels])], back, "ReshapeOptions", newShape=[1, 4, 6, channels])
    return first, net.conv(back)


def residual(net):
    """A small network of all that is common."""
    first = net.any([1, net.int(6, 9), net.int(6, 9), 3])
    left = net.conv(first, plain=True)
    right = net.relu(left)
    joined = net.add(left, right)
    wide = net.concat([joined, joined], 3)
    deep = net.conv(wide, depthwise=True)
    out = net.tensor([1, net.shape(deep)[3]], net.step(deep), net.int(-128, 127))
    net.op("MEAN", [deep, net.ints([1, 2])], out, "ReducerOptions")
    scores = net.dense(out, 5)
    return first, net.op("SOFTMAX", [scores], net.tensor([1, 5], 1 / 256, -128), "SoftmaxOptions", beta=1.0)


def add_broadcast(net):
    first = net.any([1, 3, 4, 5])
    other = net.op("MEAN", [first, net.ints([1, 2])], net.like([1, 1, 1, 5], first), "ReducerOptions", keepDims=True)
    return first, net.add(first, other)


def concatenation_of_scales(net):
    first = net.any([1, 3, 4, 5])
    return first, net.concat([first, net.op("QUANTIZE", [first], net.any([1, 3, 4, 5]))], 3)


def depthwise_multiplied(net):
    first = net.any([1, 5, 5, 3])
    return first, net.conv(first, depthwise=True, multiplier=2)


def strided_slice_of_steps(net):
    first = net.any([1, 6, 4, 5])
    out = net.like([1, 3, 4, 5], first)
    words = [net.ints(words) for words in ([0, 0, 0, 0], [1, 6, 4, 5], [1, 2, 1, 1])]
    return first, net.op("STRIDED_SLICE", [first, *words], out, "StridedSliceOptions")


def grouped(net):
    first = net.any([1, 5, 5, 4])
    inputs, scale = net.weighted(first, [6, 3, 3, 2], 18, 0)
    out = net.tensor([1, 3, 3, 6], scale, 0)
    return first, net.op("CONV_2D", inputs, out, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)


TAKEN = {
    conv_2d: 80, depthwise_conv_2d: 80, depthwise_from_one: 30, convs_with_one_input: 30, fully_connected: 40,
    fully_connected_rows: 15, average_pool_2d: 60, max_pool_2d: 60, mean: 60, add: 50, softmax: 50, logistic: 60, relu: 40,
    relu6: 20, quantize: 40, quantize_signs: 20, quantize_unsigned: 20, concatenation: 40, split: 40, split_convs: 30, slice_: 40,
    strided_slice: 40, pad: 40, reshape: 20, residual: 20,
}
REFUSED = [add_broadcast, concatenation_of_scales, depthwise_multiplied, strided_slice_of_steps, grouped]


def answers(net, file, first, last):
    number, kind = next(of for of in KINDS.values() if of[0] == net.tensors[first].type)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    shape = net.shape(first)
    interpreter = runtime.Interpreter.from_bytes(file, arena_size=1 << 20)
    inputs, outputs = b"", b""
    for i in range(INPUTS):
        values = net.random.integers(low, high + 1, shape)
        if i == 0 and math.prod(shape) == 256:
            values = np.arange(low, high + 1).reshape(shape)
        values = values.astype(kind)
        interpreter.set_input(values, 0)
        interpreter.invoke()
        inputs, outputs = inputs + values.tobytes(), outputs + interpreter.get_output(0).tobytes()
    return inputs, outputs


def main():
    for make, count in (*TAKEN.items(), *((make, 1) for make in REFUSED)):
        for seed in range(count):
            net = Network([seed, *make.__name__.encode()])
            first, last = make(net)
            file = net.file(first, last)
            refused = make in REFUSED
            inputs, outputs = (b"", b"") if refused else answers(net, file, first, last)
            head = f"{make.__name__.strip('_')} {'refused' if refused else 'taken'} {len(file)} {len(inputs)} {len(outputs)}\n"
            sys.stdout.buffer.write(head.encode() + file + inputs + outputs)


main()
