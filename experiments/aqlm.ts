/** AQLM against GPTQ and rounding to nearest at 2 to 2.6 stored bits, codebooks included. */
import type { Claim } from './experiment.ts'
import { sources as gptqSources } from './gptq_result.ts'
import { methodSources } from './method_sources.ts'
import { oneSeed, oneShotExperiment, type Row, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { belowLine, lostOrders, methodsOf, nameOf } from './one_shot_page.ts'

/** Tiles of 8 columns; small matrices want small books. */
const books = (count: number, bookBits: number) => [step('aqlm', { books: count, bookBits })]
const plain = (method: 'gptq' | 'rtn', groupSize: number) => [step(method, { bits: 2, groupSize })]
/** With more bits than a quick AQLM. */
const nearest = [step('rtn', { bits: 2, groupSize: 'row' })]

/** Two books of 128 entries take 2.1 bits on the zoo's matrices, those of 256 take 2.2 on those of SmolLM2. */
const usual = (model: string) => books(2, model === 'smollm2' ? 8 : 7)
const zoo = (model: string): Row[] =>
  rowsOf(model, usual(model), ...[128, 64, 32].map((groupSize) => plain('gptq', groupSize)), plain('rtn', 64))

const models = ['lm-6m', 'pare-4m', 'smollm2']

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
  ],
  quick: rowsOf(
    'pare-4m',
    [step('aqlm', { books: 2, bookBits: 6, rounds: 1, adamSteps: 10, kMeansRounds: 20 })],
    nearest,
  ),
  claims: (runs) => models.flatMap((model) => claimsOf(runs, model)),
  failures: (runs) => {
    const [quick] = runs.filter(({ steps }) => steps[0]!.method === 'aqlm')
    return quick
      ? lostOrders(runs, [{ lower: quick.name, higher: nameOf(nearest), ratio: 0.95 }])
      : ['no run of AQLM']
  },
  series: ({ steps }) => `${methodsOf(steps)}${steps[0]!.books ? ` ${steps[0]!.books} books` : ''}`,
  remarks: `AQLM has tiles of 8 columns in one row; blocks are not trained after the codes are found, which the authors do, so that more
is lost than they report. Codebooks of 256 entries take 0.3 to 1 bit a weight of a matrix of the zoo, those of 128 half of
that. All of it is counted.`,
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  return [
    belowLine(runs, {
      text: `${model}: near 2.1 bits AQLM loses less than GPTQ at no fewer stored bits.`,
      model,
      name: nameOf(usual(model)),
      line: (model === 'smollm2' ? [64] : [128, 64, 32]).map((groupSize) => nameOf(plain('gptq', groupSize))),
    }),
  ]
}
