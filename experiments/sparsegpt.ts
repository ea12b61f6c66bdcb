/**
 * SparseGPT, Wanda and magnitude in one pass: half of the weights, 2:4 and 4:8, shares from 0.3 to 0.7, and zeros with codes
 * beside GPTQ at as many stored bytes.
 *
 * `--only smollm2` leaves the jobs whose name holds that.
 */
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { methodSources } from './method_sources.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { lostOrders, methodsOf, nameOf, ordered, ratios } from './one_shot_page.ts'

const pruners = ['magnitude', 'wanda', 'sparsegpt'] as const
type Pruner = (typeof pruners)[number]
const half = (method: Pruner) => [step(method, { sparsity: 0.5 })]
const pattern = (method: Pruner, groups: string) => [step(method, { pattern: groups })]
/** 1 + 4 / 2 bits and 1 + 3 / 2, with a scale and a zero for 64 columns, and 32 bits for each row. */
const joint = (bits: number) => [step('sparsegpt', { sparsity: 0.5, bits, groupSize: 64 })]
const rounded = (bits: number, groupSize: number) => [step('gptq', { bits, groupSize })]

const halves = (model: string): Row[] => rowsOf(model, ...pruners.map(half))
const patterns = (model: string): Row[] =>
  rowsOf(model, ...['2:4', '4:8'].flatMap((groups) => pruners.map((method) => pattern(method, groups))))
const claimed = (model: string): Row[] => [...halves(model), ...patterns(model)]
const codes = (model: string): Row[] => rowsOf(model, joint(4), joint(3), rounded(3, 64), rounded(2, 32))
const curve = (model: string): Row[] =>
  oneSeed(
    [0.3, 0.4, 0.6, 0.7].flatMap((sparsity) =>
      rowsOf(model, ...pruners.map((method) => [step(method, { sparsity })])),
    ),
  )

const models = ['lm-6m', 'pare-4m', 'lm-6m-gqa', 'lm-2m', 'smollm2']

export const sparsegpt = oneShotExperiment({
  name: 'sparsegpt',
  title: 'Pruning in one pass: SparseGPT, Wanda and magnitude',
  sources: [
    ...new Set([
      ...pruners.flatMap((name) =>
        methodSources(`src/prune/${name === 'magnitude' ? 'one_shot_magnitude' : name}.ts`),
      ),
      ...gptqSources,
      'src/nn/sparse_sweep.ts',
      'native/src/sparse_sweep.rs',
    ]),
  ],
  systems: ['sparsegpt'],
  rows: [
    ...models.slice(0, 2).flatMap((model) => [...claimed(model), ...codes(model)]),
    ...curve('lm-6m'),
    ...halves('smollm2'),
    ...oneSeed([...patterns('smollm2'), ...codes('smollm2')]),
    ...models.slice(2, 4).flatMap(claimed),
  ],
  quick: rowsOf('pare-4m', half('magnitude'), half('wanda'), half('sparsegpt')),
  claims: (runs) => models.flatMap((model) => claimsOf(runs, model)),
  failures: (runs) =>
    lostOrders(runs, [
      { lower: nameOf(half('wanda')), higher: nameOf(half('magnitude')), ratio: 0.95 },
      { lower: nameOf(half('sparsegpt')), higher: nameOf(half('wanda')), ratio: 0.95 },
    ]),
  series: ({ steps }) => `${methodsOf(steps)}${steps[0]!.bits ? ` ${steps[0]!.bits} bits` : ''}`,
  remarks: `Half of the weights as f16 behind a mask take 9 bits, in whichever pattern; 4:8 and 2:4 keep as many. Half of the weights
in four bits stand beside GPTQ at 3 bits, half in three bits beside GPTQ at 2 bits with groups of 32: masks, where each row of
codes begins, scales and zeros are counted.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  const names = (of: (method: Pruner) => ReturnType<typeof half>) =>
    pruners.toReversed().map((method) => nameOf(of(method)))
  const sequence = ['50%', '4:8', '2:4'].map((share) => `sparsegpt ${share}`)
  return [
    ordered(runs, {
      text: `${model}: at 50% SparseGPT loses less than Wanda, and Wanda less than magnitude.`,
      model,
      names: names(half),
    }),
    ordered(runs, {
      text: `${model}: SparseGPT loses least without a pattern, then in 4:8, most in 2:4.`,
      model,
      names: sequence,
    }),
    ...(model === 'smollm2' ? [quarter(runs)] : []),
    ...(model === 'lm-6m' ? [growing(runs, model)] : []),
    ...(['smollm2', 'lm-6m', 'pare-4m'].includes(model)
      ? [
          ordered(runs, {
            text: `${model}: half of the weights in four bits lose less than all of them in three, at about as many stored bits.`,
            model,
            names: [nameOf(joint(4)), nameOf(rounded(3, 64))],
          }),
        ]
      : []),
  ]
}

/** Gaps in nats, since a ratio may shrink while all of them lose more. */
function growing(runs: readonly OneShotRun[], model: string): Claim {
  const text = `${model}: from 50 to 60 and 70% the gaps between SparseGPT, Wanda and magnitude grow.`
  const seed = (method: Pruner, sparsity: number) =>
    runs.find((run) => run.model === model && run.name === nameOf([step(method, { sparsity })]))?.kl
  const gaps = (['wanda', 'magnitude'] as const).map((method, i) =>
    [0.5, 0.6, 0.7].map((sparsity) => {
      const [low, high] = [seed((['sparsegpt', 'wanda'] as const)[i]!, sparsity), seed(method, sparsity)]
      return low === undefined || high === undefined ? Number.NaN : high - low
    }),
  )
  if (gaps.flat().some(Number.isNaN)) return { text, found: 'not run' }
  return {
    text,
    holds: gaps.every(([half, more, most]) => half! < more! && more! < most!),
    found: `Wanda over SparseGPT ${gaps[0]!.map((gap) => gap.toPrecision(3)).join(', ')} nats, magnitude over Wanda ${gaps[1]!.map((gap) => gap.toPrecision(3)).join(', ')}`,
  }
}

function quarter(runs: readonly OneShotRun[]): Claim {
  const text = 'smollm2: at 50% the KL of SparseGPT is at most a quarter of that of magnitude.'
  const found = ratios(runs, {
    model: 'smollm2',
    lower: nameOf(half('sparsegpt')),
    higher: nameOf(half('magnitude')),
  })
  if (found.length === 0) return { text, found: 'not run' }
  return {
    text,
    holds: found.every((ratio) => ratio <= 0.25),
    found: `${found.map((ratio) => ratio.toFixed(3)).join(', ')} (one a seed)`,
  }
}
