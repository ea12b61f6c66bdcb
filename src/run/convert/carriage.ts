/**
 * How each weight goes over: as it is, as the same codes in another form, as numbers, or rounded again. Decided before
 * anything is written.
 */
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { Candidate, LevelForm, LevelTarget } from '../../models/regrid/candidates.ts'
import { commonForms, formFor } from '../../models/regrid/common_form.ts'
import { plainType } from '../../models/write/folder_source.ts'
import { type FloatType, isFloatType } from '../../models/write/tensor_choice.ts'
import { OptionError, printable, QualityError } from '../../tensor/errors.ts'
import { asksForCodes, type ResolvedConvertOptions } from './convert_options.ts'
import type { SurveyedWeight } from './survey.ts'

export type Carriage =
  /** The bytes of the source, or its numbers in their type. */
  | { how: 'kept' }
  /** Numbers of a type, whatever the source has. */
  | { how: 'numbers'; type: FloatType }
  /** Put together as in the source. */
  | { how: 'stored'; described: PareWeight }
  /** The same codes in another form. */
  | { how: 'levels'; form: LevelForm; exact: boolean }
  /** To the nearest level of what the target stores for it. */
  | { how: 'rounded' }

export interface CarriageContext {
  readonly options: ResolvedConvertOptions
  /** The source is a GGUF file. */
  readonly isGguf: boolean
}

/**
 * A carriage for each weight, by name.
 *
 * @throws OptionError where nothing would be stored as codes that a format of codes is for; QualityError (`PARE_E_LOSSY`)
 * where every value has to stay and a weight has no form for that.
 */
export function decideCarriages(
  weights: readonly SurveyedWeight[],
  context: CarriageContext,
): Map<string, Carriage> {
  const { options } = context
  const forms = levelForms(weights, options)
  const found = new Map(
    weights.map((weight) => [weight.info.name, decide(weight, forms.get(weight.info.name), context)]),
  )
  refuseNoCodes(weights, found, options)
  if (options.lossless) refuseLosses(weights, found, options)
  return found
}

/** Weights that may have codes in the target. */
const mayHaveCodes = ({ role }: SurveyedWeight, { layout }: ResolvedConvertOptions): boolean =>
  role === 'matrix' || (role !== 'vector' && ['gguf', 'mlx', 'pare'].includes(layout.format))

/** The form of each weight whose codes the target can keep. */
function levelForms(
  weights: readonly SurveyedWeight[],
  options: ResolvedConvertOptions,
): Map<string, Candidate | undefined> {
  const { layout, lossless, type } = options
  const target = type === undefined && layout.levels && asked(layout.levels, options)
  if (!target) return new Map()
  const coded = weights.filter((weight) => weight.levels && mayHaveCodes(weight, options))
  const groups = new Map<string, SurveyedWeight[]>()
  for (const weight of coded) {
    const { name } = weight.info
    const key = layout.isUniform ? '' : layout.chosen?.target.fused ? fusedName(name) : name
    groups.set(key, [...(groups.get(key) ?? []), weight])
  }
  return new Map(
    [...groups.values()].flatMap((group) => {
      const facts = group.map(({ levels }) => levels!)
      const own = group[0]!.described as LevelForm
      const forms =
        group.length === 1 && !layout.isUniform
          ? [formFor(facts[0]!, target, { exact: lossless }, own)]
          : commonForms(facts, target, { exact: lossless })
      return group.map(({ info }, i) => [info.name, forms[i]] as const)
    }),
  )
}

/** Queries, keys and values are computed together, and so are gate and up. */
const fusedName = (name: string): string =>
  name.replace(/\.[qkv]_proj\.weight$/, '.qkv').replace(/\.(?:gate|up)_proj\.weight$/, '.gate_up')

/** The levels of the target that the options name. */
function asked(
  target: LevelTarget,
  { bits, groupSize, symmetric, scheme }: ResolvedConvertOptions,
): LevelTarget {
  return {
    ...target,
    ...(bits === undefined ? {} : { bits: target.bits.filter((width) => width === bits) }),
    ...(groupSize === undefined ? {} : { widths: [groupSize] }),
    ...(symmetric ? { zeroBits: [] } : {}),
    ...(target.types && scheme !== undefined
      ? { types: target.types.filter((type) => type === scheme) }
      : {}),
  }
}

function decide(
  weight: SurveyedWeight,
  form: Candidate | undefined,
  { options, isGguf }: CarriageContext,
): Carriage {
  const { info, role, described } = weight
  const { layout, type, lossless } = options
  const numbers = (own: FloatType): Carriage =>
    isFloatType(info.type) && info.type === own ? { how: 'kept' } : { how: 'numbers', type: own }
  if (role === 'vector')
    return isFloatType(info.type) ? { how: 'kept' } : numbers(floatOf(info.type, lossless))
  if (type) return numbers(type)
  if (layout.format === 'float')
    return described ? numbers(decodedType(described, lossless)) : plain(weight, options)
  if (!described) return plain(weight, options)
  const inForm = described.kind === 'blocks' && isFloatType(described.type) ? described.type : undefined
  if (inForm) return numbers(inForm)
  if (!mayHaveCodes(weight, options)) return numbers(decodedType(described, lossless))
  const isAsked = !asksForCodes(options) || info.type === options.scheme
  if (layout.format === 'gguf' && described.kind === 'blocks' && isAsked)
    return isGguf ? { how: 'kept' } : { how: 'stored', described }
  if (layout.format === 'pare' && !asksForCodes(options)) return { how: 'stored', described }
  if (layout.tree)
    return layout.tree(described) ? { how: 'stored', described } : numbers(decodedType(described, lossless))
  if (form) return { how: 'levels', form: form.form, exact: form.exact }
  const isNumbers = ['dense', 'bitmask', 'scaled'].includes(described.kind) && !asksForCodes(options)
  return isNumbers || role !== 'matrix' ? numbers(decodedType(described, lossless)) : { how: 'rounded' }
}

/** What is numbers in the source. */
function plain({ info, role }: SurveyedWeight, options: ResolvedConvertOptions): Carriage {
  if (role === 'matrix' && asksForCodes(options)) return { how: 'rounded' }
  // The target chooses a type for what is no linear weight, as in a compression.
  if (options.scheme !== undefined) return { how: 'rounded' }
  return isFloatType(info.type)
    ? { how: 'kept' }
    : { how: 'numbers', type: floatOf(info.type, options.lossless) }
}

/** For numbers of a type that no target stores. */
const floatOf = (type: string, lossless: boolean): FloatType =>
  lossless || type === 'F64' ? 'F32' : plainType(type)

/** For the values of codes: halves hold them to 11 bits, and all of what is stored as such. */
function decodedType(described: PareWeight, lossless: boolean): FloatType {
  switch (described.kind) {
    case 'dense':
    case 'bitmask':
      return described.numberType === 'bf16' ? 'BF16' : described.numberType === 'f16' ? 'F16' : 'F32'
    case 'permuted':
      return decodedType(described.values, lossless)
    case 'sum':
      return lossless && described.rounded !== 'f16' ? 'F32' : 'F16'
    default:
      return lossless ? 'F32' : 'F16'
  }
}

function refuseLosses(
  weights: readonly SurveyedWeight[],
  carriages: ReadonlyMap<string, Carriage>,
  { layout, target }: ResolvedConvertOptions,
): void {
  const lossy = weights.filter(({ info }) => carriages.get(info.name)!.how === 'rounded')
  const [first] = lossy
  if (!first) return
  throw new QualityError(
    `--lossless: ${layout.title} has no form that holds every value of ${printable(first.info.name)} (${printable(first.info.type)})${lossy.length > 1 ? ` and ${lossy.length - 1} others` : ''}; leave it out, or choose --target pare, which holds anything`,
    { code: 'PARE_E_LOSSY', facts: { target, tensor: first.info.name, tensors: lossy.length } },
  )
}

/** A folder of codes without any would be one of plain numbers under another name. */
function refuseNoCodes(
  weights: readonly SurveyedWeight[],
  carriages: ReadonlyMap<string, Carriage>,
  { layout, target }: ResolvedConvertOptions,
): void {
  if (['gguf', 'pare', 'float', 'onnx', 'transformers.js'].includes(layout.format)) return
  const isCoded = ({ how }: Carriage) => how === 'levels' || how === 'stored' || how === 'rounded'
  if (weights.some(({ info }) => isCoded(carriages.get(info.name)!))) return
  throw new OptionError(
    `--target ${target}: ${layout.title} stores codes, and the source has none that it can take; ${layout.tree ? 'choose another --format' : 'name --bits to round to nearest'}, or --type to store numbers`,
    { code: 'PARE_E_NO_CODES', facts: { target, format: layout.format } },
  )
}
