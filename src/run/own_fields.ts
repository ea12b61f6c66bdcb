/**
 * Options that only some methods read, each declared once: what it may hold, how it is typed, and when to change it.
 * The table of methods says which methods read them, and with which default.
 */
import { z } from 'zod'

export interface OwnField {
  readonly schema: z.ZodType
  /** What follows the flag: `<x>`; nothing for one that is switched on. */
  readonly value?: string
  /** What it may be, for people. */
  readonly range: string
  /** What it does, and when to change it. */
  readonly help: string
}

const number = (need: string, fits: (x: number) => boolean) => ({
  schema: z.number({ error: need }).refine(fits, { error: need }),
  value: '<x>',
  range: need,
})
const whole = (least: number, most: number) => {
  const need = `a whole number from ${least} to ${most}`
  return {
    schema: z.int({ error: need }).min(least, { error: need }).max(most, { error: need }),
    value: '<n>',
    range: need,
  }
}
const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) => ({
  schema: z.enum(names, { error: `one of ${names.join(', ')}` }),
  value: '<name>',
  range: names.join(', '),
})
const patternNeed = 'unstructured, or N:M such as 2:4, which keeps N of every M'

export const ownFields = {
  sparsity: {
    ...number('a share from 0 to 1', (x) => x >= 0 && x <= 1),
    help: 'share of the weights that become 0, where the pattern does not say it; 0.5 is usual, more is worse quickly',
  },
  pattern: {
    schema: z
      .string({ error: patternNeed })
      .regex(/^(unstructured|[1-9]\d{0,2}:[1-9]\d{0,2})$/, { error: patternNeed }),
    value: '<text>',
    range: patternNeed,
    help: 'where zeros may fall; N:M for hardware that skips them, worse than unstructured at the same share',
  },
  blockSize: {
    ...whole(1, 65_536),
    help: 'columns that are decided before later ones are corrected; for sparsegpt also those whose zeros are chosen at once: 16 to 256 are alike, 1 is worse',
  },
  numbers: {
    ...oneOf(['f16', 'bf16', 'f32']),
    help: 'type of the weights that are left; bf16 where they go past 65504',
  },
  rank: {
    ...whole(0, 65_536),
    help: 'columns and rows of the two thin matrices; each costs inputs + outputs numbers, and the loss never grows with it',
  },
  space: {
    ...oneOf(['eigen', 'activation', 'svd']),
    help: 'what the low-rank product is nearest in: outputs on the calibration text, inputs scaled by their size, or weights; the last two are baselines',
  },
  factorBits: {
    ...oneOf(['16', '8', '4', '3']),
    help: 'bits of the numbers of the two thin matrices; 4 makes them four times smaller',
  },
} as const satisfies Readonly<Record<string, OwnField>>

export type OwnFieldName = keyof typeof ownFields
export const ownFieldNames = Object.keys(ownFields) as OwnFieldName[]

/** `N:M` as numbers; nothing for `unstructured`. */
export function groupsOfPattern(pattern: string): { n: number; m: number } | undefined {
  const [, n, m] = /^(\d+):(\d+)$/.exec(pattern) ?? []
  return n === undefined ? undefined : { n: Number(n), m: Number(m) }
}

/** What is given for the fields of its names. */
export type OwnOptions = {
  readonly [Name in OwnFieldName]?: z.output<(typeof ownFields)[Name]['schema']>
}
