/** The methods of compression steps: what each makes of a weight, which options it reads, and how its result is stored. */
import type { LayerMethod } from '../calibrate/method.ts'
import { type ExactObsOptions, exactObs, exactObsKept } from '../prune/exact_obs.ts'
import { type OneShotOptions, zerosOf } from '../prune/one_shot.ts'
import { oneShotMagnitude } from '../prune/one_shot_magnitude.ts'
import type { Pattern } from '../prune/pattern.ts'
import { sparsegpt } from '../prune/sparsegpt.ts'
import { wanda } from '../prune/wanda.ts'
import { aqlm } from '../quantize/aqlm.ts'
import { baq } from '../quantize/baq.ts'
import { blockTuner, modelTuner } from '../quantize/codebook_tuning.ts'
import { type QuantizerName, quantizers } from '../quantize/methods.ts'
import { obq } from '../quantize/obq.ts'
import { type OmniquantOptions, omniquant, omniquantTuner } from '../quantize/omniquant.ts'
import { quip } from '../quantize/quip.ts'
import { spqr } from '../quantize/spqr.ts'
import { eora } from '../recover/eora.ts'
import { aqlmOptions, baqOptions, given, quipOptions, spqrOptions } from './coder_options.ts'
import { groupsOfPattern, type OwnOptions } from './own_fields.ts'
import type { FactoryOptions, Quantizer, StepMethod, WeightStepMethod } from './step_method.ts'
import { aqlmForm, baqForm, eoraForm, quipForm, spqrForm } from './stored_forms.ts'
import { type TransformName, transforms } from './transforms.ts'

const prunerOptions = {
  sparsity: '0.5, or what the pattern says',
  pattern: 'unstructured',
  numbers: 'f16',
} as const

/** What a pruner is told of where zeros go. */
const pruned = ({ sparsity, pattern, numbers }: FactoryOptions): OneShotOptions =>
  given({ sparsity, numbers, pattern: pattern === undefined ? undefined : patternOf(pattern) })

const patternOf = (text: string): Pattern => {
  const groups = groupsOfPattern(text)
  if (groups) return { kind: 'n:m', ...groups }
  const [, width] = /^1x(\d+)$/.exec(text) ?? []
  return width === undefined ? { kind: 'unstructured' } : { kind: 'block', shape: [1, Number(width)] }
}

/** Weights that live, about: slabs and rows round for themselves. */
const kept = ([rows, columns]: readonly [number, number], { sparsity, pattern }: OwnOptions): number => {
  const groups = pattern === undefined ? undefined : groupsOfPattern(pattern)
  const share = groups ? 1 - groups.n / groups.m : (sparsity ?? 0.5)
  return rows * columns - zerosOf(rows * columns, share)
}

const obsOptions = ({ selection, damping, ...options }: FactoryOptions): ExactObsOptions => ({
  ...pruned(options),
  ...given({ selection, damping }),
})

const omniquantOptions = ({ learningRate, epochs, batch, seed }: FactoryOptions): OmniquantOptions =>
  given({ rate: learningRate, epochs, batch, seed })

/** What is known of quantisers beside their factories. */
const quantizerFacts: Partial<Record<QuantizerName, Partial<Quantizer>>> = {
  rtn: { summary: 'rounds to nearest, in seconds and without calibration' },
  gptq: {
    summary: 'rounds column by column and spreads each error over the columns still to come',
    options: {
      damping: '0.01',
      actOrder: 'on, but for gguf and llama.cpp',
      staticGroups: 'on; for gptq and pare off with --symmetric',
      onSingular: 'throw',
    },
  },
}

/** Every quantiser of `src/quantize/methods.ts`. */
const roundingMethods = Object.fromEntries(
  Object.entries(quantizers).map(([name, factory]) => {
    const make: Quantizer['make'] = ({ damping, actOrder, staticGroups, onSingular }) =>
      (factory as (options: object) => LayerMethod)(given({ damping, actOrder, staticGroups, onSingular }))
    const { needs } = make({})
    const usual = {
      kind: 'quantizer',
      blocks: true,
      searches: true,
      summary: 'rounds to the grid of the step',
      needs,
      options: {},
      make,
    }
    return [name, { ...usual, ...quantizerFacts[name as QuantizerName] }]
  }),
) as Record<QuantizerName, Quantizer>

const weightMethods = {
  ...roundingMethods,
  magnitude: {
    kind: 'pruner',
    joint: true,
    summary: 'sets the smallest weights to 0, without calibration: the baseline of pruning',
    needs: [],
    options: { ...prunerOptions, scope: 'layer' },
    make: (options) => oneShotMagnitude({ ...pruned(options), ...given({ scope: options.scope }) }),
    kept,
  },
  wanda: {
    kind: 'pruner',
    joint: true,
    summary:
      'sets the weights to 0 whose products with their inputs are smallest, of each row, in one pass over the calibration text',
    needs: ['squares'],
    options: { ...prunerOptions, variant: 'off' },
    make: (options) => wanda({ ...pruned(options), ...given({ variant: options.variant }) }),
    kept,
  },
  sparsegpt: {
    kind: 'pruner',
    joint: true,
    summary:
      'sets weights to 0 column by column and corrects those that are left; with --bits it rounds them in the same sweep',
    needs: ['gram'],
    options: {
      ...prunerOptions,
      damping: '0.01',
      blockSize: '128',
      lazyBlock: 'the block size',
      staticGroups: 'off',
      inclusive: 'off',
      onSingular: 'throw',
    },
    make: (options) => {
      const { damping, blockSize, lazyBlock, staticGroups, inclusive, onSingular } = options
      return sparsegpt({
        ...pruned(options),
        ...given({ damping, blockSize, lazyBlock, staticGroups, inclusive }),
        ...(onSingular === undefined
          ? {}
          : { onSingular: onSingular === 'round' ? 'magnitude' : onSingular }),
      })
    },
    kept,
  },
  obs: {
    kind: 'pruner',
    joint: false,
    summary:
      'sets weights to 0 one by one, each where it costs the outputs least, and corrects all others: exact and slow, of rows x columns³ operations',
    needs: ['gram'],
    options: {
      ...prunerOptions,
      selection: 'heap',
      damping: '0, or 0.01 where there are fewer tokens than inputs',
    },
    make: (options) => exactObs(obsOptions(options)),
    kept: (shape, options) => exactObsKept(shape, obsOptions(options)) ?? kept(shape, options),
  },
  obq: {
    kind: 'quantizer',
    blocks: false,
    searches: false,
    summary:
      'rounds weights one by one, each where it costs the outputs least, and corrects all others: exact and slow, of rows x columns³ operations',
    needs: ['gram'],
    options: { obqOrder: 'greedy', damping: '0.01', onSingular: 'throw' },
    make: ({ obqOrder, damping, onSingular }) => obq(given({ order: obqOrder, damping, onSingular })),
  },
  omniquant: {
    kind: 'quantizer',
    blocks: false,
    searches: false,
    summary:
      'rounds to nearest in ranges that are trained, block by block, on what the block puts out: for 2 and 3 bits, and slow',
    needs: ['squares'],
    options: { epochs: '20, or 40 with 2 bits', learningRate: '0.01', batch: '1' },
    make: (options) => omniquant(omniquantOptions(options)),
    training: {
      options: ['epochs', 'learningRate', 'batch'],
      floats: false,
      tuner: (options) => omniquantTuner(omniquantOptions(options)),
    },
  },
  spqr: {
    kind: 'coder',
    summary:
      'codes in groups of 16 with scales that are codes themselves, and about one in a hundred weights kept in 16 bits',
    needs: ['gram'],
    options: {
      bits: '3',
      groupSize: '16',
      scaleBits: '3',
      zeroBits: '3',
      tileRows: '16',
      secondOrder: 'on',
      outlierThreshold: '0.2',
      simplifiedOutliers: 'off',
      roundZero: 'off',
      actOrder: 'on',
      damping: '1',
      blockSize: '128, or the nearest multiple of the group below',
      onSingular: 'throw',
    },
    ranges: { bits: 'a whole number from 2 to 8' },
    make: (options) => spqr(spqrOptions(options)),
    form: (shape, options) => spqrForm(shape, spqrOptions(options)),
  },
  baq: {
    kind: 'coder',
    summary: 'gives each column as many levels as its loss asks for, at one rate for the layer',
    needs: ['gram'],
    options: {
      bits: '3',
      losses: 'measured',
      exponent: '1.95',
      centred: 'off',
      integerBits: 'off',
      actOrder: 'off',
      damping: '0.01',
      onSingular: 'throw',
    },
    ranges: { bits: 'a number from 1 to 8, with any fraction' },
    make: (options) => baq(baqOptions(options)),
    form: (shape, options) => baqForm(shape, baqOptions(options)),
  },
  aqlm: {
    kind: 'coder',
    summary:
      'stores tiles of 8 weights as sums of entries of codebooks, searched and trained on the calibration text: best at 2 bits, and slow',
    needs: ['gram'],
    options: {
      books: '2',
      bookBits: '8',
      tileColumns: '8',
      tileRows: '1',
      beam: '1',
      rounds: '10',
      tolerance: '0.01',
      adamSteps: '100',
      learningRate: '1e-4',
      kMeansRounds: '100',
      blockEpochs: '0',
      blockRate: '1e-5',
      blockPatience: '3',
      blockHeld: '0.125',
      modelEpochs: '0',
      modelRate: '1e-5',
      modelPatience: '3',
      modelHeld: '0.125',
      modelBatch: '8',
    },
    make: (options) => aqlm(aqlmOptions(options)),
    training: {
      options: ['blockEpochs', 'blockRate', 'blockPatience', 'blockHeld'],
      floats: true,
      // The paper's five passes take most of the time of a run, and change what the same command gave before.
      tuner: ({ blockEpochs = 0, blockRate, blockPatience, blockHeld, seed }) =>
        blockTuner({
          epochs: blockEpochs,
          ...given({ rate: blockRate, patience: blockPatience, held: blockHeld, seed }),
        }),
    },
    modelTraining: {
      options: ['modelEpochs', 'modelRate', 'modelPatience', 'modelHeld', 'modelBatch'],
      floats: true,
      tuner: ({ modelEpochs = 0, modelRate, modelPatience, modelHeld, modelBatch = 8, seed }) =>
        modelTuner({
          ...{ epochs: modelEpochs, accumulate: modelBatch },
          ...given({ rate: modelRate, patience: modelPatience, held: modelHeld, seed }),
        }),
    },
    form: (shape, options) => aqlmForm(shape, aqlmOptions(options)),
  },
  quip: {
    kind: 'coder',
    summary:
      'turns the weight by random orthogonal matrices, so that nothing in it stands out, and rounds it to one grid: made for 2 bits',
    needs: ['gram'],
    options: {
      bits: '2',
      rho: '2.4',
      rounding: 'ldlq',
      greedyPasses: '0',
      damping: '0.01',
      onSingular: 'throw',
    },
    ranges: { bits: 'a whole number from 1 to 8' },
    make: (options) => quip(quipOptions(options)),
    form: (shape, options) => quipForm(shape, quipOptions(options)),
  },
  eora: {
    kind: 'repair',
    summary:
      'adds two thin matrices to what the steps before stored, which bring back most of what the outputs lost',
    needs: ['gram'],
    options: {
      rank: '16',
      space: 'eigen',
      factorBits: 'f16',
      factorGroupSize: '64',
      factorRounding: 'gptq',
    },
    make: ({ rank, space, factorBits, factorGroupSize, factorRounding }) =>
      eora(given({ rank, space, factorBits, factorGroupSize, factorRounding })),
    form: eoraForm,
  },
} as const satisfies Readonly<Record<string, WeightStepMethod>>

export type WeightMethodName = keyof typeof weightMethods
export const weightMethodNames = Object.keys(weightMethods) as [WeightMethodName, ...WeightMethodName[]]
export const stepMethods = { ...transforms, ...weightMethods }

export type StepMethodName = keyof typeof stepMethods
export const stepMethodNames = Object.keys(stepMethods) as [StepMethodName, ...StepMethodName[]]
export function stepMethod(name: WeightMethodName): WeightStepMethod
export function stepMethod(name: StepMethodName): StepMethod
export function stepMethod(name: StepMethodName): StepMethod {
  return stepMethods[name]
}
export const isTransform = (name: StepMethodName): name is TransformName => Object.hasOwn(transforms, name)
