/**
 * EoRA behind GPTQ at 3 and 2 bits and behind 2:4: the share of the loss that it brings back by rank and space, and beside
 * spending as many bits on the codes.
 */
import type { WeightStep } from '#src/run/weight_step.ts'
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { methodSources } from './method_sources.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { belowLine, lostOrders, methodsOf, nameOf, ordered, ratios, summarize } from './one_shot_page.ts'
import { mean } from './spread.ts'
import { table } from './table.ts'

type Steps = readonly WeightStep[]

const bases: readonly Steps[] = [
  [step('gptq', { bits: 3, groupSize: 64 })],
  [step('gptq', { bits: 2, groupSize: 64 })],
  [step('sparsegpt', { pattern: '2:4' })],
]
const repaired = (base: Steps, options: Omit<WeightStep, 'method'>): Steps => [...base, step('eora', options)]
const usualRank = (model: string) => (model === 'smollm2' ? 16 : 8)
/** As many bits as rank 8 behind 3 bits on the zoo's matrices, and more than rank 16 on those of SmolLM2. */
const more: readonly Steps[] = [
  [step('gptq', { bits: 4, groupSize: 'row' })],
  [step('gptq', { bits: 3, groupSize: 16 })],
]
/** Those behind 2 bits. */
const moreOfTwo: Steps = [step('gptq', { bits: 3, groupSize: 'row' })]

const claimed = (model: string): Row[] =>
  bases.flatMap((base) => rowsOf(model, base, repaired(base, { rank: usualRank(model) })))
const [three] = bases as [Steps]
/** Baselines of the same rank. */
const spaces = ['svd', 'activation'] as const

export const eora = oneShotExperiment({
  name: 'eora',
  title: 'EoRA: what two thin matrices bring back',
  sources: [
    ...new Set([
      'src/recover/eora.ts',
      'src/recover/error_space.ts',
      'src/recover/factor_rounding.ts',
      'src/recover/low_rank_error.ts',
      ...methodSources('src/prune/sparsegpt.ts'),
      'src/nn/sparse_sweep.ts',
      ...gptqSources,
    ]),
  ],
  systems: ['eora'],
  rows: [
    ...claimed('lm-6m'),
    ...rowsOf('lm-6m', ...more, moreOfTwo),
    ...oneSeed(
      rowsOf(
        'lm-6m',
        ...[4, 16, 32].map((rank) => repaired(three, { rank })),
        repaired(three, { rank: 16, factorBits: 4 }),
        ...spaces.flatMap((space) => [8, 4, 16, 32].map((rank) => repaired(three, { rank, space }))),
      ),
    ),
    ...claimed('pare-4m'),
    ...rowsOf('pare-4m', ...more, moreOfTwo),
    ...oneSeed(claimed('smollm2')),
    ...['lm-6m-gqa', 'lm-2m'].flatMap(claimed),
  ],
  quick: rowsOf('pare-4m', bases[1]!, repaired(bases[1]!, { rank: 16 })),
  claims: (runs) => [
    ...['lm-6m', 'pare-4m', 'smollm2'].flatMap((model) => claimsOf(runs, model)),
    ...[4, 8, 16, 32].flatMap((rank) => spaces.map((space) => spaceClaim(runs, rank, space))),
  ],
  failures: (runs) =>
    lostOrders(runs, [
      { lower: nameOf(repaired(bases[1]!, { rank: 16 })), higher: nameOf(bases[1]!), ratio: 0.85 },
    ]),
  series: ({ steps }) =>
    `${methodsOf(steps)}${steps[0]!.bits ? ` ${steps[0]!.bits} bits` : ''}${steps[1]?.space ? `, ${steps[1].space}` : ''}${steps[1]?.factorBits ? `, ${steps[1].factorBits} bits` : ''}`,
  extra: shares,
  remarks: `The share brought back is one less the KL with EoRA over that without. A, B and their groups are counted in the stored bits:
16 * rank * (1 / in + 1 / out) more a weight in f16. \`svd\` and \`activation\` are baselines of the same rank.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  const rank = usualRank(model)
  return [
    ...bases.map((base) =>
      ordered(runs, {
        text: `${model}: behind ${nameOf(base)}, EoRA of rank ${rank} brings back a part of the loss.`,
        model,
        names: [nameOf(repaired(base, { rank })), nameOf(base)],
      }),
    ),
    ...(model === 'smollm2'
      ? []
      : [
          belowLine(runs, {
            text: `${model}: at as many stored bits, rank ${rank} behind 3 bits loses less than GPTQ, between 3 bits with groups of 64 and 4 with a range a row.`,
            model,
            name: nameOf(repaired(three, { rank })),
            line: [nameOf(three), nameOf(more[0]!)],
          }),
          belowLine(runs, {
            text: `${model}: at as many stored bits, rank ${rank} behind 2 bits loses less than GPTQ at 3 bits with a range a row.`,
            model,
            name: nameOf(repaired(bases[1]!, { rank })),
            line: [nameOf(moreOfTwo)],
          }),
        ]),
  ]
}

function spaceClaim(runs: readonly OneShotRun[], rank: number, space: (typeof spaces)[number]): Claim {
  return ordered(runs, {
    text: `lm-6m: of rank ${rank} behind 3 bits, EoRA loses less than the same rank by ${space}.`,
    model: 'lm-6m',
    names: [nameOf(repaired(three, { rank })), nameOf(repaired(three, { rank, space }))],
  })
}

/** What of the loss is brought back, and for how many bits more. */
function shares(runs: readonly OneShotRun[]): string {
  const rows = summarize(runs).filter(({ runs: [first] }) => first!.steps.at(-1)!.method === 'eora')
  const cells = rows.flatMap(({ model, name, storedBits, runs: [first] }) => {
    const base = nameOf(first!.steps.slice(0, -1))
    const without = summarize(runs).find((row) => row.model === model && row.name === base)
    const found = ratios(runs, { model, lower: name, higher: base }).map((ratio) => 1 - ratio)
    if (!without || found.length === 0) return []
    const each = found.map((share) => `${(100 * share).toFixed(1)}%`).join(', ')
    return [
      [model, name, `${(100 * mean(found)).toFixed(1)}%`, each, (storedBits - without.storedBits).toFixed(3)],
    ]
  })
  return table(['model', 'steps', 'of the loss brought back', 'one a seed', 'bits more'], cells)
}
