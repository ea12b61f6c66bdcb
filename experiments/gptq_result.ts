/** The record of the GPTQ experiment, and what follows from it: means, spreads, ratios and the three claims. */
import type { Claim, Result as ExperimentResult, Stamp } from './experiment.ts'
import { mean, spread } from './spread.ts'

/** The sources that decide what a run gives. A result is stale when one of them changed after it. */
export const sources = [
  'src/quantize/gptq.ts',
  'src/quantize/rtn.ts',
  'src/calibrate/inverse_factor.ts',
  'src/nn/column_sweep.ts',
  'native/src/inverse_factor.rs',
  'native/src/sweep.rs',
  'native/src/grid_rule.rs',
  'native/src/affine_grid.rs',
] as const

/** Order of the sweep: as in the file, or the inputs with the most energy first, with groups along it or of neighbours. */
export const orders = ['file', 'act-order', 'static act-order'] as const
export type Order = (typeof orders)[number]

export interface Configuration {
  method: 'rtn' | 'gptq'
  bits: 2 | 3 | 8
  group: number
  symmetric: boolean
  order: Order
}

/** Size of the calibration and of the test. */
export interface Setup {
  samples: number
  length: number
  context: number
  windows: number
  every: number
}

/** One compression and its evaluation. */
export interface Run extends Configuration, Stamp {
  /** Which calibration samples were drawn; 0 for RTN, which draws none. */
  seed: number
  setup: Setup
  /** Hash of what the kernels and the method give, see `numericsOf`; absent in runs from before it was recorded. */
  numerics?: string
  /** Stored bits a linear weight, scales and zeros included. */
  storedBits: number
  perplexity: number
  perplexitySource: number
  /** Nats a token. */
  kl: number
  /** Of the mean over windows. */
  klStandardError: number
  top1: number
  /** Nats a token on Pare's own evaluation text: orders of the sweep are chosen by it, so that the test decides nothing. */
  klValidation?: number
  /** Time to compress, without evaluation; other programs may have run beside it. */
  seconds: number
}

export interface Result extends ExperimentResult<Run> {
  /** What `numericsOf` gives now, by instruction set. Runs with another one are from older kernels. */
  numerics: Readonly<Record<string, string>>
  model: { file: string; sha256: string }
}

/** The runs of one configuration over all seeds. */
export interface Row extends Configuration {
  runs: readonly Run[]
  storedBits: number
  perplexity: number
  kl: number
  /** Mean over the runs that have it. */
  klValidation?: number
  /** Standard deviation over seeds; absent for one. */
  klSpread?: number
  /** Mean KL over that of RTN on the same grid; absent where RTN did not run. */
  ratio?: number
}

/** Whether a run was made by kernels that give the same bits as those of the record. */
export const isCurrent = ({ numerics }: Run, result: Pick<Result, 'numerics'>): boolean =>
  numerics !== undefined && Object.values(result.numerics).includes(numerics)

/** What is measured: the configuration, seed and size of a run. */
export const titleOf = ({
  method,
  bits,
  group,
  symmetric,
  order,
  seed,
  setup,
}: Omit<Key, 'sources'>): string =>
  JSON.stringify([method, bits, group, symmetric, order, seed, Object.values(setup)])

type Key = Configuration & Pick<Run, 'seed' | 'setup' | 'sources'>

/** One run for each configuration and seed: the latest of the present kernels, else the latest. */
export function pickRuns(
  runs: readonly Run[],
  { setup, sources, numerics }: Pick<Result, 'numerics' | 'sources'> & Pick<Run, 'setup'>,
): Run[] {
  const picked = new Map<string, Run>()
  for (const run of runs) {
    if (run.sources !== sources || String(Object.values(run.setup)) !== String(Object.values(setup))) continue
    const before = picked.get(titleOf(run))
    if (!before || isCurrent(run, { numerics }) || !isCurrent(before, { numerics }))
      picked.set(titleOf(run), run)
  }
  return [...picked.values()]
}

/** Where several orders of the sweep stand side by side. */
export const isValidated = ({ bits, group }: Configuration): boolean => bits === 3 && group === 64

export const nameOf = ({ method, bits, group, symmetric, order }: Configuration): string =>
  `${method} ${bits} bits, groups of ${group}, ${symmetric ? 'symmetric' : 'asymmetric'}${order === 'file' ? '' : `, ${order}`}`

/** Rows in the order in which their first runs stand. */
export function summarize(runs: readonly Run[]): Row[] {
  const byName = new Map<string, Run[]>()
  for (const run of runs) byName.set(nameOf(run), [...(byName.get(nameOf(run)) ?? []), run])
  return [...byName.values()].map((same): Row => {
    const { method, bits, group, symmetric, order, storedBits } = same[0]!
    const kl = mean(same.map((run) => run.kl))
    const baseline = byName.get(nameOf({ method: 'rtn', bits, group, symmetric, order: 'file' }))
    const validated = same.flatMap((run) => run.klValidation ?? [])
    const klSpread = spread(same.map((run) => run.kl))
    return {
      method,
      bits,
      group,
      symmetric,
      order,
      storedBits,
      runs: same,
      perplexity: mean(same.map((run) => run.perplexity)),
      kl,
      ...(validated.length > 0 ? { klValidation: mean(validated) } : {}),
      ...(klSpread === undefined ? {} : { klSpread }),
      ...(method !== 'rtn' && baseline ? { ratio: kl / baseline[0]!.kl } : {}),
    }
  })
}

/** What the experiment is there to show. A claim that does not hold is reported as such. */
export function claims(rows: readonly Row[], result: Pick<Result, 'numerics'>): Claim[] {
  const age = (run: Run) => (isCurrent(run, result) ? '' : ' with older kernels')
  // All orders of the sweep stand here: which of them is the default was decided on these very windows.
  const ratioClaim = (symmetric: boolean, most: number, order: Order): Claim => {
    const row = rows.find(
      (r) =>
        r.method === 'gptq' &&
        r.bits === 3 &&
        r.group === 64 &&
        r.symmetric === symmetric &&
        r.order === order,
    )
    const text = `At 3 bits with ${symmetric ? 'symmetric' : 'asymmetric'} groups of 64, swept in the order "${order}", the KL of GPTQ is at most ${most} of that of RTN on the same grid.`
    if (row?.ratio === undefined) return { text, found: 'not run' }
    const seeds = row.runs.map((run) => ({ ratio: (run.kl / row.kl) * row.ratio!, run }))
    return {
      text,
      holds: seeds.every(({ ratio }) => ratio <= most),
      found: `${seeds.map(({ ratio, run }) => `${ratio.toFixed(3)}${age(run)}`).join(', ')} (one a seed)`,
    }
  }
  const eights = rows.filter(({ method, bits }) => method === 'gptq' && bits === 8)
  const eightText = ({ group, order }: Pick<Row, 'group' | 'order'>) =>
    `At 8 bits, groups of ${group}, swept in the order "${order}", the perplexity equals that of the source within 0.1%.`
  return [
    ...(['static act-order', 'act-order', 'file'] as const).flatMap((order) => [
      ratioClaim(true, 0.65, order),
      ratioClaim(false, 0.55, order),
    ]),
    ...eights.map((row) => eightBits(eightText(row), row.runs)),
    ...(eights.length > 0
      ? []
      : [{ text: eightText({ group: 32, order: 'static act-order' }), found: 'not run' }]),
  ]
}

function eightBits(text: string, runs: readonly Run[]): Claim {
  const off = runs.map(({ perplexity, perplexitySource }) => perplexity / perplexitySource - 1)
  return {
    text,
    holds: off.every((share) => Math.abs(share) <= 0.001),
    found: off.map((share) => `${share < 0 ? '' : '+'}${(100 * share).toFixed(3)}%`).join(', '),
  }
}
