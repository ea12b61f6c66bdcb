/** Rows, claims, page and figures of the experiments on one-shot methods, made from their runs. */
import type { Spec } from 'vega'
import type { WeightStep } from '#src/run/weight_step.ts'
import { type Claim, claimLines, commandOf, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import type { OneShotPlan } from './one_shot_experiment.ts'
import { type OneShotRun, setups } from './one_shot_measure.ts'
import { mean, type Spread, spreadOf } from './spread.ts'
import { groupBy, table } from './table.ts'

/** How options read in a name; others as `field value`. */
const words: Readonly<Record<string, (value: unknown) => string>> = {
  sparsity: (value) => `${Math.round(100 * Number(value))}%`,
  pattern: String,
  bits: (value) => `${value} bits`,
  groupSize: (value) => (value === 'row' ? 'a row' : `groups of ${value}`),
  rank: (value) => `rank ${value}`,
  factorBits: (value) => `factors of ${value} bits`,
  outlierThreshold: (value) => (Number(value) >= 1e6 ? 'no outliers' : `threshold ${value}`),
  symmetric: (value) => (value ? 'symmetric' : 'with zeros'),
  actOrder: (value) => (value ? 'act-order' : 'file order'),
  integerBits: () => 'whole bits',
  books: (value) => `${value} books`,
  bookBits: (value) => `codes of ${value} bits`,
  blockEpochs: (value) => `blocks trained ${value} times`,
  blockRate: (value) => `at ${value}`,
  modelEpochs: (value) => `the model ${value} times`,
  modelRate: (value) => `at ${value}`,
}

/** `gptq 3 bits, groups of 64 + eora rank 16` */
export const nameOf = (steps: readonly WeightStep[]): string =>
  steps
    .map(({ method, ...options }) => {
      const said = Object.entries(options).map(
        ([field, value]) => words[field]?.(value) ?? `${field} ${value}`,
      )
      return `${method} ${said.join(', ')}`.trim()
    })
    .join(' + ')

export const methodsOf = (steps: readonly WeightStep[]): string =>
  steps.map(({ method }) => method).join(' + ')

/** The runs of one model and one way to compress it, over all seeds. */
export interface Summary {
  model: string
  name: string
  runs: readonly OneShotRun[]
  storedBits: number
  bytes: number
  kl: Spread
}

/** In the order in which their first runs stand. */
export const summarize = (runs: readonly OneShotRun[]): Summary[] =>
  groupBy(runs, ({ model, name }) => `${model}\0${name}`).map((same) => ({
    model: same[0]!.model,
    name: same[0]!.name,
    runs: same,
    storedBits: mean(same.map(({ storedBits }) => storedBits)),
    bytes: mean(same.map(({ bytes }) => bytes)),
    kl: spreadOf(same.map(({ kl }) => kl)),
  }))

/** The KL of one way over that of another, seed by seed; what reads no text stands for every seed. */
export function ratios(
  runs: readonly OneShotRun[],
  { model, lower, higher }: { model: string; lower: string; higher: string },
): number[] {
  const of = (name: string) => runs.filter((run) => run.model === model && run.name === name)
  const [low, high] = [of(lower), of(higher)]
  const seeded = (some: readonly OneShotRun[], seed: number) =>
    some.find((run) => run.seed === seed) ?? (some[0]?.calibrationTokens === 0 ? some[0] : undefined)
  const seeds = [...new Set([...low, ...high].map(({ seed }) => seed))].sort((a, b) => a - b)
  return seeds.flatMap((seed) => {
    const [a, b] = [seeded(low, seed), seeded(high, seed)]
    return a && b ? [a.kl / b.kl] : []
  })
}

/** Whether the first has the lowest KL and each next one more, in every seed; `ratio` bounds each step. */
export function ordered(
  runs: readonly OneShotRun[],
  {
    text,
    model,
    names,
    ratio = 1,
  }: { text: string; model: string; names: readonly string[]; ratio?: number },
): Claim {
  const steps = names.slice(1).map((higher, i) => ({
    lower: names[i]!,
    higher,
    found: ratios(runs, { model, lower: names[i]!, higher }),
  }))
  if (steps.some(({ found }) => found.length === 0)) return { text, found: 'not run' }
  const bits = new Map(
    summarize(runs.filter((run) => run.model === model)).map((row) => [row.name, row.storedBits.toFixed(2)]),
  )
  const lines = steps.map(
    ({ lower, higher, found }) =>
      `${lower} (${bits.get(lower)} bits) has ${found.map((value) => value.toFixed(3)).join(', ')} of the KL of ${higher} (${bits.get(higher)} bits)`,
  )
  return {
    text,
    holds: steps.every(({ found }) => found.every((value) => value <= ratio && value < 1)),
    found: `${lines.join('; ')} (one a seed)`,
  }
}

/**
 * Whether the KL is below the line of others at as many stored bits: between two of them the logarithms go straight, and
 * what takes fewer bits than all of them is held against the first.
 */
export function belowLine(
  runs: readonly OneShotRun[],
  { text, model, name, line }: { text: string; model: string; name: string; line: readonly string[] },
): Claim {
  const rows = summarize(runs.filter((run) => run.model === model))
  const own = rows.find((row) => row.name === name)
  const points = rows.filter((row) => line.includes(row.name)).sort((a, b) => a.storedBits - b.storedBits)
  if (!own || points.length < line.length) return { text, found: 'not run' }
  const at = points.findIndex(({ storedBits }) => storedBits >= own.storedBits)
  if (at < 0) return { text, found: `no point of the line takes ${own.storedBits.toFixed(2)} bits` }
  const [above, below] = [points[at]!, points[at - 1] ?? points[at]!]
  // Seeds that one of them lacks are left out.
  const seeded = [own, above, below].filter(({ runs: [first] }) => first!.calibrationTokens > 0)
  const common = runs.filter(
    ({ seed, calibrationTokens }) =>
      calibrationTokens === 0 || seeded.every((row) => row.runs.some((run) => run.seed === seed)),
  )
  const [over, under] = [above, below].map((row) => ratios(common, { model, lower: name, higher: row.name }))
  const width = above.storedBits - below.storedBits
  const share = width === 0 ? 1 : (own.storedBits - below.storedBits) / width
  const found = over!.map((ratio, i) => ratio ** share * under![i]! ** (1 - share))
  const ends = [...new Set([below, above])].map((row) => `${row.name} (${row.storedBits.toFixed(2)} bits)`)
  if (found.length === 0) return { text, found: 'not run' }
  return {
    text,
    holds: found.every((ratio) => ratio < 1),
    found: `${name} (${own.storedBits.toFixed(2)} bits) has ${found.map((ratio) => ratio.toFixed(3)).join(', ')} of the KL of ${ends.length === 1 ? ends[0] : `the line from ${ends.join(' to ')}`} (one a seed)`,
  }
}

/** One sentence for each order that a quick run misses. */
export function lostOrders(
  runs: readonly OneShotRun[],
  orders: readonly { lower: string; higher: string; ratio: number }[],
): string[] {
  return orders.flatMap(({ lower, higher, ratio }) => {
    const [found] = ratios(runs, { model: 'pare-4m', lower, higher })
    if (found !== undefined && found <= ratio) return []
    return [
      `${lower}: must have at most ${ratio} of the KL of ${higher}, it has ${found?.toFixed(3) ?? 'none'}`,
    ]
  })
}

/** Bits a weight of the codes or numbers alone, without scales, masks, codebooks and orders. */
export function codeBits(steps: readonly WeightStep[]): number {
  const kept = steps.reduce((share, { sparsity, pattern }) => {
    const [count, of] = (pattern ?? '').split(':').map(Number)
    return share * (pattern ? 1 - count! / of! : 1 - (sparsity ?? 0))
  }, 1)
  const codes = steps.map(({ method, bits, books = 2, bookBits = 8, tileColumns = 8 }) =>
    method === 'aqlm' ? (books * bookBits) / tileColumns : bits,
  )
  return kept * (codes.findLast((bits) => bits !== undefined) ?? 16)
}

/** Small values keep their digits. */
const showKl = (value: number): string => (value < 0.1 ? value.toPrecision(3) : value.toFixed(4))
const showSpread = ({ mean, spread }: Spread): string =>
  `${showKl(mean)}${spread === undefined ? '' : ` ± ${spread.toPrecision(2)}`}`

/** Mean over the seeds that measured it. */
function showHigh(runs: readonly OneShotRun[]): string {
  const found = runs.flatMap(({ kl99 }) => kl99 ?? [])
  return found.length === 0 ? '' : showKl(mean(found))
}

/** One way a row, fewer bits first. */
export function oneShotTable(rows: readonly Summary[]): string {
  const head = [
    'model',
    'steps',
    'stored bits a linear weight',
    'bits of codes alone',
    'kB of linear weights',
    'KL ± standard error, one a seed',
    'KL ± spread over seeds',
    'KL of 99% of the tokens at most',
    'perplexity (source)',
    'same first token',
    'mean relative error of the layers',
    'commit',
  ]
  const models = [...new Set(rows.map(({ model }) => model))]
  const cells = models
    .flatMap((model) =>
      rows.filter((row) => row.model === model).toSorted((a, b) => a.storedBits - b.storedBits),
    )
    .map(({ model, name, runs, storedBits, bytes, kl }) => [
      model,
      name,
      storedBits.toFixed(3),
      codeBits(runs[0]!.steps).toFixed(2),
      (bytes / 1e3).toFixed(0),
      runs.map((run) => `${showKl(run.kl)} ± ${run.klStandardError.toPrecision(2)}`).join('<br>'),
      showSpread(kl),
      showHigh(runs),
      `${mean(runs.map(({ perplexity }) => perplexity)).toFixed(2)} (${runs[0]!.perplexitySource.toFixed(2)})`,
      `${(100 * mean(runs.map(({ top1 }) => top1))).toFixed(1)}%`,
      mean(runs.map(({ relativeError }) => relativeError)).toPrecision(3),
      [...new Set(runs.map(({ commit }) => commit ?? 'unknown'))].join(', '),
    ])
  return table(head, cells)
}

export const figureFile = (name: string, model: string) =>
  `${name}_${model.replaceAll(/[^a-z0-9]+/g, '_')}.svg`

/** @param stale whether the sources differ from those that were measured. */
export function oneShotPage(plan: OneShotPlan, result: Result<OneShotRun>, stale: boolean): string {
  const { runs } = result
  const rows = summarize(runs)
  const models = [...new Set(rows.map(({ model }) => model))]
  const { smollm2, zoo } = setups
  return `# ${plan.title}
${stale ? `\n${staleMark}\n` : ''}
${claimLines(plan.claims(runs))}

${models.map((model) => `![${model}: KL over stored bits a linear weight](${figureFile(plan.name, model)})`).join('\n')}

${oneShotTable(rows)}
${plan.extra ? `\n${plan.extra(runs)}\n` : ''}
${plan.remarks}

KL is in nats a token, from the source to the result; its standard error is that of the mean over windows, the spread the
standard deviation over the seeds that draw the samples. What reads no text has one run. Stored bits count all that the
linear weights take: codes, scales, zeros, masks, codebooks, orders. A row with one seed says nothing about the spread.

smollm2 is SmolLM2-135M-Instruct, whose weights lie on a 4-bit grid with blocks of 32, so that it says nothing about 4 bits
and more: ${smollm2.samples} × ${smollm2.length} tokens of Moby Dick to calibrate, ${smollm2.windows} windows of ${smollm2.context} tokens of the speeches to test, every ${smollm2.every}th. The others
are float models of the [zoo](../models.md): ${zoo.samples} × ${zoo.length} tokens of their training text, ${zoo.windows} windows of ${zoo.context} tokens of their
held-out text, every ${zoo.every}th. The record has data hashes, seconds, memory and remarks of every run.

Command: \`${commandOf(plan.name)}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at.\\
${machineLines(result)}
`
}

/** KL over stored bits, one file a model. */
export function figuresOf(
  { name, series = ({ steps }) => methodsOf(steps) }: OneShotPlan,
  runs: readonly OneShotRun[],
): Map<string, Spec> {
  const models = groupBy(summarize(runs), ({ model }) => model)
  return new Map(
    models.map((rows) => [
      figureFile(name, rows[0]!.model),
      lineFigure(
        rows.map(({ runs, storedBits, kl }) => ({
          series: series(runs[0]!),
          x: storedBits,
          y: kl.mean,
          low: kl.low,
          high: kl.high,
        })),
        {
          x: { title: `${rows[0]!.model}: stored bits a linear weight` },
          y: { title: 'KL to the source, nats a token (log)', scale: 'log' },
        },
      ),
    ]),
  )
}
