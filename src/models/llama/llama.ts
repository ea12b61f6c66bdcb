/** The llama family: its stages, sites, embedding and head over any store of weights. */
import { Linear } from '../../nn/linear.ts'
import { type Sites, visit } from '../../nn/sites.ts'
import { type ProductActivations, packedSource } from '../../nn/values/packed_product.ts'
import { residentSource } from '../../nn/values/resident_source.ts'
import { denseSource, type WeightSource } from '../../nn/weight_source.ts'
import type { ForwardPass } from '../../optim/training_task.ts'
import { FormatError } from '../../tensor/errors.ts'
import { concat, type DType, linear, rmsNorm, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { evenBlocks } from '../even_blocks.ts'
import type { HeadOptions, LanguageHead, LanguageModel } from '../language_model.ts'
import type { ModelWeights } from '../model_weights.ts'
import { type KeyValueCache, runStage, type Stage, type StageContext, type StagePlan } from '../stage.ts'
import { checkWeightShape } from '../weight_shape.ts'
import { weightsIn } from '../weights_in.ts'
import { LlamaBlock } from './block.ts'
import type { LlamaConfig } from './config.ts'
import { blockMatrices, blockName, embeddingName, finalNormName, headName } from './names.ts'
import { rotaryTables } from './rotary_tables.ts'
import { weightShapes } from './weight_shapes.ts'

export interface ForwardOptions {
  at?: Sites
  /** Added to the scores of every block; stretches to [batch, heads, queries, keys]. */
  bias?: Tensor
  /** Position of each token. @default past length, past length + 1, ... */
  positions?: readonly number[]
  /** Input embeddings [.., tokens, hidden] in place of token ids. */
  embeddings?: Tensor
  cache?: KeyValueCache
}

export class Llama implements LanguageModel {
  readonly config: LlamaConfig
  readonly weights: ModelWeights
  readonly stages: readonly StagePlan[]
  private readonly packed: ProductActivations | undefined

  /** @param packed keeps matrices on grids and in blocks packed; products read their codes @default all in floats */
  constructor(config: LlamaConfig, weights: ModelWeights, packed?: ProductActivations) {
    this.config = config
    this.weights = weights
    this.packed = packed
    checkShapes(config, weights)
    this.stages = config.layers.map((_, block) => ({
      name: `block.${block}`,
      weights: blockMatrices.map((part) => blockName(block, part)),
      load: () => this.loadBlock(block),
    }))
  }

  /** Every site of the family, in the order that a forward visits them. */
  sites(): string[] {
    return ['embedding', ...this.config.layers.flatMap((_, i) => LlamaBlock.sites(i)), 'norm', 'logits']
  }

  /** Token ids -> embeddings [ids.length, hidden]. */
  embed(ids: Uint32Array): Tensor {
    return this.weights.rows(embeddingName, ids)
  }

  private loadBlock(block: number): Stage {
    const linear = (part: (typeof blockMatrices)[number], bias = false) =>
      new Linear(
        blockName(block, part),
        this.matrix(blockName(block, part)),
        bias ? this.weights.load(blockName(block, part, 'bias')) : undefined,
      )
    const { attentionBias } = this.config
    return new LlamaBlock(this.config, block, {
      attentionNorm: this.weights.load(blockName(block, 'input_layernorm')),
      mlpNorm: this.weights.load(blockName(block, 'post_attention_layernorm')),
      q: linear('self_attn.q_proj', attentionBias),
      k: linear('self_attn.k_proj', attentionBias),
      v: linear('self_attn.v_proj', attentionBias),
      o: linear('self_attn.o_proj', this.weights.infos.has(blockName(block, 'self_attn.o_proj', 'bias'))),
      gate: linear('mlp.gate_proj'),
      up: linear('mlp.up_proj'),
      down: linear('mlp.down_proj'),
    })
  }

  private matrix(name: string): WeightSource {
    // Codes that were put together anew go before the next matrix is loaded.
    const source = scope(() => {
      const values = this.packed && this.weights.stored?.(name)
      if (!values) return undefined
      return values.kind === 'blocks' || values.kind === 'grid'
        ? packedSource(values, this.packed)
        : residentSource(values, this.packed)
    })
    return source ?? denseSource(this.weights.load(name))
  }

  loadHead({ blockRows }: HeadOptions = {}): LanguageHead {
    const norm = this.weights.load(finalNormName)
    const { normEpsilon, vocabulary, tied } = this.config
    const name = tied ? embeddingName : headName
    if (blockRows !== undefined && blockRows < vocabulary) {
      const blocks = evenBlocks(vocabulary, blockRows)
      return {
        logits: (hidden) =>
          scope(() => {
            const x = rmsNorm(hidden, norm, normEpsilon)
            const parts = blocks.map(([start, end]) =>
              scope(() => linear(x, this.weights.slice(name, start, end))),
            )
            return concat(parts, -1)
          }),
        resources: () => [norm],
      }
    }
    const source = this.matrix(name)
    return {
      logits: (hidden) => source.matmul(rmsNorm(hidden, norm, normEpsilon)),
      resources: () => [norm, source],
    }
  }

  /**
   * Side inputs for `tokens` new tokens after `past` earlier ones. A model with a sliding window gets a bias that
   * hides older keys, but only where the sequence is longer than the window.
   */
  context(
    tokens: number,
    { past = 0, positions, at, bias, cache }: ForwardOptions & { past?: number } = {},
  ): StageContext {
    const hidden = this.windowBias(tokens, past)
    const sum = bias && hidden ? bias.add(hidden) : (bias ?? hidden)
    return {
      rotary: this.rotary(positions ?? Array.from({ length: tokens }, (_, i) => past + i)),
      ...(sum ? { bias: sum } : {}),
      ...(cache ? { cache } : {}),
      ...(at ? { at } : {}),
    }
  }

  /** Cosines and sines of positions, each [positions, headSize / 2]. */
  rotary(positions: readonly number[]): { cos: Tensor; sin: Tensor } {
    return rotaryTables(this.config, positions, this.weights.dtype === 'f64' ? 'f64' : 'f32')
  }

  /** What hides keys before the sliding window, [1, 1, tokens, past + tokens], or nothing where the window holds all. */
  windowBias(tokens: number, past: number): Tensor | undefined {
    const window = this.config.slidingWindow
    const total = past + tokens
    if (window === undefined || total <= window) return undefined
    return windowBias(tokens, total, window, this.weights.dtype)
  }

  /**
   * All stages and the head in memory. The caller's scope owns them.
   *
   * @param dtype of weights, activations and logits; bf16 takes half the memory and sums in f32
   */
  load(dtype: 'f32' | 'bf16' = 'f32'): ResidentLlama {
    if (dtype !== 'f32') return new Llama(this.config, weightsIn(dtype, this.weights)).load()
    return this.resident()
  }

  /**
   * The same with matrices kept in the form that they are stored in, which every product reads: about as much memory as the
   * file, and faster where memory is the limit. Forms without a kernel are floats, see `residentSource`.
   *
   * @param activations `int8` rounds each 32 inputs of a product to 8 bits @default 'f32'
   */
  loadPacked(activations: ProductActivations = 'f32'): ResidentLlama {
    return new Llama(this.config, this.weights, activations).resident()
  }

  private resident(): ResidentLlama {
    return new ResidentLlama(
      this,
      this.stages.map((stage) => stage.load()),
      this.loadHead(),
    )
  }
}

/** 0 for the last `window` keys that a query may see, -infinity for older ones. [1, 1, tokens, total] */
function windowBias(tokens: number, total: number, window: number, dtype?: DType): Tensor {
  const values = new Float32Array(tokens * total)
  for (let query = 0; query < tokens; query++) {
    const oldest = total - tokens + query - window + 1
    values.fill(-Infinity, query * total, query * total + Math.max(0, oldest))
  }
  return tensor(values, [1, 1, tokens, total], dtype)
}

/** A model whose weights are all in memory. */
export class ResidentLlama {
  readonly model: Llama
  readonly stages: readonly Stage[]
  readonly head: LanguageHead

  constructor(model: Llama, stages: readonly Stage[], head: LanguageHead) {
    this.model = model
    this.stages = stages
    this.head = head
  }

  /**
   * Logits [tokens, vocabulary] of one sequence.
   *
   * @example const logits = resident.forward(tokenizer.encode('Hello'))
   */
  forward(ids: Uint32Array, options: ForwardOptions = {}): Tensor {
    return scope(() => {
      const { at, cache } = options
      const past = cache?.length ?? 0
      const tokens = options.embeddings ? options.embeddings.extent(-2) : ids.length
      const context = this.model.context(tokens, { ...options, past })
      let hidden = visit(at, 'embedding', options.embeddings ?? this.model.embed(ids))
      // A hook may keep tensors of one stage until a later one; without hooks each stage gives back its memory.
      for (const stage of this.stages)
        hidden = at ? runStage(stage, hidden, context) : scope(() => runStage(stage, hidden, context))
      return visit(at, 'logits', this.head.logits(visit(at, 'norm', hidden)))
    })
  }

  /** The linear layers of all blocks. */
  get layers(): Linear[] {
    return this.stages.flatMap(({ segments }) => segments.flatMap(({ linears }) => linears))
  }

  /**
   * Many sequences at once, for training: ids u32 [batch, tokens] -> logits [batch, tokens, vocabulary].
   *
   * @example const loss = crossEntropy(resident.logits(inputs), labels)
   */
  logits(ids: Tensor, { at }: ForwardPass = {}): Tensor {
    return scope(() => {
      const [batch, tokens] = ids.shape as [number, number]
      const context = this.model.context(tokens, at ? { at } : {})
      const rows = this.model.embed(scope(() => ids.toArray() as Uint32Array))
      let hidden = visit(at, 'embedding', rows.reshape([batch, tokens, this.model.config.hidden]))
      for (const stage of this.stages) {
        const before = hidden
        hidden = scope(() => runStage(stage, before, context))
      }
      return visit(at, 'logits', this.head.logits(visit(at, 'norm', hidden)))
    })
  }

  resources(): Iterable<unknown> {
    return [...this.stages, this.head]
  }
}

/** Every weight that the config promises, with its shape; the first that is missing or different is named. */
function checkShapes(config: LlamaConfig, weights: ModelWeights): void {
  const { hidden, headSize, rotaryScaling } = config
  if (headSize % 2 !== 0)
    throw new FormatError(`config: the head size must be even for rotary positions, got ${headSize}`)
  if (rotaryScaling.kind === 'divisors') {
    const { divisors } = rotaryScaling
    if (
      divisors.length !== headSize / 2 ||
      !divisors.every((divisor) => divisor > 0 && divisor < Number.POSITIVE_INFINITY)
    ) {
      throw new FormatError(
        `rope_freqs.weight: needs ${headSize / 2} divisors above 0, got ${divisors.length}; the file is damaged`,
      )
    }
  }
  config.layers.forEach(({ heads, kvHeads }, block) => {
    if (heads % kvHeads === 0) return
    throw new FormatError(
      `block.${block}: ${kvHeads} key heads do not divide ${heads} query heads; the file is damaged`,
    )
  })
  for (const [name, shape] of weightShapes(config)) checkWeightShape(weights, name, shape)
  config.layers.forEach((_, block) => {
    const outputBias = blockName(block, 'self_attn.o_proj', 'bias')
    if (weights.infos.has(outputBias)) checkWeightShape(weights, outputBias, [hidden])
  })
}
