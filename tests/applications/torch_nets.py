"""The released PyTorch networks once more: names, shapes, forward pass.

Written from the description of the releases in NumPy, images as
`(batch, channels, height, width)`; nothing of it comes from tfnas. A network
draws its weights while it runs for the first time, so that the state dict has
just the names that the forward pass uses.
"""

import ast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class TorchNet:
    """A network that makes up its state dict as it goes.

    Attributes:
        state: The state dict, as arrays of float32 and int64.
    """

    def __init__(self, eps, seed=0):
        self.eps, self.rng, self.state = eps, np.random.default_rng(seed), {}

    def _get(self, name, shape, low=-1.0, high=1.0):
        if name not in self.state:
            value = self.rng.uniform(low, high, shape)
            self.state[name] = value.astype(np.float32)
        assert self.state[name].shape == shape, name
        return self.state[name].astype(np.float64)

    def conv(self, name, x, out, k=1, stride=1, groups=1, bias=False):
        """`Conv2d` padded by `k // 2` on all sides."""
        inside = x.shape[1] // groups
        limit = np.sqrt(5 / (inside * k * k))
        kernel = self._get(
            f"{name}.weight", (out, inside, k, k), -limit, limit
        )
        pad = [(0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)]
        windows = sliding_window_view(np.pad(x, pad), (k, k), (2, 3))
        windows = windows[:, :, ::stride, ::stride]
        if groups == 1:
            y = np.tensordot(windows, kernel, ([1, 4, 5], [1, 2, 3]))
            y = np.moveaxis(y, -1, 1)
        else:
            assert groups == out == x.shape[1]
            y = np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
        if bias:
            y = y + self._get(f"{name}.bias", (out,))[:, None, None]
        return y

    def norm(self, name, x):
        """`BatchNorm2d` in inference."""
        shape = (x.shape[1],)
        scale = self._get(f"{name}.weight", shape, 0.8, 1.2)
        offset = self._get(f"{name}.bias", shape, -0.5, 0.5)
        mean = self._get(f"{name}.running_mean", shape, -0.3, 0.3)
        var = self._get(f"{name}.running_var", shape, 0.5, 1.5)
        self.state[f"{name}.num_batches_tracked"] = np.array(7)
        scale = scale / np.sqrt(var + self.eps)
        offset = offset - mean * scale
        return x * scale[:, None, None] + offset[:, None, None]

    def linear(self, name, x, out):
        """`Linear`."""
        limit = np.sqrt(3 / x.shape[1])
        kernel = self._get(
            f"{name}.weight", (out, x.shape[1]), -limit, limit
        )
        return x @ kernel.T + self._get(f"{name}.bias", (out,))


def relu(x):
    return np.maximum(x, 0)


def relu6(x):
    return np.clip(x, 0, 6)


def hard_sigmoid(x):
    return relu6(x + 3) / 6


def hard_swish(x):
    return x * hard_sigmoid(x)


def _mbconv(net, name, x, out, stride, op):
    k, e = (int(word[1:]) for word in op.split("_")[1:])
    width, y = x.shape[1] * e, x
    if e > 1:
        y = net.conv(f"{name}._expand_conv.0", y, width)
        y = relu6(net.norm(f"{name}._expand_conv.1", y))
    y = net.conv(f"{name}._depthwise_conv.0", y, width, k, stride, width)
    y = relu6(net.norm(f"{name}._depthwise_conv.1", y))
    y = net.conv(f"{name}._project_conv.0", y, out)
    y = net.norm(f"{name}._project_conv.1", y)
    return x + y if x.shape == y.shape else y


def _residual(net, name, x, out, stride, op):
    if op == "basic_block":
        steps = [(out, 3, stride), (out, 3, 1)]
    else:
        steps = [(out, 1, 1), (out, 3, stride), (4 * out, 1, 1)]
    y = x
    for i, (width, k, s) in enumerate(steps, 1):
        y = net.conv(f"{name}.conv{i}", y, width, k, s)
        y = net.norm(f"{name}.bn{i}", y)
        y = y if i == len(steps) else relu(y)
    if stride != 1 or x.shape[1] != y.shape[1]:
        x = net.conv(f"{name}.downsample.0", x, y.shape[1], 1, stride)
        x = net.norm(f"{name}.downsample.1", x)
    return relu(x + y)


def densenas(text, images, classes=1000, seed=0):
    """Runs a DenseNAS network.

    Args:
        text: Its net_config.
        images: `(batch, 3, height, width)`.
        classes: Width of the logits.
        seed: Of the weights.

    Returns:
        The state dict and the logits.
    """
    rows = [ast.literal_eval(row.strip()) for row in text.split("|")]
    net = TorchNet(1e-3 if rows[-1][1] == "conv1_1" else 1e-5, seed)
    x = net.conv("input_block.0", images, rows[0][0][0], 3, 2)
    x = relu6(net.norm("input_block.1", x))
    for r, row in enumerate(rows):
        if row[1] == "conv1_1":
            x = net.conv("conv1_1_block.conv1_1.0", x, row[0][1])
            x = relu6(net.norm("conv1_1_block.conv1_1.1", x))
            continue
        (_, out), head, stack, _, stride = row
        names = [f"blocks.{r}.head_layer"]
        names += [f"blocks.{r}.stack_layers.{s}" for s in range(len(stack))]
        for name, op in zip(names, [head, *stack], strict=True):
            block = _mbconv if op.startswith("mbconv") else _residual
            x = block(net, name, x, out, stride, op)
            stride = 1
    x = net.linear("classifier", x.mean((2, 3)), classes)
    return net.state, x


def ase_nas(text, images, classes=1000, seed=0):
    """Runs an ASE-NAS network of width 1.2.

    Args:
        text: Its depths, kernels and expansions, `"3,..:5,..:6,.."`.
        images: `(batch, 3, height, width)`.
        classes: Width of the logits.
        seed: Of the weights.

    Returns:
        The state dict and the logits.
    """
    depths, kernels, ratios = (
        [int(n) for n in part.split(",")] for part in text.split(":")
    )
    layers = [(24, 3, 1, 1, relu, False)]
    for unit, (out, stride, act, se) in enumerate(
        [
            (32, 2, relu, False), (48, 2, relu, True),
            (96, 2, hard_swish, False), (136, 1, hard_swish, True),
            (192, 2, hard_swish, True),
        ]
    ):
        for i in range(depths[unit]):
            slot = 4 * unit + i
            layers.append(
                (out, kernels[slot], ratios[slot], 1 if i else stride, act, se)
            )
    net = TorchNet(1e-5, seed)
    x = net.conv("first_conv.conv", images, 24, 3, 2)
    x = hard_swish(net.norm("first_conv.bn", x))
    for b, layer in enumerate(layers):
        x = _ase_nas_layer(net, f"blocks.{b}.mobile_inverted_conv", x, *layer)
    x = net.conv("final_expand_layer.conv", x, 1152)
    x = hard_swish(net.norm("final_expand_layer.bn", x))
    x = x.mean((2, 3), keepdims=True)
    x = hard_swish(net.conv("feature_mix_layer.conv", x, 1536))
    return net.state, net.linear("classifier.linear", x[:, :, 0, 0], classes)


def _ase_nas_layer(net, name, x, out, k, e, stride, act, se):
    width, y = x.shape[1] * e, x
    if e > 1:
        y = net.conv(f"{name}.inverted_bottleneck.conv", y, width)
        y = act(net.norm(f"{name}.inverted_bottleneck.bn", y))
    y = net.conv(f"{name}.depth_conv.conv", y, width, k, stride, width)
    y = act(net.norm(f"{name}.depth_conv.bn", y))
    if se:
        part = width // 4
        reduced = max(8, (part + 4) // 8 * 8)
        reduced += 8 * (reduced < 0.9 * part)
        z = y.mean((2, 3), keepdims=True)
        z = relu(net.conv(f"{name}.depth_conv.se.fc.reduce", z, reduced,
                          bias=True))
        z = net.conv(f"{name}.depth_conv.se.fc.expand", z, width, bias=True)
        y = y * hard_sigmoid(z)
    y = net.conv(f"{name}.point_linear.conv", y, out)
    y = net.norm(f"{name}.point_linear.bn", y)
    return x + y if x.shape == y.shape else y
