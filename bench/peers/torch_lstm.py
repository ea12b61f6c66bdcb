"""What a small language model over PyTorch's nn.LSTM computes in float64: the values that
src/models/lstm/torch_values.json holds for the tests. Prints JSON.

    torch-venv/bin/python torch_lstm.py > ../../src/models/lstm/torch_values.json
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, nn

VOCABULARY, BATCH, TOKENS = 7, 2, 5
MODELS = {
    "tied": {"embedding": 3, "hidden": 3, "layers": 2, "tied": True},
    "untied": {"embedding": 2, "hidden": 4, "layers": 3, "tied": False},
}


def eighths(shape: tuple[int, ...], seed: int) -> Tensor:
    """Multiples of 1/8 in [-5/8, 5/8], so that every program has the same numbers."""
    count = torch.Size(shape).numel()
    values = [((7 * i + 3 * seed + i * i) % 11 - 5) / 8 for i in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


class LanguageModel(nn.Module):
    def __init__(self, embedding: int, hidden: int, layers: int, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, VOCABULARY)
        if tied:
            self.head.weight = self.embedding.weight
        self.double()
        with torch.no_grad():
            for seed, (_, weight) in enumerate(sorted(self.named_parameters())):
                weight.copy_(eighths(tuple(weight.shape), seed))

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, state = self.lstm(self.embedding(ids), state)
        return self.head(hidden), state


def tokens(offset: int) -> Tensor:
    return torch.tensor([[(3 * b + 2 * t + offset) % VOCABULARY for t in range(TOKENS)] for b in range(BATCH)])


def values(model: LanguageModel) -> dict[str, object]:
    """Of two windows, the second with the state behind the first; gradients are those of the first."""
    first, state = model(tokens(0), None)
    loss = nn.functional.cross_entropy(first.flatten(0, 1), tokens(1).flatten())
    loss.backward()
    second, _ = model(tokens(4), tuple(part.detach() for part in state))
    flat = {name: weight.grad.flatten().tolist() for name, weight in sorted(model.named_parameters())}
    return {
        "logits": first.flatten().tolist(),
        "loss": loss.item(),
        "hidden": state[0].flatten().tolist(),
        "cell": state[1].flatten().tolist(),
        "continued": second.flatten().tolist(),
        "gradients": flat,
    }


def main() -> None:
    found = {name: {"config": config, **values(LanguageModel(**config))} for name, config in MODELS.items()}
    json.dump(found, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
