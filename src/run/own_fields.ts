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

const whole = (least: number, most: number) => {
  const need = `a whole number from ${least} to ${most}`
  return {
    schema: z.int({ error: need }).min(least, { error: need }).max(most, { error: need }),
    value: '<n>',
    range: need,
  }
}
const choice = <const Values extends readonly [number, ...number[]]>(values: Values) => ({
  schema: z.literal(values, { error: `one of ${values.join(', ')}` }),
  value: '<n>',
  range: values.join(', '),
})
const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) => ({
  schema: z.enum(names, { error: `one of ${names.join(', ')}` }),
  value: '<name>',
  range: names.join(', '),
})
export const ownFields = {
  rank: {
    ...whole(0, 65_536),
    help: 'columns and rows of the two thin matrices; each costs inputs + outputs numbers, and the loss never grows with it',
  },
  space: {
    ...oneOf(['eigen', 'activation', 'svd']),
    help: 'where the error is measured: at the outputs on the calibration text, with inputs by their size alone, or in the weights; the last two are baselines',
  },
  factorBits: {
    ...choice([3, 4, 8]),
    help: 'bits of the numbers of the two thin matrices; 4 costs a quarter of f16, for ranks above 16',
  },
  factorGroupSize: {
    ...whole(1, 65_536),
    help: 'numbers of the thin matrices that share a scale, with factor-bits; smaller is better and takes more',
  },
  factorRounding: {
    ...oneOf(['gptq', 'rtn']),
    help: 'how the thin matrices are rounded, with factor-bits; rtn is faster and worse',
  },
} as const satisfies Readonly<Record<string, OwnField>>

export type OwnFieldName = keyof typeof ownFields
export const ownFieldNames = Object.keys(ownFields) as OwnFieldName[]

/** What is given for the fields of its names. */
export type OwnOptions = {
  readonly [Name in OwnFieldName]?: z.output<(typeof ownFields)[Name]['schema']>
}
