"""A llama in plain PyTorch, to be trained: fused attention, RMS norm, rotary halves, SwiGLU, Hugging Face's names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LlamaShape:
    layers: int
    width: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    epsilon: float = 1e-5
    rotary_base: float = 10000.0


class Attention(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = shape.heads, shape.kv_heads, shape.width // shape.heads
        self.q_proj = nn.Linear(shape.width, shape.heads * self.head_size, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * self.head_size, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * self.head_size, bias=False)
        self.o_proj = nn.Linear(shape.heads * self.head_size, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q = self.q_proj(x).view(batch, tokens, self.heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(batch, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(batch, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        grouped = self.kv_heads != self.heads
        mixed = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=grouped
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class SwiGlu(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.mlp = SwiGlu(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)


class TrainableLlama(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        self.lm_head = None if shape.tied else nn.Linear(shape.width, shape.vocabulary, bias=False)

    def rotary(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [tokens, head size / 2], computed in f64."""
        size = self.shape.width // self.shape.heads
        frequencies = self.shape.rotary_base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = torch.arange(tokens, dtype=torch.float64)[:, None] * frequencies
        dtype = self.model.embed_tokens.weight.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens] to logits [batch, tokens, vocabulary]."""
        x = self.model.embed_tokens(tokens)
        cos, sin = self.rotary(tokens.shape[1])
        for block in self.model.layers:
            x = block(x, cos, sin)
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(self.model.norm(x), head.weight)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy over all tokens, in nats."""
        return F.cross_entropy(self(tokens).flatten(0, 1), targets.flatten())


def deviation(name: str, shape: LlamaShape, plain: float = 0.02) -> float | None:
    """Standard deviation of a fresh weight, or nothing for norms, which begin as ones."""
    if "norm" in name:
        return None
    residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    return plain / math.sqrt(2 * shape.layers) if residual else plain
