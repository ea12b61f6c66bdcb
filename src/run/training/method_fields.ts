/** The entries of `methods` of a training recipe: pruning methods and their options. */
import { z } from 'zod'
import type { AcDcOptions } from '../../prune/ac_dc.ts'
import type { GlobalPruningOptions } from '../../prune/global.ts'
import type { GmpOptions } from '../../prune/gmp.ts'
import type { PruningOptions } from '../../prune/pruning_options.ts'
import type { MovingOptions } from '../../prune/sparse_training.ts'
import { type PruningMethodName, pruningMethods } from '../../prune/training_methods.ts'
import {
  above0,
  atLeast0,
  list,
  numberThat,
  oneOf,
  optional,
  record,
  whole,
  yesOrNo,
} from '../option_fields.ts'
import { match } from './optimiser_fields.ts'

export type MethodRecipe =
  | ({ method: 'gmp' } & GmpOptions)
  | { method: 'no_prune' }
  | ({
      method: 'magnitude' | 'random' | 'saliency' | 'fisher' | 'magnitude_ste' | 'random_ste'
    } & PruningOptions)
  | ({ method: 'global_magnitude' | 'global_saliency' } & GlobalPruningOptions)
  | ({ method: 'static_sparse' } & Omit<PruningOptions, 'schedule'>)
  | ({ method: 'set' | 'rigl' } & Omit<MovingOptions, 'drop'> & { drop?: number })
  | ({ method: 'ac_dc' } & AcDcOptions)

const sparsity = numberThat('a share of zeros from 0 to below 1', (x) => x >= 0 && x < 1)
const axis = z.int({ error: 'a whole number' })
const ties = oneOf(['lowest', 'latest', 'all'])

const selectionFields = optional({
  match,
  except: match,
  axes: whole(0),
  custom: list(
    record({
      match,
      sparsity: z.union([sparsity, z.null()], { error: 'a share of zeros, or null for none' }),
    }),
    'a list of patterns with their sparsity',
  ),
})
const selection = record(selectionFields)
const kinds = <Kinds extends readonly [z.core.$ZodTypeDiscriminable, ...z.core.$ZodTypeDiscriminable[]]>(
  error: string,
  all: Kinds,
) => z.discriminatedUnion('kind', all, { error })

const distribution = kinds('a map of kind uniform or erk', [
  record({ kind: z.literal('uniform'), ...selectionFields }),
  record({
    kind: z.literal('erk'),
    ...selectionFields,
    ...optional({
      power: atLeast0,
      kernel: yesOrNo,
      channels: z.tuple([axis, axis], { error: 'two axes' }),
    }),
  }),
])
/** How a sparsity rises. */
const rise = { from: sparsity, begin: whole(0), every: whole(1), power: above0() }
const schedule = kinds('a map of kind none, oneShot, periodic or polynomial', [
  record({ kind: z.literal('none') }),
  record({ kind: z.literal('oneShot'), at: whole(0) }),
  record({ kind: z.literal('periodic'), ...optional({ begin: whole(0), end: whole(0), every: whole(1) }) }),
  record({
    kind: z.literal('polynomial'),
    end: whole(1),
    ...optional({ ...rise, convention: oneOf(['gmp', 'jaxpruner']) }),
  }),
])
const patternField = kinds('a map of kind unstructured, n:m, block or channel', [
  record({ kind: z.literal('unstructured') }),
  record({ kind: z.literal('n:m'), n: whole(1), m: whole(1), axis: z.optional(axis) }),
  record({
    kind: z.literal('block'),
    shape: z.tuple([whole(1), whole(1)], { error: 'rows and columns of a block' }),
    ...optional({ pooling: oneOf(['average', 'max']), further: oneOf(['flattened', 'whole']) }),
  }),
  record({ kind: z.literal('channel'), axis: z.optional(axis) }),
])

const shared = optional({ ties, packed: yesOrNo, seed: whole(0) })
const spread = { sparsity, ...shared, ...optional({ distribution, pattern: patternField }) }
const scheduled = { ...spread, ...optional({ schedule }) }
const overAll = { sparsity, ...shared, ...optional({ schedule, selection, normalise: yesOrNo }) }
const moving = {
  sparsity,
  end: whole(0),
  ...optional({
    distribution,
    packed: yesOrNo,
    seed: whole(0),
    begin: whole(0),
    every: whole(1),
    drop: numberThat('a share from 0 to 1', (x) => x >= 0 && x <= 1),
  }),
}
const gmp = {
  sparsity,
  end: whole(1),
  ...optional({
    ...rise,
    selection,
    pattern: patternField,
    ungrouped: oneOf(['refuse', 'unstructured']),
    ties,
    packed: yesOrNo,
  }),
}
const acDc = {
  ...spread,
  begin: whole(0),
  sparse: whole(1),
  dense: whole(1),
  end: whole(0),
  ...optional({ reset: yesOrNo }),
}

/** The options of each method; one for every line of the table of methods. */
export const methodFields = {
  gmp,
  no_prune: {},
  magnitude: scheduled,
  random: scheduled,
  saliency: scheduled,
  fisher: scheduled,
  magnitude_ste: scheduled,
  random_ste: scheduled,
  global_magnitude: overAll,
  global_saliency: overAll,
  static_sparse: spread,
  set: moving,
  rigl: moving,
  ac_dc: acDc,
} satisfies Record<PruningMethodName, z.ZodRawShape>

export const methodNames = Object.keys(pruningMethods) as [PruningMethodName, ...PruningMethodName[]]
export const methodField = z.looseObject({ method: oneOf(methodNames) }, { error: 'a map with a method' })
