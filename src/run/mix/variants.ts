/**
 * Variants of a model, each with another weight of one stage: their hidden states, which go through the stages behind it
 * side by side, and how far they are from the source at the end.
 */
import type { EvaluationSplit } from '../../metrics/language.ts'
import { type Divergence, StateDivergence } from '../../metrics/state_divergence.ts'
import { type ActivationOptions, ActivationSet } from '../../models/activations.ts'
import type { SequenceBatch } from '../../models/batches.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { runStage, type Stage } from '../../models/stage.ts'
import { NumericalError, printable } from '../../tensor/errors.ts'
import { concat, dispose, scope } from '../../tensor/index.ts'

/** The weight that is another one, and at which level. */
export interface Variant {
  weight: string
  level: string
}
export type VariantDivergence = Variant & Divergence

export class Variants {
  private readonly source: OpenLanguageModel
  private readonly batches: readonly SequenceBatch[]
  private readonly split: EvaluationSplit
  /** One entry for each variant and batch. */
  private readonly states: ActivationSet
  private variants: Variant[] = []

  constructor(
    source: OpenLanguageModel,
    batches: readonly SequenceBatch[],
    split: EvaluationSplit,
    place: ActivationOptions,
  ) {
    this.source = source
    this.batches = batches
    this.split = split
    this.states = new ActivationSet(place)
  }

  /** Those that are not compared yet. */
  get pending(): readonly Variant[] {
    return this.variants
  }

  /** What comes out of the stage with the other weight; `inputs` are those of the source. */
  add(variant: Variant, stage: Stage, inputs: ActivationSet): void {
    const { model } = this.source
    const name = String(this.variants.length)
    for (const [index, { tokens }] of this.batches.entries())
      scope(() => {
        const after = runStage(stage, inputs.read(index, 'hidden'), model.context(tokens))
        this.states.write(index, name, after)
      })
    this.variants.push(variant)
  }

  /** All through a later stage, as many at a time as make a batch, so that weights are read fewer times. */
  advance(stage: Stage): void {
    const { model } = this.source
    for (const [index, { tokens, count }] of this.batches.entries()) {
      const together = Math.max(1, Math.floor(this.split.batchTokens / (tokens * count)))
      for (let first = 0; first < this.variants.length; first += together)
        scope(() => {
          const names = [...this.variants.keys()].slice(first, first + together).map(String)
          const stacked = concat(names.map((name) => this.states.read(index, name)))
          const after = runStage(stage, stacked, model.context(tokens))
          // A part on the memory of all would keep all of it.
          for (const [i, name] of names.entries())
            this.states.write(index, name, after.slice(0, i * count, (i + 1) * count).duplicate())
        })
    }
  }

  /** The KL of each to the source, whose states after the last stage are `outputs`; then there are none. */
  compare(outputs: ActivationSet): VariantDivergence[] {
    const { model } = this.source
    const { logitRows, headRows } = this.split
    const variants = this.variants
    const divergence = new StateDivergence({
      variants: variants.length,
      vocabulary: model.config.vocabulary,
      rows: logitRows,
    })
    const head = model.loadHead({ blockRows: headRows })
    try {
      for (const batch of this.batches.keys())
        scope(() =>
          divergence.add(head, outputs.read(batch, 'hidden'), (variant) =>
            this.states.read(batch, String(variant)),
          ),
        )
    } finally {
      dispose(head)
    }
    for (const variant of variants.keys())
      for (const batch of this.batches.keys()) this.states.remove(batch, String(variant))
    this.variants = []
    return divergence.results().map((found, index) => {
      const variant = variants[index]!
      if (Number.isFinite(found.kl)) return { ...variant, ...found }
      const { weight, level } = variant
      throw new NumericalError(
        `${printable(weight)}: the model gives no finite numbers with this weight at ${level}; leave the level out`,
        { code: 'PARE_E_NOT_FINITE', facts: { tensor: weight, level } },
      )
    })
  }

  close(): void {
    this.states.close()
  }
}
