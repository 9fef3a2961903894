"""K tensors of one shape as one tensor: what is computed with it is computed for each lane."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


class Lanes(Tensor):
    """`stacked` is (K, …); shape, dimensions and arguments of an operation are those of one lane.

    So objectives and networks that are written for one run compute K at once. As under
    `torch.func.vmap`, which computes most operations here; unlike there, a function may call
    `torch.autograd.grad` and `requires_grad_`, as penalties of a gradient do. A tensor that is none
    of Lanes is the same one in all of them.

    Images lie in memory as (N, H, W, K, C): a convolution is then one grouped convolution, without
    a copy.
    """

    stacked: Tensor

    @staticmethod
    def __new__(cls, stacked: Tensor) -> "Lanes":
        return Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, stacked.shape[1:], dtype=stacked.dtype, device=stacked.device
        )

    def __init__(self, stacked: Tensor):
        self.stacked = stacked

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        raise TypeError(f"{func} reached lanes without passing through torch's functions")

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        if func in _OF_ONE or name in _OF_ONE_BY_NAME:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        own = _OWN.get(func, _OWN_BY_NAME.get(name))
        if own is not None:
            return own(*args, **kwargs)
        if name in _ELEMENTWISE and not kwargs.get("out"):
            return _elementwise(func, args, kwargs)
        if name in _REDUCTIONS and isinstance(args[0], Lanes) and "dtype" not in kwargs:
            return _reduction(func, *args, **kwargs)
        return _mapped(func, args, kwargs)

    def __bool__(self) -> bool:
        """The answer on which all lanes agree."""
        answers = set(self.stacked.bool().flatten().tolist())
        if len(answers) != 1:
            raise ValueError("lanes differ where an objective asks for one answer for all of them")
        return answers.pop()


def _mapped(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Any operation, by torch's own rules for a batch of them."""
    leaves, form = tree_flatten((tuple(args), kwargs))
    lanes = [leaf.stacked for leaf in leaves if isinstance(leaf, Lanes)]

    def one(*parts: Tensor) -> Any:
        left = iter(parts)
        whole = [next(left) if isinstance(leaf, Lanes) else leaf for leaf in leaves]
        inner_args, inner_kwargs = tree_unflatten(whole, form)
        return func(*inner_args, **inner_kwargs)

    found = vmap(one, randomness="error")(*lanes)
    return tree_map(lambda leaf: Lanes(leaf) if isinstance(leaf, Tensor) else leaf, found)


def _elementwise(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> "Lanes":
    """An operation on each element: on all lanes at once, their own dimensions on the right."""
    most = max(arg.dim() for arg in args if isinstance(arg, Tensor))

    def aligned(arg: Any) -> Any:
        if not isinstance(arg, Lanes):
            return arg
        stacked, missing = arg.stacked, most - arg.dim()
        return stacked[(slice(None), *[None] * missing)] if missing else stacked

    return Lanes(func(*map(aligned, args), **kwargs))


def _reduction(
    func: Callable[..., Any], lanes: "Lanes", dim: Any = None, *args: Any, **kwargs: Any
) -> "Lanes":
    """Over dimensions of one lane, or over all of them: never over lanes."""
    given = range(lanes.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [number % lanes.dim() + 1 for number in given]
    return Lanes(func(lanes.stacked, dims, *args, **kwargs) if dims else lanes.stacked)


def folded(images: Tensor) -> Tensor:
    """(K, N, C, …) to (N, K·C, …): a view where images lie in memory as they should."""
    return images.movedim(0, 1).flatten(1, 2)


def unfolded(images: Tensor, lanes: int) -> Tensor:
    """The inverse of `folded`."""
    return images.unflatten(1, (lanes, -1)).movedim(1, 0)


def _kernels(weight: Tensor) -> Tensor:
    """(K, O, I, h, w) to (K·O, I, h, w) channels last, as they lie already after a product."""
    if weight.stride(0) == weight.shape[1] * weight.stride(1):
        return weight.flatten(0, 1)
    return weight.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)


def _convolution(function: Callable[..., Tensor], transposed: bool) -> Callable[..., Any]:
    def run(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        *rest: Any,
        **options: Any,
    ) -> Any:
        # what comes after the padding: dilation and groups, or an output padding before them
        plain = (0, 1, 1) if transposed else (1, 1)
        usual = all(one in (usual, (usual, usual)) for one, usual in zip(rest, plain, strict=False))
        if not isinstance(weight, Lanes) or options or not usual or isinstance(padding, str):
            return _mapped(function, (input, weight, bias, stride, padding, *rest), options)
        if transposed and input.shape[2:] == (1, 1) and bias is None and padding in (0, (0, 0)):
            return _product(input, weight)
        lanes = len(weight.stacked)
        shared = not isinstance(input, Lanes)
        images = input if shared else folded(input.stacked)
        groups = lanes
        if shared and transposed:
            images = images.repeat(1, lanes, 1, 1)
        elif shared:
            groups = 1
        offsets = bias.stacked.flatten() if isinstance(bias, Lanes) else None
        options = {"stride": stride, "padding": padding, "groups": groups}
        found = function(images, _kernels(weight.stacked), offsets, **options)
        return Lanes(unfolded(found, lanes))

    return run


def _product(input: Tensor, weight: "Lanes") -> "Lanes":
    """The transposed convolution of one pixel, (N, I, 1, 1): a matrix product, (N, O, h, w)."""
    pixels = input.stacked if isinstance(input, Lanes) else input
    found = pixels.flatten(-3) @ weight.stacked.flatten(2)
    return Lanes(found.unflatten(2, weight.shape[1:]))


def _by_image(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """An operation on each channel of each image by itself."""

    def run(input: "Lanes", *args: Any, **kwargs: Any) -> "Lanes":
        found = function(folded(input.stacked), *args, **kwargs)
        return Lanes(unfolded(found, len(input.stacked)))

    return run


def _all_stacked(*tensors: Tensor | None) -> list[Tensor] | None:
    """What each of them holds where all are of lanes, else None."""
    found = [tensor.stacked for tensor in tensors if isinstance(tensor, Lanes)]
    return found if len(found) == len(tensors) else None


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *options: Any,
    **named: Any,
) -> Any:
    """Of each channel over its images: channels of all lanes next to each other."""
    given = (input, running_mean, running_var, weight, bias)
    found = _all_stacked(*given)
    if found is None:
        return _mapped(F.batch_norm, (*given, *options), named)
    images, *rest = found
    normal: Callable[..., Tensor] = F.batch_norm
    made = normal(folded(images), *(one.flatten() for one in rest), *options, **named)
    return Lanes(unfolded(made, len(images)))


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *options: Any,
    **named: Any,
) -> Any:
    found = _all_stacked(input, weight, bias)
    if found is None or running_mean is not None:
        given = (input, running_mean, running_var, weight, bias, *options)
        return _mapped(F.instance_norm, given, named)
    images, scale, shift = found
    normal: Callable[..., Tensor] = F.instance_norm
    flat = (None, None, scale.flatten(), shift.flatten())
    return Lanes(unfolded(normal(folded(images), *flat, *options, **named), len(images)))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    found = _all_stacked(input, weight, bias)
    if found is None or input.dim() != 2:
        return _mapped(F.linear, (input, weight, bias), {})
    features, weights, offsets = found
    return Lanes(torch.baddbmm(offsets[:, None], features, weights.mT))


def _gradient(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Any = None, **options: Any
) -> tuple["Lanes", ...]:
    """That of every lane's output by its own input, or by one that lanes have in common."""
    (output,), (by,) = outputs, inputs
    if not isinstance(output, Lanes) or output.dim() or grad_outputs is not None:
        raise TypeError("lanes: a gradient is that of one number of each lane by one tensor")
    if isinstance(by, Lanes):
        # lanes share nothing, so the gradient of the sum
        (found,) = torch.autograd.grad(output.stacked.sum(), by.stacked, **options)
    else:
        each = torch.eye(len(output.stacked), dtype=output.dtype)
        options = options | {"grad_outputs": each, "is_grads_batched": True}
        (found,) = torch.autograd.grad(output.stacked, by, **options)
    return (Lanes(found),)


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    like = [arg.stacked if isinstance(arg, Lanes) else arg for arg in args]
    inner: Any = tensor.stacked if isinstance(tensor, Lanes) else tensor
    found: Tensor = inner.to(*like, **kwargs)
    return Lanes(found) if isinstance(tensor, Lanes) else found


def _requires_grad_(lanes: "Lanes", wanted: bool = True) -> "Lanes":
    lanes.stacked.requires_grad_(wanted)
    return lanes


#: answered by the shape and kind of one lane
_OF_ONE: set[Any] = {
    getattr(Tensor, name).__get__
    for name in ("shape", "dtype", "device", "ndim", "layout", "is_cuda")
}
_OF_ONE_BY_NAME = {"dim", "size", "numel", "__len__", "is_floating_point", "nelement"}
_ELEMENTWISE = {
    "add", "sub", "mul", "div", "true_divide", "__add__", "__radd__", "__sub__", "__rsub__", "rsub",
    "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "neg", "__neg__", "abs", "square", "sqrt",
    "rsqrt", "exp", "log", "tanh", "sigmoid", "relu", "leaky_relu", "softplus", "clamp",
    "clamp_min", "eq", "__eq__", "ne", "__ne__", "gt", "__gt__", "lt", "__lt__", "float",
    "detach",
}  # fmt: skip
_REDUCTIONS = {"mean", "sum", "var"}
_OWN: dict[Any, Callable[..., Any]] = {
    F.conv2d: _convolution(F.conv2d, transposed=False),
    F.conv_transpose2d: _convolution(F.conv_transpose2d, transposed=True),
    F.avg_pool2d: _by_image(F.avg_pool2d),
    F.interpolate: _by_image(F.interpolate),
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.linear: _linear,
    torch.autograd.grad: _gradient,
}
_OWN_BY_NAME: dict[str, Callable[..., Any]] = {
    "requires_grad_": _requires_grad_,
    "to": _to,
    "__bool__": Lanes.__bool__,
}
