/** What a program asks of the weights of a model together: said in the plan, before anything is compressed. */
import type { OpenLanguageModel } from '../models/open_model.ts'
import { fusedModule, moduleOf } from '../models/write/layer_encoding.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { TensorChoices } from '../models/write/tensor_choice.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { checkLevels } from './level_rules.ts'
import type { ChosenTarget, LevelRules } from './targets.ts'

/** @throws OptionError (`PARE_E_LAYER_WIDTHS`) where blocks differ in widths, for which config.json of a program has no words. */
export function checkSource(
  { model: { config } }: Pick<OpenLanguageModel, 'model'>,
  { name, target, layout, facts }: ChosenTarget,
): void {
  if (layout.needs.length === 0 || facts.weights === 'blocks') return
  const text = ({ heads, kvHeads, intermediate }: (typeof config.layers)[number]) =>
    `${heads} heads, ${kvHeads} of keys, ${intermediate} inside`
  const first = text(config.layers[0]!)
  const other = config.layers.findIndex((layer) => text(layer) !== first)
  if (other < 0) return
  throw new OptionError(
    `--target ${name}: ${target.readers} needs blocks of the same widths, got ${first} in block 0 and ${text(config.layers[other]!)} in block ${other}; choose --target pare or llama.cpp`,
    { code: 'PARE_E_LAYER_WIDTHS', facts: { target: name, block: other } },
  )
}

/** @throws OptionError (`PARE_E_RUNTIME`) for the first weight that the program of the target would not take. */
export function checkRuntime(
  { tensors }: Pick<TargetPlan, 'tensors'>,
  chosen: ChosenTarget,
  choices?: TensorChoices,
): void {
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const by = (name: string) => choices?.get(name)?.by ?? printable(name)
  for (const plan of matrices) {
    if (plan.grid?.kind === 'affine') checkLevels(plan.grid, chosen, (field) => `${by(plan.name)}.${field}`)
    checkPacking(plan, chosen)
  }
  if (chosen.target.fused) for (const parts of fusedParts(matrices)) checkAlike(parts, chosen, by)
}

/** Several outputs share a word where zeros are stored, and in kernels where they are not. */
function checkPacking(
  { name, shape, grid, described }: TensorPlan,
  { name: target, layout }: ChosenTarget,
): void {
  const bits = grid?.kind === 'affine' ? grid.bits : described?.kind === 'grid' ? described.bits : undefined
  if (layout.levels?.tiles === undefined || bits === undefined) return
  const unit = 32 / bits
  if (shape[0]! % unit === 0) return
  throw new OptionError(
    `${printable(name)}: ${layout.levels.why} needs outputs that ${unit} divides at ${bits} bits, got ${shape[0]}; keep the weight, or choose --target pare`,
    { code: 'PARE_E_RUNTIME', facts: { target, tensor: name, shape: [...shape] } },
  )
}

/** The matrix that some programs compute a weight in. */
export const fusedName = (name: string): string => fusedModule(moduleOf(name))

function fusedParts(matrices: readonly TensorPlan[]): TensorPlan[][] {
  const parts = new Map<string, TensorPlan[]>()
  for (const plan of matrices) {
    const key = fusedName(plan.name)
    parts.set(key, [...(parts.get(key) ?? []), plan])
  }
  return [...parts.values()]
}

function checkAlike(
  [first, ...others]: readonly TensorPlan[],
  { name: target, target: { readers } }: ChosenTarget,
  by: (name: string) => string,
): void {
  const other = others.find(({ type }) => type !== first!.type)
  if (!first || !other) return
  const asks = [first, ...others].find(({ name }) => /override/.test(by(name))) ?? other
  throw new OptionError(
    `${by(asks.name)}: ${readers} computes ${[first, ...others].map(({ name }) => partOf(name)).join(', ')} as one matrix and needs them stored alike, got ${first.type} for ${printable(first.name)} and ${other.type} for ${partOf(other.name)}; ask for the same for all of them`,
    { code: 'PARE_E_FUSED', facts: { target, tensors: [first.name, other.name] } },
  )
}

const partOf = (name: string): string =>
  printable(
    name
      .replace(/\.weight$/, '')
      .split('.')
      .at(-1)!,
  )

/** What the reader of a plan should know of its program. */
export function runtimeNotes({ tensors }: Pick<TargetPlan, 'tensors'>, { layout }: ChosenTarget): string[] {
  const { levels } = layout
  const coded = tensors.filter(({ role, grid }) => role === 'matrix' && grid?.kind === 'affine')
  if (levels === undefined) return []
  const hasZeros = coded.some(({ grid }) => grid?.kind === 'affine' && !grid.symmetric)
  return [
    ...(levels.zerosNeed && hasZeros
      ? [`zeros: ${levels.why} needs ${levels.zerosNeed} for them when the folder is loaded`]
      : []),
    ...tileNotes(coded, levels),
  ]
}

/** Weights that a fast kernel takes only from some version on. */
function tileNotes(coded: readonly TensorPlan[], { tiles, why }: LevelRules): string[] {
  if (tiles === undefined) return []
  const odd = fusedParts(coded).filter((parts) => {
    const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0)
    return rows % tiles.rows !== 0 || parts[0]!.shape[1]! % tiles.columns !== 0
  })
  if (odd.length === 0) return []
  const { name, shape } = odd[0]![0]!
  return [
    `${why} before ${tiles.from} computes ${odd.flat().length} of ${coded.length} linear weights with a slower kernel, or not at all with one group a row: its fast one needs inputs that ${tiles.columns} divides and outputs that ${tiles.rows} does, unlike ${printable(name)} [${shape.join(', ')}]; ${tiles.from} fills them up`,
  ]
}
