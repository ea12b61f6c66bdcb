/** AQLM against GPTQ and rounding to nearest at 2 to 2.6 stored bits, codebooks included. */
import type { WeightStep } from '#src/run/weight_step.ts'
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { methodSources } from './method_sources.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { belowLine, lostOrders, nameOf, ordered } from './one_shot_page.ts'

/** Tiles of 8 columns; small matrices want small books. */
const books = (count: number, bookBits: number) => [step('aqlm', { books: count, bookBits })]
const plain = (method: 'gptq' | 'rtn', groupSize: number) => [step(method, { bits: 2, groupSize })]
/** With more bits than a quick AQLM. */
const nearest = [step('rtn', { bits: 2, groupSize: 'row' })]

/** Two books of 128 entries take 2.1 bits on the zoo's matrices, those of 256 take 2.2 on those of SmolLM2. */
const usual = (model: string) => books(2, model === 'smollm2' ? 8 : 7)
const zoo = (model: string): Row[] =>
  rowsOf(model, usual(model), ...[128, 64, 32].map((groupSize) => plain('gptq', groupSize)), plain('rtn', 64))

/** The rate for models of some million weights. */
const blocks = { blockEpochs: 5, blockRate: 1e-4 }
const whole = { modelEpochs: 5, modelRate: 1e-4 }
const trained = (model: string): WeightStep[][] =>
  [{ ...blocks, ...whole }, whole, blocks].map((training) => [{ ...usual(model)[0]!, ...training }])

const models = ['lm-6m', 'pare-4m', 'smollm2']
const small = models.slice(0, 2)

export const aqlm = oneShotExperiment({
  name: 'aqlm',
  title: 'AQLM against GPTQ at 2 to 2.6 bits',
  sources: [
    ...new Set([
      ...methodSources('src/quantize/aqlm.ts'),
      'src/quantize/aqlm_options.ts',
      'src/quantize/codebook_steps.ts',
      'src/nn/additive_codebooks.ts',
      'native/src/codebook_gradient.rs',
      'native/src/k_means.rs',
      'native/src/nearest_entry.rs',
      ...gptqSources,
    ]),
  ],
  systems: ['aqlm'],
  rows: [
    ...zoo('lm-6m'),
    ...rowsOf('lm-6m', books(2, 6), books(3, 6), books(2, 8)),
    ...zoo('pare-4m'),
    // AQLM takes some forty minutes of processor time.
    ...oneSeed(rowsOf('smollm2', plain('gptq', 64), plain('rtn', 64), usual('smollm2'))),
    ...['lm-6m-gqa', 'lm-2m'].flatMap(zoo),
    ...oneSeed(small.flatMap((model) => rowsOf(model, ...trained(model)))),
  ],
  quick: rowsOf(
    'pare-4m',
    [step('aqlm', { books: 2, bookBits: 6, rounds: 1, adamSteps: 10, kMeansRounds: 20 })],
    nearest,
  ),
  claims: (runs) => [
    ...models.flatMap((model) => claimsOf(runs, model)),
    ...small.flatMap((model) => trainingClaims(runs, model)),
  ],
  failures: (runs) => {
    const [quick] = runs.filter(({ steps }) => steps[0]!.method === 'aqlm')
    return quick
      ? lostOrders(runs, [{ lower: quick.name, higher: nameOf(nearest), ratio: 0.95 }])
      : ['no run of AQLM']
  },
  series: ({ steps: [first] }) =>
    `${first!.method}${first!.books ? ` ${first!.books} books` : ''}${first!.blockEpochs ? ', blocks trained' : ''}${first!.modelEpochs ? ', model trained' : ''}`,
  remarks: `AQLM has tiles of 8 columns in one row. Rows that say nothing of training find codes and codebooks alone; the authors train
blocks too. Codebooks of 256 entries take 0.3 to 1 bit a weight of a matrix of the zoo, those of 128 half of
that. All of it is counted.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  return [
    ordered(runs, {
      text: `${model}: near 2.1 bits AQLM loses less than round to nearest with groups of 64.`,
      model,
      names: [nameOf(usual(model)), nameOf(plain('rtn', 64))],
    }),
    belowLine(runs, {
      text: `${model}: near 2.1 bits AQLM loses less than GPTQ at no fewer stored bits.`,
      model,
      name: nameOf(usual(model)),
      line: (model === 'smollm2' ? [64] : [128, 64, 32]).map((groupSize) => nameOf(plain('gptq', groupSize))),
    }),
  ]
}

function trainingClaims(runs: readonly OneShotRun[], model: string): Claim[] {
  const [both, modelAlone, blocksAlone] = trained(model).map(nameOf) as [string, string, string]
  const none = nameOf(usual(model))
  return [
    ordered(runs, {
      text: `${model}: training of blocks lowers the loss of AQLM, that of the model behind it lowers it more.`,
      model,
      names: [both, blocksAlone, none],
    }),
    ordered(runs, {
      text: `${model}: training of the model alone lowers it too.`,
      model,
      names: [modelAlone, none],
    }),
  ]
}
