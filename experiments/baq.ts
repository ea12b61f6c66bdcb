/**
 * BAQ against GPTQ at the same rate of 2, 3 and 4 bits with a range a row, and against GPTQ with groups at as many stored
 * bits.
 */
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { lostOrders, methodsOf, nameOf, ordered } from './one_shot_page.ts'

/** Rounded to nearest, with a range a row. */
const nearest = [step('rtn', { bits: 3, groupSize: 'row' })]
const shared = (bits: number) => [step('baq', { bits })]
/** With act-order too. */
const sweptSorted = (bits: number) => [step('baq', { bits, actOrder: true })]
const whole = (bits: number) => [step('baq', { bits, integerBits: true })]
const centred = (bits: number) => [step('baq', { bits, centred: true })]
/** In the order of the file, as BAQ sweeps. */
const row = (bits: number) => [step('gptq', { bits, groupSize: 'row', actOrder: false })]
const sorted = (bits: number) => [step('gptq', { bits, groupSize: 'row' })]
/** 0.1 bits for scales and zeros; 192 divides the rows of SmolLM2, 128 those of the zoo. */
const groups = (bits: number, model: string) => [
  step('gptq', { bits, groupSize: model === 'smollm2' ? 192 : 128 }),
]

const claimed = (model: string, bits: number): Row[] =>
  rowsOf(model, shared(bits), row(bits), groups(bits, model), sorted(bits), sweptSorted(bits))

/** What rate takes as many bits as GPTQ with a range a row does, once it is packed with its tables. */
const packed = [
  { rate: 2.86, bits: 3 },
  { rate: 1.92, bits: 2 },
] as const

const models = ['lm-6m', 'pare-4m', 'smollm2']
const rates = (model: string) => (model === 'smollm2' ? [3, 2] : [3, 2, 4])

export const baq = oneShotExperiment({
  name: 'baq',
  title: 'BAQ against GPTQ at the same rate',
  sources: [
    'src/quantize/baq.ts',
    'src/quantize/level_allocation.ts',
    'src/nn/level_sweep.ts',
    'native/src/level_sweep.rs',
    'native/src/level_rule.rs',
    ...gptqSources,
  ],
  systems: ['baq'],
  rows: [
    ...models.slice(0, 2).flatMap((model) => rates(model).flatMap((bits) => claimed(model, bits))),
    ...rowsOf('lm-6m', whole(3), whole(2), centred(2)),
    ...rowsOf('lm-6m', ...packed.map(({ rate }) => shared(rate))),
    ...oneSeed(rates('smollm2').flatMap((bits) => claimed('smollm2', bits))),
    ...['lm-6m-gqa', 'lm-2m'].flatMap((model) => [3, 2].flatMap((bits) => claimed(model, bits))),
  ],
  quick: rowsOf('pare-4m', shared(3), nearest),
  claims: (runs) => [
    ...models.flatMap((model) => rates(model).flatMap((bits) => claimsOf(runs, model, bits))),
    ...packed.map(({ rate, bits }) =>
      ordered(runs, {
        text: `lm-6m: at as many packed bits as GPTQ takes at ${bits} with a range a row, BAQ loses less, both in the order of the file.`,
        model: 'lm-6m',
        names: [nameOf(shared(rate)), nameOf(row(bits))],
      }),
    ),
    ...[3, 2].map((bits) =>
      ordered(runs, {
        text: `lm-6m: at a rate of ${bits} bits levels of any number lose less than whole bits.`,
        model: 'lm-6m',
        names: [nameOf(shared(bits)), nameOf(whole(bits))],
      }),
    ),
  ],
  failures: (runs) => lostOrders(runs, [{ lower: nameOf(shared(3)), higher: nameOf(nearest), ratio: 0.8 }]),
  series: ({ steps }) =>
    `${methodsOf(steps)}${steps[0]!.integerBits ? ', whole bits' : ''}${steps[0]!.actOrder === false ? ', file order' : steps[0]!.actOrder ? ', act-order' : ''}${typeof steps[0]!.groupSize === 'number' ? ', groups' : ''}`,
  remarks: `The rate is the mean of the logarithms of the levels; what is stored is packed into words of 64 bits, with the range of each
row and the levels of each column. BAQ sweeps in the order of the file by default; both stand there in that order and with act-order, which is the default of GPTQ.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string, bits: number): Claim[] {
  return [
    ordered(runs, {
      text: `${model}: at a rate of ${bits} bits BAQ loses less than GPTQ with a range a row, both in the order of the file.`,
      model,
      names: [nameOf(shared(bits)), nameOf(row(bits))],
    }),
    ordered(runs, {
      text: `${model}: at a rate of ${bits} bits it does so with act-order on both sides.`,
      model,
      names: [nameOf(sweptSorted(bits)), nameOf(sorted(bits))],
    }),
    ordered(runs, {
      text: `${model}: at a rate of ${bits} bits BAQ loses less than GPTQ with act-order and large groups, which is the stronger baseline.`,
      model,
      names: [nameOf(shared(bits)), nameOf(groups(bits, model))],
    }),
  ]
}
