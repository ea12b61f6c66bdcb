/**
 * LSTM language models (Zaremba et al. 2014, arXiv:1409.2329): an embedding, layers of LSTM, a softmax over the
 * vocabulary. Dropout stands on what goes from layer to layer and not on what goes from token to token. The softmax may
 * read the table of the embedding (Press and Wolf 2017, arXiv:1608.05859).
 *
 * Weights are called and laid out as those of a PyTorch module with `embedding` (nn.Embedding), `lstm` (nn.LSTM) and `head`
 * (nn.Linear): `lstm.weight_ih_l0`, [4 * hidden, in], with the gates in the order i, f, g, o.
 */
import { Embedding } from '../../nn/embedding.ts'
import { Linear } from '../../nn/linear.ts'
import { type LstmState, type LstmWeights, lstm } from '../../nn/lstm.ts'
import { visit } from '../../nn/sites.ts'
import { denseSource } from '../../nn/weight_source.ts'
import type { ForwardPass } from '../../optim/training_task.ts'
import { ShapeError } from '../../tensor/errors.ts'
import { dropout, sameShape, scope, showShape, type Tensor } from '../../tensor/index.ts'
import type { WeightMaker } from '../weight_maker.ts'
import { checkLstmConfig, type LstmConfig } from './config.ts'

export interface LstmForward extends ForwardPass {
  /** Of each layer, before the first token. @default zeros */
  state?: readonly LstmState[] | undefined
}

export interface LstmOutput {
  /** [batch, tokens, vocabulary] */
  logits: Tensor
  /** Of each layer, behind the last token. */
  state: readonly LstmState[]
}

export class LstmLanguageModel {
  readonly config: LstmConfig
  /** Whatever a method may prune or give another source: the embedding, all gates, the softmax. */
  readonly layers: readonly (Embedding | Linear)[]
  private readonly embedding: Embedding
  private readonly cells: readonly LstmWeights[]
  private readonly head: Linear

  /**
   * @param weights hands out new weights or those of a file
   * @throws OptionError for a shape that cannot be
   * @example
   * const parameters = new Parameters()
   * const model = new LstmLanguageModel(config, freshWeights(parameters, { seed: 0 }))
   * const { logits, state } = model.forward(ids)
   */
  constructor(config: LstmConfig, weights: WeightMaker) {
    checkLstmConfig(config)
    this.config = config
    const { vocabulary, embedding, hidden, layers, tied } = config
    const matrix = (path: string, rows: number, columns: number) =>
      denseSource(weights.weight(path, [rows, columns], { kind: 'lecun', fanIn: columns }))
    this.embedding = new Embedding('embedding.weight', matrix('embedding.weight', vocabulary, embedding))
    this.cells = Array.from({ length: layers }, (_, layer): LstmWeights => {
      const linear = (kind: 'ih' | 'hh', inputs: number, forget: number) => {
        const weight = matrix(`lstm.weight_${kind}_l${layer}`, 4 * hidden, inputs)
        const bias = weights.weight(`lstm.bias_${kind}_l${layer}`, [4 * hidden], { kind: 'gates', forget })
        return new Linear(`lstm.weight_${kind}_l${layer}`, weight, bias)
      }
      // A cell that forgets little at first learns longer ranges (Jozefowicz et al. 2015, section 3.2).
      return { input: linear('ih', layer === 0 ? embedding : hidden, 1), hidden: linear('hh', hidden, 0) }
    })
    const name = tied ? this.embedding.name : 'head.weight'
    const bias = weights.weight('head.bias', [vocabulary], { kind: 'constant', value: 0 })
    this.head = new Linear(name, tied ? this.embedding.source : matrix(name, vocabulary, hidden), bias)
    this.layers = [this.embedding, ...this.cells.flatMap(({ input, hidden }) => [input, hidden]), this.head]
  }

  /** Every site, in the order that a forward visits them. */
  sites(): string[] {
    return ['embedding', ...this.cells.map((_, layer) => `layer.${layer}/output`), 'logits']
  }

  /**
   * Ids, u32 [batch, tokens], that follow those which `state` has seen.
   *
   * @throws ShapeError for other shapes, of ids or of states, or ids without a row.
   */
  forward(ids: Tensor, { at, training, state }: LstmForward = {}): LstmOutput {
    if (ids.rank !== 2 || (state && state.length !== this.cells.length))
      throw new ShapeError(
        `lstm: needs ids [batch, tokens] and states of ${this.cells.length} layers, got ${ids.rank} axes and ${state?.length ?? 'no'} states`,
      )
    for (const [layer, found] of (state ?? []).entries()) this.checkState(ids.extent(0), layer, found)
    const { dropout: share } = this.config
    const dropped = (x: Tensor) => (training && share > 0 ? dropout(x, share, training.stream('dropout')) : x)
    return scope(() => {
      let hidden = dropped(visit(at, 'embedding', this.embedding.forward(ids)))
      const next = this.cells.map((cell, layer) => {
        const found = lstm(hidden, cell, { state: state?.[layer] })
        hidden = dropped(visit(at, `layer.${layer}/output`, found.outputs))
        return found.state
      })
      return { logits: visit(at, 'logits', this.head.forward(hidden)), state: next }
    })
  }

  /** A state of one row would be that of all rows, by broadcasting. */
  private checkState(batch: number, layer: number, state: LstmState): void {
    const shape = [batch, this.config.hidden]
    for (const part of ['hidden', 'cell'] as const)
      if (!sameShape(state[part].shape, shape))
        throw new ShapeError(
          `lstm: the ${part} state of layer ${layer} needs ${showShape(shape)} for these ids, got ${showShape(state[part].shape)}; give a row for each text, or none to begin anew`,
        )
  }

  /** Windows that begin anew, for training: ids u32 [batch, tokens] -> [batch, tokens, vocabulary]. */
  logits(ids: Tensor, pass: ForwardPass = {}): Tensor {
    return scope(() => this.forward(ids, pass).logits)
  }
}
