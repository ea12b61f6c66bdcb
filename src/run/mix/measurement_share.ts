/**
 * How much of a measurement is done, by its multiply-adds: a stage behind many others is measured sooner than the first
 * one, and a head may take as long as ten stages, so that passages of weights would tell little of the time.
 */
import type { MeasurementOptions } from './measurement.ts'

type Measured = Pick<MeasurementOptions, 'source' | 'how' | 'samples' | 'windows' | 'wanted'>

export class MeasurementShare {
  private readonly measured: boolean
  private readonly source: Measured['source']
  private readonly windowTokens: number
  /** Tokens that statistics are gathered from. */
  private readonly sampleTokens: number
  /** Weights of each stage. */
  private readonly weights: readonly number[]
  private readonly total: number
  private done = 0

  constructor({ source, how, samples, windows, wanted }: Measured, needsGram: boolean) {
    const tokensOf = (all: readonly Uint32Array[]) => all.reduce((sum, { length }) => sum + length, 0)
    this.measured = how === 'measured'
    this.source = source
    this.windowTokens = tokensOf(windows)
    this.sampleTokens = needsGram ? tokensOf(samples) : 0
    const { stages } = source.model
    this.weights = stages.map(({ weights }) =>
      weights.reduce((sum, name) => {
        const [rows, columns] = this.shapeOf(name)
        return sum + rows * columns
      }, 0),
    )
    let total = 0
    let variants = 0
    for (const [index, { weights }] of stages.entries()) {
      total += this.walked(index) + (this.measured ? (1 + variants) * this.passage(index) : 0)
      let own = 0
      for (const name of weights) {
        const { length } = wanted.get(name) ?? []
        total += length * this.tried(index, name)
        own += length
      }
      if (this.measured && own > 0) total += this.compared(own)
      variants += own
    }
    this.total = total
  }

  /** The share that is done, after so much more. */
  add(done: number): number {
    this.done += done
    return this.total === 0 ? 1 : Math.min(1, this.done / this.total)
  }

  /** All windows through a stage. */
  passage(stage: number): number {
    return this.windowTokens * this.weights[stage]!
  }

  /** Samples and windows through a stage, and what is gathered of them. */
  walked(stage: number): number {
    const inputs = new Set(this.source.model.stages[stage]!.weights.map((name) => this.shapeOf(name)[1]))
    const grams = [...inputs].reduce((sum, n) => sum + n ** 2, 0)
    return this.sampleTokens * (this.weights[stage]! + grams) + this.passage(stage)
  }

  /** A weight at a level. */
  tried(stage: number, name: string): number {
    const [rows, columns] = this.shapeOf(name)
    const decided = this.sampleTokens === 0 ? rows * columns : columns ** 3 + rows * columns ** 2
    return decided + (this.measured ? this.passage(stage) : rows * columns ** 2)
  }

  /** Logits of so many variants. */
  compared(variants: number): number {
    const { hidden, vocabulary } = this.source.model.config
    return (variants + 1) * this.windowTokens * hidden * vocabulary
  }

  private shapeOf(name: string): [rows: number, columns: number] {
    return this.source.weights.infos.get(name)!.shape as readonly number[] as [number, number]
  }
}
