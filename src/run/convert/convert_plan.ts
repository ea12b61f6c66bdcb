/** From carriages to the plan of a target. */
import type { OpenConvertible } from '../../models/load_model.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { planAqlm } from '../../models/write/aqlm_target.ts'
import { planFloats } from '../../models/write/float_target.ts'
import type { GgufScheme } from '../../models/write/gguf_mix.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import { planSpqr } from '../../models/write/spqr_target.ts'
import { folderSource } from '../../models/write/target.ts'
import type { FloatType, TensorChoice } from '../../models/write/tensor_choice.ts'
import { wholeFolder } from '../../models/write/whole_folder.ts'
import { type BlockTypeName, isBlockType, typeForRow } from '../../nn/block_types.ts'
import { type AffineGrid, affineGrid, type GridBits } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { planLayout } from '../target_plan.ts'
import type { Carriage } from './carriage.ts'
import type { ResolvedConvertOptions } from './convert_options.ts'
import type { SurveyedWeight } from './survey.ts'

export interface Conversion {
  readonly options: ResolvedConvertOptions
  readonly weights: readonly SurveyedWeight[]
  readonly carriages: ReadonlyMap<string, Carriage>
}

/**
 * What the files will hold.
 *
 * @throws OptionError where a format cannot hold it, or its program would not open it.
 */
export function planConversion(source: OpenConvertible, conversion: Conversion): TargetPlan {
  const { options, weights } = conversion
  const { layout, shardSize } = options
  const choices = new Map(
    weights.flatMap((weight) => {
      const choice = choiceOf(weight, conversion)
      return choice ? [[weight.info.name, choice] as const] : []
    }),
  )
  const sharding = shardSize === undefined ? {} : { maxShardBytes: shardSize }
  switch (layout.format) {
    case 'float':
      return planFloats(whole(source), { type: mainFloat(conversion), choices, ...sharding })
    case 'aqlm': {
      const described = [...choices.values()].find((choice) => choice.described)?.described
      if (described?.kind !== 'codebook') throw new OptionError('aqlm: no weight has codebooks')
      return planAqlm(whole(source), described, { choices, ...sharding })
    }
    case 'spqr':
      return planSpqr(whole(source), { choices, ...sharding })
    case 'onnx':
    case 'transformers.js': {
      // Plain numbers have no grid; beside codes they are f32, which holds every other type.
      const isCoded = [...conversion.carriages.values()].some(
        ({ how }) => how === 'levels' || how === 'rounded',
      )
      return planLayout(source, layout.chosen!, {
        ...(options.type ? { embedding: onnxFloat(options.type) } : {}),
        ...(isCoded ? { grid: mainGrid(conversion) } : {}),
        activations: options.activations,
        choices,
      })
    }
    default: {
      const sorted = [...choices.values()].some(
        ({ described }) => described?.kind === 'grid' && described.sorted === true,
      )
      return planLayout(source, layout.chosen!, {
        grid: mainGrid(conversion),
        scheme: mainScheme(conversion),
        choices,
        actOrder: sorted,
        groupsSorted: sorted,
        maxShardBytes: shardSize,
      })
    }
  }
}

/** Programs load these folders by themselves. */
function whole(open: OpenConvertible) {
  // `checkFormat` refused the others before anything was read.
  const source = open as OpenLanguageModel
  return wholeFolder(source, folderSource(source))
}

/** @throws OptionError for bf16, which runtimes do not compute with on processors */
function onnxFloat(type: FloatType): FloatType {
  if (type !== 'BF16') return type
  throw new OptionError('--type: an ONNX file has f32 or f16, got bf16; choose one of them', {
    code: 'PARE_E_FORMAT',
  })
}

function choiceOf(weight: SurveyedWeight, conversion: Conversion): TensorChoice | undefined {
  const { options, carriages } = conversion
  const { info, role } = weight
  const carriage = carriages.get(info.name)!
  const by = info.name
  const isFile = options.layout.format === 'gguf'
  // Vectors of GGUF files are F32 always.
  if (isFile && role === 'vector') return undefined
  const isOnnx = options.layout.format === 'onnx' || options.layout.format === 'transformers.js'
  if (isOnnx && carriage.how !== 'rounded') return onnxChoice(carriage, by)
  switch (carriage.how) {
    case 'kept':
      return { keep: true, by }
    case 'numbers':
      return isFile || options.layout.format === 'pare'
        ? { scheme: carriage.type, by }
        : { numbers: carriage.type, by }
    case 'stored':
    case 'levels': {
      const form = carriage.how === 'stored' ? carriage.described : carriage.form
      return form.kind === 'blocks' && isFile
        ? { scheme: form.type as BlockTypeName, by }
        : { described: form, by }
    }
    case 'rounded': {
      // A scheme that is named for all is the target's own affair: it may be a mix.
      if (isFile) return options.scheme === undefined ? { scheme: nearScheme(weight), by } : undefined
      return { grid: roundingGrid(weight, conversion), by }
    }
  }
}

/** Its planner knows grids, and one type of numbers for all else. */
function onnxChoice(carriage: Carriage, by: string): TensorChoice {
  if (carriage.how !== 'levels' || carriage.form.kind !== 'grid') return { keep: true, by }
  const { bits, groupSize, symmetric, scaleType } = carriage.form
  const wide = scaleType === 'f32' ? 'f32' : 'f16'
  return { grid: affineGrid({ bits: bits as GridBits, groupSize, symmetric, scaleType: wide }), by }
}

/** Bits that a weight takes now, scales not counted where codes are known. */
const bitsNow = ({ levels, info: { bytes, shape } }: SurveyedWeight): number =>
  levels?.bits ?? (8 * bytes) / shape.reduce((a, b) => a * b, 1)

/** The smallest K type of at least as many bits, 4 at least, or what stands in for it. */
function nearScheme(weight: SurveyedWeight): BlockTypeName {
  const bits = bitsNow(weight)
  const wanted = bits < 5 ? 'Q4_K' : bits < 6 ? 'Q5_K' : bits < 7 ? 'Q6_K' : 'Q8_0'
  return typeForRow(wanted, weight.info.shape[1]!)
}

/** What is asked for, else about as many bits as the weight has, 4 at least, and the first groups that divide its rows. */
function roundingGrid(weight: SurveyedWeight, conversion: Conversion): AffineGrid {
  const { options } = conversion
  const { layout, bits, groupSize, symmetric, search = false } = options
  if (layout.isUniform) return mainGrid(conversion)
  const rules = layout.chosen?.layout.levels
  const least = Math.min(8, Math.max(4, Math.floor(bitsNow(weight))))
  const possible = ([4, 8, 3, 2] as const).filter((width) => !rules || rules.bits.includes(width))
  const own = bits ?? possible.find((width) => width >= least) ?? possible[0]!
  const columns = weight.info.shape[1]!
  const sizes = rules?.groupSizes ?? [64, 32, 128, 'row']
  const fitting = sizes.find((size) => size === 'row' || columns % size === 0) ?? sizes[0]!
  return affineGrid({
    bits: own as GridBits,
    groupSize: groupSize ?? fitting,
    symmetric: symmetric ?? (rules ? rules.symmetric || !rules.zeros.includes(own) : false),
    search,
    zeroLow: layout.chosen?.facts.zeroLow ?? 0,
  })
}

/** The form of all linear weights of a checkpoint that has one; of others what no choice is for. */
function mainGrid(conversion: Conversion): AffineGrid {
  const { options, weights, carriages } = conversion
  const { layout, bits, groupSize, symmetric, search = false } = options
  const forms = [...carriages.values()].flatMap((carriage) =>
    carriage.how === 'levels' && carriage.form.kind === 'grid' ? [carriage.form] : [],
  )
  const zeroLow = layout.chosen?.facts.zeroLow ?? 0
  const [form] = forms
  if (form) {
    const isMiddle = forms.every((each) => each.symmetric)
    return affineGrid({
      ...{ bits: form.bits as GridBits, groupSize: form.groupSize, symmetric: isMiddle, search, zeroLow },
    })
  }
  const rules = layout.chosen?.layout.levels
  const rounded = weights.filter(({ info }) => carriages.get(info.name)!.how === 'rounded')
  const widths = rounded.map(({ info }) => info.shape[1]!)
  const sizes = rules?.groupSizes ?? [128, 64, 32, 'row']
  const fitting = sizes.find((size) => size === 'row' || widths.every((columns) => columns % size === 0))
  const most = Math.max(4, ...rounded.map((weight) => weight.levels?.bits ?? 4))
  const own = (bits ?? (most > 4 && layout.format !== 'awq' ? 8 : 4)) as GridBits
  return affineGrid({
    bits: own,
    groupSize: groupSize ?? fitting ?? sizes[0]!,
    symmetric: symmetric ?? (rules ? rules.symmetric || !rules.zeros.includes(own) : false),
    search,
    zeroLow,
  })
}

/** The block type that most weights have, for the name of the file; or the scheme that is asked for. */
function mainScheme({ options, weights, carriages }: Conversion): GgufScheme {
  if (options.scheme !== undefined) return options.scheme as GgufScheme
  const counts = new Map<BlockTypeName, number>()
  for (const weight of weights) {
    const { info, role } = weight
    if (role !== 'matrix') continue
    const carriage = carriages.get(info.name)!
    const type =
      carriage.how === 'levels' && carriage.form.kind === 'blocks'
        ? carriage.form.type
        : carriage.how === 'numbers'
          ? carriage.type
          : carriage.how === 'rounded'
            ? nearScheme(weight)
            : info.type
    if (isBlockType(type)) counts.set(type, (counts.get(type) ?? 0) + info.shape[0]! * info.shape[1]!)
  }
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? 'F16'
}

/** The type that most linear weights have. */
function mainFloat({ options, weights, carriages }: Conversion) {
  if (options.type) return options.type
  const types = weights.flatMap(({ info, role }) => {
    const carriage = carriages.get(info.name)!
    return role === 'matrix' ? [carriage.how === 'numbers' ? carriage.type : info.type] : []
  })
  const count = (type: string) => types.filter((each) => each === type).length
  return (['F16', 'BF16', 'F32'] as const).reduce((a, b) => (count(b) > count(a) ? b : a))
}
