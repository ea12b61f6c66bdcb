/** The methods of compression steps: what each makes of a weight, which options it reads, and how its result is stored. */
import type { LayerMethod, StatisticName } from '../calibrate/method.ts'
import type { PareWeight } from '../formats/pare_weight.ts'
import { type OneShotOptions, zerosOf } from '../prune/one_shot.ts'
import { oneShotMagnitude } from '../prune/one_shot_magnitude.ts'
import type { Pattern } from '../prune/pattern.ts'
import { sparsegpt } from '../prune/sparsegpt.ts'
import { wanda } from '../prune/wanda.ts'
import { gptq } from '../quantize/gptq.ts'
import { rtn } from '../quantize/rtn.ts'
import { eora } from '../recover/eora.ts'
import { groupsOfPattern, type OwnFieldName, type OwnOptions } from './own_fields.ts'

/** Options that more than one kind of method reads, beside those of grids. */
export type SharedField = 'actOrder' | 'staticGroups' | 'damping' | 'onSingular'

/** What is said to a method's factory. */
export type FactoryOptions = OwnOptions & {
  readonly damping?: number
  readonly actOrder?: boolean
  readonly staticGroups?: boolean
  readonly onSingular?: 'throw' | 'round'
  readonly seed?: number
}

interface Method {
  /** One line for help and docs. */
  readonly summary: string
  readonly needs: readonly StatisticName[]
  /** Options that it reads, by name, with the default as text. */
  readonly options: Readonly<Partial<Record<OwnFieldName | SharedField, string>>>
  make(options: FactoryOptions): LayerMethod
}

/** Rounds to the grid that the step has: any target can hold it. */
interface Quantizer extends Method {
  readonly kind: 'quantizer'
}

/** Sets weights to 0. */
interface Pruner extends Method {
  readonly kind: 'pruner'
  /** Rounds what is left to the grid of the step in the same sweep, where it has one. */
  readonly joint: boolean
  /** Weights that are left of a matrix. */
  kept(shape: readonly [number, number], options: OwnOptions): number
}

/** Stores a weight in a form of its own. */
interface Coder extends Method {
  readonly kind: 'coder'
  /** The form; where data decides its size, about so large. */
  form(shape: readonly [number, number], options: FactoryOptions & { bits?: number }): PareWeight
}

/** Adds to what earlier steps stored. */
interface Repair extends Method {
  readonly kind: 'repair'
  form(shape: readonly [number, number], options: FactoryOptions, before: PareWeight): PareWeight
}

export type StepMethod = Quantizer | Pruner | Coder | Repair

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
  return groups ? { kind: 'n:m', ...groups } : { kind: 'unstructured' }
}

/** Weights that live, about: slabs and rows round for themselves. */
const kept = ([rows, columns]: readonly [number, number], { sparsity, pattern }: OwnOptions): number => {
  const groups = pattern === undefined ? undefined : groupsOfPattern(pattern)
  const share = groups ? 1 - groups.n / groups.m : (sparsity ?? 0.5)
  return rows * columns - zerosOf(rows * columns, share)
}

export const stepMethods = {
  rtn: {
    kind: 'quantizer',
    summary: 'rounds to nearest, in seconds and without calibration',
    needs: [],
    options: {},
    make: () => rtn(),
  },
  gptq: {
    kind: 'quantizer',
    summary: 'rounds column by column and spreads each error over the columns still to come',
    needs: ['gram'],
    options: {
      damping: '0.01',
      actOrder: 'on, but for gguf and llama.cpp',
      staticGroups: 'on; for gptq and pare off with --symmetric',
      onSingular: 'throw',
    },
    make: ({ damping, actOrder, staticGroups, onSingular }) =>
      gptq(given({ damping, actOrder, staticGroups, onSingular })),
  },
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
    form: (shape, { rank = 16, factorBits, factorGroupSize = 64 }, before) => {
      const used = Math.min(rank, ...shape)
      if (used === 0) return before
      const factor = (rows: number, columns: number): PareWeight =>
        factorBits === undefined
          ? { kind: 'dense', shape: [rows, columns], numberType: 'f16' }
          : {
              ...{
                kind: 'grid',
                shape: [rows, columns],
                bits: factorBits,
                symmetric: false,
                scaleType: 'f16',
              },
              groupSize: Math.min(factorGroupSize, columns),
              sorted: false,
            }
      return {
        kind: 'sum',
        shape: [...shape],
        terms: [
          before,
          {
            kind: 'product',
            shape: [...shape],
            left: factor(shape[0], used),
            right: factor(used, shape[1]),
          },
        ],
      }
    },
  },
} as const satisfies Readonly<Record<string, StepMethod>>

export type StepMethodName = keyof typeof stepMethods
export const stepMethodNames = Object.keys(stepMethods) as [StepMethodName, ...StepMethodName[]]
export const stepMethod = (name: StepMethodName): StepMethod => stepMethods[name]

/** Without what is undefined, which factories do not take for left out. */
function given<Fields extends object>(fields: Fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields]?: Exclude<Fields[Name], undefined>
  }
}
