/**
 * SpQR against GPTQ and rounding to nearest near 3.6 and 4.2 stored bits: groups of 16 with coded scales, with and without
 * outliers.
 */
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { belowLine, lostOrders, nameOf, ordered } from './one_shot_page.ts'

/** 3.6 bits without outliers; each hundredth of the weights that is one adds 0.32. */
const coded = (outlierThreshold: number, bits = 3) => [step('spqr', { bits, outlierThreshold })]
const none = 1e6
/** The damping of the other methods: groups and outliers follow the calibration text closely. */
const light = [step('spqr', { bits: 3, outlierThreshold: 0.2, damping: 0.01 })]
/** 3 + 19 / 32 and 3 + 19 / 16 bits. */
const plain = (method: 'gptq' | 'rtn', groupSize: number, bits = 3) => [step(method, { bits, groupSize })]

/** Near 3.6 bits first, then with outliers near 4.2. */
const claimed = (model: string): Row[] =>
  rowsOf(
    model,
    coded(none),
    plain('gptq', 32),
    plain('rtn', 32),
    coded(0.2),
    plain('gptq', 16),
    plain('rtn', 16),
  )

const models = ['lm-6m', 'pare-4m', 'smollm2']

export const spqr = oneShotExperiment({
  name: 'spqr',
  title: 'SpQR against GPTQ near 3.6 bits',
  sources: [
    'src/quantize/spqr.ts',
    'src/nn/spqr_sweep.ts',
    'native/src/spqr_rule.rs',
    'native/src/spqr_sweep.rs',
    'native/src/bilevel_fit.rs',
    'native/src/outlier_search.rs',
    ...gptqSources,
  ],
  systems: ['spqr'],
  rows: [
    ...models.slice(0, 2).flatMap(claimed),
    ...rowsOf(
      'lm-6m',
      coded(0.5),
      // About a hundredth of the weights.
      coded(0.28),
      coded(0.1),
      plain('gptq', 128),
      light,
      coded(none, 4),
      plain('gptq', 64, 4),
      plain('gptq', 32, 4),
    ),
    ...oneSeed(claimed('smollm2')),
    ...['lm-6m-gqa', 'lm-2m'].flatMap(claimed),
  ],
  quick: rowsOf('pare-4m', coded(none), plain('rtn', 32)),
  claims: (runs) => models.flatMap((model) => claimsOf(runs, model)),
  failures: (runs) =>
    lostOrders(runs, [{ lower: nameOf(coded(none)), higher: nameOf(plain('rtn', 32)), ratio: 0.8 }]),
  remarks: `SpQR takes 3.63 bits without outliers and 0.32 more for each hundredth of the weights that is one. The order of the columns
and where each row of outliers begins come on top: some 0.25 bits on the matrices of the zoo, whose rows are short, and 0.1 on
those of SmolLM2. All of it is counted.

A checkpoint for transformers pads each row of a tile to 64 bits. The result of \`pare compress experiments/models/pare-4m --method
spqr --outlier-threshold 0.2 --samples 16 --length 256\` takes 4.42 bits a linear weight; \`pare convert --target transformers --format
spqr\` makes 4.70 of them. With a threshold of 1000000, which leaves no outliers, 3.89 become 4.16.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  const line = [nameOf(plain('gptq', 32)), nameOf(plain('gptq', 16))]
  return [
    ...(model === 'lm-6m'
      ? [
          ordered(runs, {
            text: `${model}: SpQR with an outlier in a hundred weights loses less than GPTQ with groups of 32, and that less than with groups of 128.`,
            model,
            names: [nameOf(coded(0.28)), nameOf(plain('gptq', 32)), nameOf(plain('gptq', 128))],
          }),
        ]
      : []),
    belowLine(runs, {
      text: `${model}: SpQR without outliers loses less than GPTQ at as many stored bits, between groups of 32 and of 16.`,
      model,
      name: nameOf(coded(none)),
      line,
    }),
    ordered(runs, {
      text: `${model}: SpQR with outliers at threshold 0.2 loses less than GPTQ with groups of 16.`,
      model,
      names: [nameOf(coded(0.2)), line[1]!],
    }),
    ordered(runs, {
      text: `${model}: GPTQ loses less than round to nearest with groups of 32.`,
      model,
      names: [line[0]!, nameOf(plain('rtn', 32))],
    }),
  ]
}
