"""Signals from inside a Keras 3 model: layer norms, dead units, entropy of attention.

    watched = WatchedModel(model, norms=["dense_1"], dead=["relu"], attention=["attention"])
    answers, signals = watched.predict(batch)          # one {name: number} for each row of the batch
    publish({..., "signals": signals[0]})

A second model with the same layers, and so the same weights, answers and gives the outputs of the watched layers too;
the first one is not changed. It has to be a functional or sequential model. What its layers give is worked out by
`deploy/examples/activation_signals.py`, which has to lie beside this.

`MultiHeadAttention` tells its weights if it is called with `return_attention_scores=True`; then the layer has two
outputs.

Run by hand with Keras 3.15 on PyTorch; our tests have no Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from deploy.examples.activation_signals import Signals, attention_entropy, dead_share, layer_norm

__all__ = ["WatchedModel"]


class WatchedModel:
    """A model that answers with its signals.

    Args:
        model: functional or sequential, built; its layers go by their names.
        norms: layers whose outputs' norms are signals, `<name>_norm`.
        dead: layers behind which units may be dead, `<name>_dead`.
        attention: layers that give their weights as second output, `<name>_entropy`.
    """

    def __init__(
        self, model: Any, *, norms: Sequence[str] = (), dead: Sequence[str] = (), attention: Sequence[str] = ()
    ) -> None:
        self._names: list[tuple[str, Callable[[Any], Signals]]] = [
            *((f"{name}_norm", layer_norm) for name in norms),
            *((f"{name}_dead", dead_share) for name in dead),
            *((f"{name}_entropy", attention_entropy) for name in attention),
        ]
        outputs = [model.get_layer(name).output for name in (*norms, *dead)]
        outputs += [model.get_layer(name).output[1] for name in attention]
        inputs = model.inputs if len(model.inputs) > 1 else model.inputs[0]
        self._model = keras.Model(inputs, [model.outputs[0], *outputs])

    def predict(self, batch: Any) -> tuple[Any, list[dict[str, float]]]:
        """The answers to a batch, and the signals of each of its rows."""
        # Of one output alone Keras makes no list.
        answers, *outputs = keras.tree.flatten(self._model(batch, training=False))
        arrays = [keras.ops.convert_to_numpy(output) for output in outputs]
        found = {name: measure(array) for (name, measure), array in zip(self._names, arrays, strict=True)}
        rows = np.column_stack([*found.values()]).tolist() if found else [[] for _ in range(len(answers))]
        return answers, [dict(zip(found, row, strict=True)) for row in rows]
