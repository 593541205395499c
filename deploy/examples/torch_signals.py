"""Signals from inside a PyTorch model, by forward hooks: layer norms, dead units, entropy of attention.

    hooks = SignalHooks(model, norms=["encoder.layer4"], dead=["head.relu"], attention=["encoder.attention"])
    with hooks, torch.inference_mode():
        answers = model(batch)
        signals = hooks.signals()          # one {name: number} for each row of the batch
    publish({..., "signals": signals[0]})

Nothing of the model is changed, and hooks leave with the `with`. What they keep is worked out by
`deploy/examples/activation_signals.py`, which has to lie beside this.

`nn.MultiheadAttention` tells its weights only if it is called with `need_weights=True`; with
`average_attn_weights=False` each head counts by itself. Fused kernels (`scaled_dot_product_attention`) and
`nn.TransformerEncoderLayer` ask for none.

Run by hand with PyTorch 2.15; our tests have no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import torch

from deploy.examples.activation_signals import Signals, attention_entropy, dead_share, layer_norm

__all__ = ["SignalHooks"]


class SignalHooks:
    """Watches some modules of a model while it answers.

    Args:
        model: any `torch.nn.Module`; its modules are named as `named_modules` names them.
        norms: modules whose outputs' norms are signals, `<name>_norm`; of several outputs the first's.
        dead: modules behind which units may be dead, `<name>_dead`: the ReLU, not the layer before it.
        attention: modules that return (output, weights), `<name>_entropy`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        norms: Sequence[str] = (),
        dead: Sequence[str] = (),
        attention: Sequence[str] = (),
    ) -> None:
        modules = dict(model.named_modules())
        self._watched: list[tuple[str, torch.nn.Module, Callable[[Any], Signals]]] = [
            *((f"{name}_norm", modules[name], lambda output: layer_norm(_array(output))) for name in norms),
            *((f"{name}_dead", modules[name], lambda output: dead_share(_array(output))) for name in dead),
            *(
                (f"{name}_entropy", modules[name], lambda output: attention_entropy(_weights(output)))
                for name in attention
            ),
        ]
        self._handles: list[Any] = []
        self._found: dict[str, Signals] = {}

    def __enter__(self) -> Self:
        for name, module, measure in self._watched:
            self._handles.append(module.register_forward_hook(self._hook(name, measure)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def signals(self) -> list[dict[str, float]]:
        """Of each row of the batch that was answered last. Call it once for each batch."""
        found, self._found = self._found, {}
        rows = zip(*(values.tolist() for values in found.values()), strict=True)
        return [dict(zip(found, row, strict=True)) for row in rows]

    def _hook(self, name: str, measure: Callable[[Any], Signals]) -> Callable[..., None]:
        def keep(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            self._found[name] = measure(output)

        return keep


def _array(output: Any) -> Any:
    tensor: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return tensor.detach().float().cpu().numpy()


def _weights(output: Any) -> Any:
    if not isinstance(output, tuple) or len(output) < 2 or output[1] is None:
        raise ValueError(
            "a module under `attention` gave no weights: call it with need_weights=True, or watch its norm"
        )
    return _array(output[1])
