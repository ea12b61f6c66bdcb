/** The field `optimiser` of a training recipe. */
import { z } from 'zod'
import type { Match } from '../../nn/parameters.ts'
import { above0, atLeast0, list, oneOf, optional, pattern, record, whole, yesOrNo } from '../option_fields.ts'

/** How the rate goes from its first value. */
export type ScheduleRecipe =
  | { name: 'constant'; warmUp?: number }
  /** To its end at the last step. */
  | { name: 'cosine' | 'linear'; warmUp?: number /** From 0 on. @default 0 */; to?: number }
  /** Multiplied by `gamma` at each milestone, counted in steps of the training. */
  | { name: 'step'; warmUp?: number; milestones: readonly number[] /** @default 0.1 */; gamma?: number }

export interface OptimiserRecipe {
  name: 'adamw' | 'adam' | 'sgd'
  /** Highest learning rate. @default 1e-3 */
  rate?: number
  /** @default constant */
  schedule?: ScheduleRecipe
  /** @default 0.01 for adamw, else 0 */
  decay?: number
  /** Of adamw and adam. @default [0.9, 0.999] */
  betas?: readonly number[]
  /** Of adamw and adam. @default 1e-8 */
  epsilon?: number
  /** Of sgd. @default 0 */
  momentum?: number
  /** Of sgd. @default false */
  nesterov?: boolean
  /** Parameters with another decay, or whose rate is that of the schedule times `scale`. @default none */
  groups?: readonly { match: Match; decay?: number; scale?: number }[]
}

export const optimiserNames = ['adamw', 'adam', 'sgd'] as const
export const scheduleNames = ['constant', 'cosine', 'linear', 'step'] as const

const beta = 'two numbers from 0 to below 1'
export const match = z.union([pattern, list(pattern, 'a list of patterns')], {
  error: 'a pattern, or a list of patterns',
})

const warmUp = z.optional(whole(0))
const ramp = z.optional(atLeast0)
export const scheduleSchemas = {
  constant: record({ name: z.literal('constant'), warmUp }),
  cosine: record({ name: z.literal('cosine'), warmUp, to: ramp }),
  linear: record({ name: z.literal('linear'), warmUp, to: ramp }),
  step: record({
    name: z.literal('step'),
    warmUp,
    milestones: list(whole(1), 'a list of steps'),
    gamma: z.optional(above0()),
  }),
}
export const scheduleField = z.looseObject({ name: oneOf(scheduleNames) }, { error: 'a map with a name' })

const groups = z.optional(
  list(record({ match, ...optional({ decay: atLeast0, scale: atLeast0 }) }), 'a list of groups'),
)
const shared = { ...optional({ rate: above0(), schedule: z.unknown(), decay: atLeast0 }), groups }
const adam = {
  ...shared,
  ...optional({
    betas: z
      .array(z.number({ error: beta }).min(0, { error: beta }).lt(1, { error: beta }), { error: beta })
      .length(2, { error: beta }),
    epsilon: above0(),
  }),
}
export const optimiserSchemas = {
  adamw: record({ name: z.literal('adamw'), ...adam }),
  adam: record({ name: z.literal('adam'), ...adam }),
  sgd: record({
    name: z.literal('sgd'),
    ...shared,
    ...optional({ momentum: atLeast0, nesterov: yesOrNo }),
  }),
}
export const optimiserField = z.looseObject({ name: oneOf(optimiserNames) }, { error: 'a map with a name' })
