/** The BERT family: its stages, sites and embedding over any store of weights. */
import { Linear } from '../../nn/linear.ts'
import type { Sites } from '../../nn/sites.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { scope, type Tensor } from '../../tensor/index.ts'
import type { ModelWeights } from '../model_weights.ts'
import { type PaddedBatch, paddingBias } from '../padded_batches.ts'
import { runStage, type Stage, type StageContext, type StagePlan } from '../stage.ts'
import { checkWeightShape } from '../weight_shape.ts'
import { weightsIn } from '../weights_in.ts'
import { BertBlock, type BertNorm } from './block.ts'
import type { BertConfig } from './config.ts'
import { BertEmbedding } from './embedding.ts'
import { type BlockPart, blockMatrices, blockName, blockNorms, embeddingNames, prefixOf } from './names.ts'

export interface BertForwardOptions {
  at?: Sites
  /** Added to the scores of every layer, beside what hides the filling; stretches to [count, heads, tokens, tokens]. */
  bias?: Tensor
}

export class Bert {
  readonly config: BertConfig
  readonly weights: ModelWeights
  readonly stages: readonly StagePlan[]
  private readonly prefix: string

  /** @throws FormatError where a weight that the config promises is missing or has another shape. */
  constructor(config: BertConfig, weights: ModelWeights) {
    this.config = config
    this.weights = weights
    this.prefix = prefixOf(weights.infos)
    for (const [name, shape] of promisedShapes(config)) checkWeightShape(weights, this.prefix + name, shape)
    this.stages = config.layers.map((_, block) => ({
      name: `block.${block}`,
      weights: blockMatrices.map((part) => this.prefix + blockName(block, part)),
      load: () => this.loadBlock(block),
    }))
  }

  /** Every site of the family, in the order that a forward visits them. */
  sites(): string[] {
    return [...BertEmbedding.sites, ...this.config.layers.flatMap((_, i) => BertBlock.sites(i))]
  }

  private read(name: string): Tensor {
    return this.weights.load(this.prefix + name)
  }

  /** The tables of words, positions and types; the caller's scope owns them. */
  loadEmbedding(): BertEmbedding {
    const { word, position, type, norm } = embeddingNames
    const weights = {
      word: this.read(`${word}.weight`),
      position: this.read(`${position}.weight`),
      type: this.read(`${type}.weight`),
      normWeight: this.read(`${norm}.weight`),
      normBias: this.read(`${norm}.bias`),
    }
    return new BertEmbedding(weights, this.config.normEpsilon)
  }

  /**
   * What enters the first stage for sequences of `tokens` ids each, one after the other: [sequences, tokens, hidden].
   * Of the words only the rows of these ids are read.
   *
   * @throws ShapeError for ids or lengths without a row.
   */
  embed(ids: Uint32Array, tokens: number): Tensor {
    const { word, position, type, norm } = embeddingNames
    return scope(() => {
      const weights = {
        word: this.weights.rows(`${this.prefix}${word}.weight`, ids),
        position: this.read(`${position}.weight`),
        type: this.read(`${type}.weight`),
        normWeight: this.read(`${norm}.weight`),
        normBias: this.read(`${norm}.bias`),
      }
      const count = ids.length / tokens
      const lengths = Array.from({ length: count }, () => tokens)
      const batch = { ids: Uint32Array.from(ids, (_, row) => row), count, tokens, lengths }
      return new BertEmbedding(weights, this.config.normEpsilon).forward(batch)
    })
  }

  private loadBlock(block: number): Stage {
    const linear = (part: BlockPart) =>
      new Linear(
        this.prefix + blockName(block, part),
        denseSource(this.read(blockName(block, part))),
        this.read(blockName(block, part, 'bias')),
      )
    const norm = (part: BlockPart): BertNorm => ({
      weight: this.read(blockName(block, part)),
      bias: this.read(blockName(block, part, 'bias')),
    })
    return new BertBlock(this.config, block, {
      q: linear('attention.self.query'),
      k: linear('attention.self.key'),
      v: linear('attention.self.value'),
      o: linear('attention.output.dense'),
      attentionNorm: norm('attention.output.LayerNorm'),
      up: linear('intermediate.dense'),
      down: linear('output.dense'),
      outputNorm: norm('output.LayerNorm'),
    })
  }

  /** Side inputs of the stages for a batch in `dtype`. */
  context(
    batch: PaddedBatch,
    { at, bias }: BertForwardOptions = {},
    dtype: 'f32' | 'bf16' = 'f32',
  ): StageContext {
    const padding = paddingBias(batch, dtype)
    const sum = bias && padding ? bias.add(padding) : (bias ?? padding)
    return { ...(sum ? { bias: sum } : {}), ...(at ? { at } : {}) }
  }

  /**
   * As `ResidentBert.forward`, with one stage in memory at a time: each is read anew for every batch.
   *
   * @example const hidden = model.forward(padded([tokenizer.encode('Hello')], model.config.padId))
   */
  forward(batch: PaddedBatch): Tensor {
    return scope(() => {
      const context = this.context(batch)
      let hidden = this.embed(batch.ids, batch.tokens)
      for (const stage of this.stages) hidden = scope(() => runStage(stage.load(), hidden, context))
      return hidden
    })
  }

  /**
   * All stages in memory. The caller's scope owns them.
   *
   * @param dtype of weights and activations; bf16 takes half the memory and sums in f32
   */
  load(dtype: 'f32' | 'bf16' = 'f32'): ResidentBert {
    const model = dtype === 'f32' ? this : new Bert(this.config, weightsIn(dtype, this.weights))
    return new ResidentBert(
      model,
      dtype,
      model.loadEmbedding(),
      model.stages.map((stage) => stage.load()),
    )
  }
}

/** A model whose weights are all in memory. */
export class ResidentBert {
  readonly model: Bert
  readonly dtype: 'f32' | 'bf16'
  readonly embedding: BertEmbedding
  readonly stages: readonly Stage[]

  constructor(model: Bert, dtype: 'f32' | 'bf16', embedding: BertEmbedding, stages: readonly Stage[]) {
    this.model = model
    this.dtype = dtype
    this.embedding = embedding
    this.stages = stages
  }

  /**
   * Hidden states [count, tokens, hidden] of a batch; those of the filling mean nothing.
   *
   * @example const hidden = resident.forward(padded([tokenizer.encode('Hello')], model.config.padId))
   */
  forward(batch: PaddedBatch, options: BertForwardOptions = {}): Tensor {
    return scope(() => {
      const { at } = options
      const context = this.model.context(batch, options, this.dtype)
      let hidden = this.embedding.forward(batch, at)
      // A hook may keep tensors of one stage until a later one; without hooks each stage gives back its memory.
      for (const stage of this.stages)
        hidden = at ? runStage(stage, hidden, context) : scope(() => runStage(stage, hidden, context))
      return hidden
    })
  }

  resources(): Iterable<unknown> {
    return [this.embedding, ...this.stages]
  }
}

/** Every weight that the config promises, with its shape. */
function* promisedShapes(config: BertConfig): Iterable<[string, readonly number[]]> {
  const { hidden, headSize, vocabulary, context, typeVocabulary } = config
  const { word, position, type, norm } = embeddingNames
  yield [`${word}.weight`, [vocabulary, hidden]]
  yield [`${position}.weight`, [context, hidden]]
  yield [`${type}.weight`, [typeVocabulary, hidden]]
  yield [`${norm}.weight`, [hidden]]
  yield [`${norm}.bias`, [hidden]]
  for (const [block, { heads, intermediate }] of config.layers.entries()) {
    const inner = heads * headSize
    const matrices = {
      'attention.self.query': [inner, hidden],
      'attention.self.key': [inner, hidden],
      'attention.self.value': [inner, hidden],
      'attention.output.dense': [hidden, inner],
      'intermediate.dense': [intermediate, hidden],
      'output.dense': [hidden, intermediate],
    } as const
    for (const part of blockMatrices) {
      yield [blockName(block, part), matrices[part]]
      yield [blockName(block, part, 'bias'), [matrices[part][0]]]
    }
    for (const part of blockNorms) {
      yield [blockName(block, part), [hidden]]
      yield [blockName(block, part, 'bias'), [hidden]]
    }
  }
}
