/** Who loses least at each width, and what a larger model at fewer bits gives beside a smaller one at more. */
import type { Spec } from 'vega'
import type { Claim } from './experiment.ts'
import { lineFigure } from './figure.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { methodsOf, type Summary, summarize } from './one_shot_page.ts'
import { spreadOf } from './spread.ts'
import { groupBy, table } from './table.ts'

/** What a method may store beyond round to nearest and still be ranked. */
const allowance = 1.03

export interface Ranked {
  method: string
  storedBits: number
  kl: number
  /** Over the seeds of all methods that have them. */
  best: number
  worst: number
}

/** The methods of one model at one width, the least KL first. */
export function ranksAt(runs: readonly OneShotRun[], model: string, bits: number): Ranked[] {
  const rows = summarize(runs.filter((run) => run.model === model && widthOf(run) === bits))
  const nearest = rows.find(({ runs: [first] }) => first!.steps[0]!.method === 'rtn')
  if (!nearest) return []
  const ranked = rows.filter(({ storedBits }) => storedBits <= allowance * nearest.storedBits)
  const seeds = [...new Set(ranked.flatMap(({ runs }) => runs.map(({ seed }) => seed)))]
  return ranked
    .map((row) => {
      const places = seeds.map(
        (seed) => 1 + ranked.filter((other) => klOf(other, seed) < klOf(row, seed)).length,
      )
      return {
        method: methodsOf(row.runs[0]!.steps),
        storedBits: row.storedBits,
        kl: row.kl.mean,
        best: Math.min(...places),
        worst: Math.max(...places),
      }
    })
    .sort((a, b) => a.kl - b.kl)
}

/** What has no run of a seed stands there with its first. */
const klOf = ({ runs }: Summary, seed: number): number =>
  (runs.find((run) => run.seed === seed) ?? runs[0]!).kl

/** Whole bits of the codes: a rate of 3.95 is one of 4, three books are one of 3. */
const widthOf = ({ steps }: OneShotRun): number => {
  const { bits, books } = steps.at(-1)!
  return books ?? Math.round(bits ?? Number.NaN)
}

const showRank = ({ best, worst, kl }: Ranked) =>
  `${best === worst ? best : `${best} to ${worst}`} (${kl.toPrecision(3)})`

/** Ranks by model and width: one method a row. */
export function rankTables(runs: readonly OneShotRun[]): string {
  const places = [...new Set(runs.map(({ model }) => model))].flatMap((model) =>
    [4, 3, 2].map((bits) => ({ model, bits, ranks: ranksAt(runs, model, bits) })),
  )
  const shown = places.filter(({ ranks }) => ranks.length > 0)
  const methods = [...new Set(shown.flatMap(({ ranks }) => ranks.map(({ method }) => method)))]
  return table(
    ['rank (KL)', ...shown.map(({ model, bits }) => `${model}, ${bits} bits`)],
    methods.map((method) => [
      method,
      ...shown.map(({ ranks }) => {
        const own = ranks.find((rank) => rank.method === method)
        return own ? showRank(own) : ''
      }),
    ]),
  )
}

/** Which method has the first rank in every seed; one seed decides nothing. */
export function bestAt(runs: readonly OneShotRun[], model: string, bits: number): Claim {
  const text = `${model}: at ${bits} bits one method loses least in every seed.`
  const [first, second] = ranksAt(runs, model, bits)
  if (!first || !second) return { text, found: 'not run' }
  const found = `${first.method} has ${first.kl.toPrecision(3)} at ${first.storedBits.toFixed(2)} bits, then ${second.method} ${second.kl.toPrecision(3)} at ${second.storedBits.toFixed(2)}`
  const seeds = new Set(
    runs.filter((run) => run.model === model && widthOf(run) === bits).map(({ seed }) => seed),
  ).size
  if (seeds < 2) return { text, found: `${found}, with one seed` }
  return { text, holds: first.worst === 1 && second.best > 1, found }
}

/** The rows that no other one beats in both bytes and KL, fewer bytes first. */
export const front = (rows: readonly Summary[]): Summary[] =>
  rows
    .filter(
      (row) =>
        !rows.some(
          (other) =>
            other.bytes <= row.bytes &&
            other.kl.mean <= row.kl.mean &&
            (other.bytes < row.bytes || other.kl.mean < row.kl.mean),
        ),
    )
    .toSorted((a, b) => a.bytes - b.bytes)

/** The front of each model. */
export function frontTable(runs: readonly OneShotRun[]): string {
  const cells = groupBy(summarize(runs), ({ model }) => model).flatMap((rows) =>
    front(rows).map(({ model, name, bytes, storedBits, kl }) => [
      model,
      name,
      (bytes / 1e3).toFixed(0),
      storedBits.toFixed(2),
      kl.mean.toPrecision(3),
    ]),
  )
  return table(['on the front of bytes and KL', 'steps', 'kB of linear weights', 'stored bits', 'KL'], cells)
}

/** Lines of several models in one figure. */
export function bitsFigure(runs: readonly OneShotRun[]): Spec {
  const points = summarize(runs).map(({ model, storedBits, kl, runs: [first] }) => ({
    ...{ series: `${model}: ${methodsOf(first!.steps)}`, x: storedBits },
    ...{ y: kl.mean, low: kl.low, high: kl.high },
  }))
  return lineFigure(points, {
    x: { title: 'stored bits a linear weight' },
    y: { title: 'KL to the source, nats a token (log)', scale: 'log' },
  })
}

const sized = ['lm-2m', 'lm-6m']
const sizedRuns = (runs: readonly OneShotRun[]) =>
  runs.filter(({ model, steps }) => sized.includes(model) && ['rtn', 'gptq'].includes(methodsOf(steps)))

/** Perplexity, since a KL is to the own source; both models have the same tokens. */
export function sizeTable(runs: readonly OneShotRun[]): string {
  const rows = summarize(sizedRuns(runs)).toSorted((a, b) => a.bytes - b.bytes)
  return table(
    ['model', 'steps', 'kB of linear weights', 'kB of the file', 'perplexity', 'of the source'],
    rows.map(({ model, name, bytes, runs }) => [
      model,
      name,
      (bytes / 1e3).toFixed(0),
      (runs[0]!.fileBytes / 1e3).toFixed(0),
      spreadOf(runs.map(({ perplexity }) => perplexity)).mean.toFixed(2),
      runs[0]!.perplexitySource.toFixed(2),
    ]),
  )
}

export function sizeFigure(runs: readonly OneShotRun[]): Spec {
  const points = summarize(sizedRuns(runs)).map(({ model, bytes, runs }) => {
    const { mean, low, high } = spreadOf(runs.map(({ perplexity }) => perplexity))
    return { series: `${model}, ${methodsOf(runs[0]!.steps)}`, x: bytes / 1e3, y: mean, low, high }
  })
  return lineFigure(points, {
    x: { title: 'kB of linear weights' },
    y: { title: 'perplexity (log)', scale: 'log' },
  })
}
