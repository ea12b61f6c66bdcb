/** A step of a compression: a method, how its codes are stored, and the weights that it takes. */
import { type GgufScheme, mixSchemes } from '../models/write/gguf_mix.ts'
import { type BlockTypeName, bitsPerWeight, codedTypeNames } from '../nn/block_types.ts'
import { type AffineGrid, affineGrid, checkGrid } from '../nn/grid.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { checkLevels } from './level_rules.ts'
import type { stepFields } from './option_fields.ts'
import { type OwnFieldName, type OwnOptions, ownFieldNames } from './own_fields.ts'
import {
  isTransform,
  type StepMethodName,
  stepMethod,
  stepMethodNames,
  type WeightMethodName,
} from './step_methods.ts'
import type { ChosenTarget } from './targets.ts'
import type { TransformName } from './transforms.ts'

/** The options of single methods are those of `own_fields.ts`; which of them a method reads, `step_methods.ts` says. */
export interface WeightStep extends OwnOptions {
  /** @default 'gptq' */
  method?: StepMethodName
  /** Block type of GGUF files, or a mix such as Q4_K_M; for GGUF files only. @default 'Q4_K', for llama.cpp 'Q4_K_M' */
  scheme?: string
  /** 2, 3, 4 or 8, of which each target takes some; not for GGUF files. @default 4 */
  bits?: number
  /** Columns per scale; not for GGUF files. @default 64; for a program the largest of its own that divides all rows */
  groupSize?: number | 'row'
  /** The zero stands in the middle of the codes. @default false; for a program what it computes fastest */
  symmetric?: boolean
  /** Searches a narrower range for each group. @default false */
  search?: boolean
  /** GPTQ sweeps the inputs with the most energy first. @default true, but false for GGUF files */
  actOrder?: boolean
  /** With act-order: groups stay neighbours, fitted before the sweep. Block types always do. @default true, false with `symmetric` for gptq and pare */
  staticGroups?: boolean
  /** Added to the diagonal of the Gram matrix, as a share of its mean. @default 0.01 */
  damping?: number
  /** @default 'throw' */
  onSingular?: 'throw' | 'round'
  /** Patterns of the linear weights that the step takes. @default all */
  only?: readonly string[]
  /** Where the step stands, for messages: `recipe.yaml:7: steps[0]`. */
  at?: string
}

/** A step that rewrites the model before its weights are compressed. */
export interface ResolvedTransform {
  method: TransformName
  own: OwnOptions
  at: string
}

export interface ResolvedStep {
  method: WeightMethodName
  /** What was said for options that only some methods read; for methods without a grid, also for those below. */
  own: OwnOptions & Partial<Pick<WeightStep, (typeof sharedFields)[number] | 'bits' | 'groupSize'>>
  /** The block type or mix, where the format has named types. */
  scheme: GgufScheme | undefined
  /** The levels, where it has levels. */
  grid: AffineGrid | undefined
  /** Nobody asked for a group size, so that the model may decide. */
  openGroups: boolean
  actOrder: boolean
  staticGroups: boolean
  damping: number
  onSingular: 'throw' | 'round'
  only: readonly string[] | undefined
  at: string
}

/** A field's name for messages. */
export type Label = (field: keyof typeof stepFields | 'only') => string

/** Fields of a grid, and those that more than one method reads. */
export const gridFields = ['scheme', 'bits', 'groupSize', 'symmetric', 'search'] as const
export const sharedFields = ['actOrder', 'staticGroups', 'damping', 'onSingular'] as const

/** A step on weights, with every default filled in. @throws OptionError for the first rule that is broken */
export function resolveStep(step: WeightStep, chosen: ChosenTarget, label: Label, at: string): ResolvedStep {
  const method = (step.method ?? 'gptq') as WeightMethodName
  const facts = stepMethod(method)
  checkRead(step, method, label)
  const own = Object.fromEntries(
    [
      ...ownFieldNames,
      ...(facts.kind === 'quantizer' ? [] : sharedFields),
      ...(facts.kind === 'coder' ? (['bits', 'groupSize'] as const) : []),
    ].flatMap((name) => (step[name] === undefined ? [] : [[name, step[name]]])),
  ) as ResolvedStep['own']
  const isBlocks = chosen.facts.weights === 'blocks'
  const rounds =
    facts.kind === 'quantizer' || (facts.kind === 'pruner' && facts.joint && step.bits !== undefined)
  const shared = {
    method,
    own,
    damping: step.damping ?? 0.01,
    onSingular: step.onSingular ?? 'throw',
    only: step.only,
    at,
  }
  if (!rounds)
    return {
      ...shared,
      scheme: undefined,
      grid: undefined,
      openGroups: false,
      actOrder: false,
      staticGroups: false,
    }
  const order = orderOf(step, chosen, label)
  return {
    ...shared,
    ...order,
    scheme: isBlocks ? schemeOf(step, chosen, label) : undefined,
    grid: isBlocks ? undefined : gridOf(step, chosen, label),
    openGroups: !isBlocks && step.groupSize === undefined && chosen.layout.levels !== undefined,
  }
}

/** @throws OptionError for what the method would not look at. */
export function checkRead(step: WeightStep, method: StepMethodName, label: Label): void {
  const fields = [...ownFieldNames, ...gridFields, ...sharedFields]
  const unread = fields.find(
    (name) => step[name] !== undefined && !reads(method, name) && !isUsual(method, name, step[name]),
  )
  if (unread === undefined) return
  const readers = stepMethodNames.filter((name) => reads(name, unread)).join(', ')
  const behind = isTransform(method) ? `; put it behind --then and one of them` : ''
  throw new OptionError(
    `${label(unread)}: ${method} does not read it; leave it out${readers === '' ? '' : `, it is for ${readers}${behind}`}`,
    { code: 'PARE_E_FIELD', facts: { field: unread, method } },
  )
}

function reads(
  method: StepMethodName,
  field: (typeof gridFields)[number] | (typeof sharedFields)[number] | OwnFieldName,
) {
  const facts = stepMethod(method)
  const isOf = (names: readonly string[]) => names.includes(field)
  if (Object.hasOwn(facts.options, field)) return true
  if (facts.kind === 'quantizer') return isOf(gridFields) && (field !== 'search' || facts.searches)
  return facts.kind === 'pruner' && facts.joint && isOf(gridFields)
}

/** Recipes of earlier results say to every quantiser what holds for it anyway. */
function isUsual(method: StepMethodName, field: string, value: unknown): boolean {
  if (stepMethod(method).kind !== 'quantizer') return false
  return field === 'staticGroups' || (Object.hasOwn(usual, field) && usual[field] === value)
}
const usual: Readonly<Record<string, unknown>> = {
  search: false,
  actOrder: false,
  damping: 0.01,
  onSingular: 'throw',
}

/** In which order gptq and its like go, and what groups are then. */
function orderOf(
  step: WeightStep,
  { name, facts, layout }: ChosenTarget,
  label: Label,
): { actOrder: boolean; staticGroups: boolean } {
  const { method = 'gptq' } = step
  const isBlocks = facts.weights === 'blocks'
  // What block types gain from it is not measured, so that it has to be asked for.
  const actOrder = step.actOrder ?? (method === 'gptq' && !isBlocks)
  // A fixed range clips weights that drift, and a symmetric one has its largest weight at the edge already. Programs are
  // faster where groups are neighbours, and most formats have no other.
  const staticGroups = step.staticGroups ?? (layout.levels !== undefined || !(step.symmetric ?? false))
  if (actOrder && !staticGroups && !isBlocks && !facts.namesGroups)
    throw new OptionError(
      `${label('staticGroups')}: ${facts.title} has groups of neighbouring columns, which sorted ones are only with static groups; leave it out, or choose --target gptq or pare`,
      { code: 'PARE_E_STATIC_GROUPS', facts: { target: name } },
    )
  return { actOrder, staticGroups }
}

function gridOf(step: WeightStep, chosen: ChosenTarget, label: Label): AffineGrid {
  if (step.scheme !== undefined) {
    throw new OptionError(
      `${label('scheme')}: names types of GGUF files; --target ${chosen.name} takes --bits and --group-size`,
    )
  }
  const { levels } = chosen.layout
  const grid = affineGrid({
    bits: bitsOf(step.bits ?? 4, label('bits')),
    groupSize: step.groupSize ?? levels?.groupSizes[0] ?? 64,
    symmetric: step.symmetric ?? levels?.symmetric ?? false,
    search: step.search ?? false,
    zeroLow: chosen.facts.zeroLow,
  })
  checkGrid(grid)
  checkLevels(grid, chosen, label)
  return grid
}

/** @throws OptionError where codes have no such width. */
export function bitsOf(bits: number, label: string): AffineGrid['bits'] {
  if (bits === 2 || bits === 3 || bits === 4 || bits === 8) return bits
  throw new OptionError(`${label}: 2, 3, 4 and 8 are possible, got ${bits}`)
}

function schemeOf(step: WeightStep, { target }: ChosenTarget, label: Label): GgufScheme {
  if (step.bits !== undefined) throw noBits(step.bits, label('bits'), label('scheme'))
  for (const field of ['groupSize', 'symmetric', 'search'] as const)
    if (step[field] !== undefined) throw noGrid(label(field))
  return codedType(
    step.scheme ?? target.scheme ?? 'Q4_K',
    [...codedTypeNames, ...mixSchemes],
    label('scheme'),
  )
}

/** The block type of a name. @throws OptionError with those there are. */
export function codedType<Name extends GgufScheme>(
  asked: string,
  possible: readonly Name[],
  label: string,
): Name {
  const scheme = possible.find((name) => name === asked.toUpperCase())
  if (scheme) return scheme
  throw new OptionError(`${label}: there is no ${printable(asked)}; possible are ${possible.join(', ')}`, {
    code: 'PARE_E_SCHEME',
    facts: { scheme: asked, possible },
  })
}

/** GGUF files know no number of bits. */
export function noBits(bits: number, label: string, scheme: string): OptionError {
  const distance = (name: BlockTypeName) => Math.abs(bitsPerWeight(name) - bits)
  const near = codedTypeNames.toSorted((a, b) => distance(a) - distance(b)).slice(0, 3)
  const nearest = near.map((name) => `${name} (${bitsPerWeight(name)})`).join(', ')
  return new OptionError(
    `${label}: GGUF files have named types, choose ${scheme}; near ${bits} bits are ${nearest}`,
    { code: 'PARE_E_SCHEME', facts: { bits, near } },
  )
}

export const noGrid = (label: string): OptionError =>
  new OptionError(
    `${label}: the types of GGUF files have groups and zeros of their own; leave it out or choose --target gptq or pare`,
  )
