/** What a mix chooses from: for each matrix the levels that it may have, each with its exact bytes in the file. */
import type { OpenLanguageModel } from '../../models/open_model.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import type { TensorChoice } from '../../models/write/tensor_choice.ts'
import type { TensorPlan } from '../../models/write/tensor_plan.ts'
import { type BlockTypeName, typeForRow } from '../../nn/block_types.ts'
import type { AffineGrid, GridBits } from '../../nn/grid.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import type { ResolvedOverride } from '../override.ts'
import { fusedName } from '../runtime_rules.ts'
import { planTarget } from '../target_plan.ts'
import { chosenTarget } from '../targets.ts'
import { tensorRules } from '../tensor_rules.ts'
import type { LevelName, ResolvedMix } from './mix_options.ts'

/** A matrix at a level. */
export interface MixChoice {
  /** `Q4_K`, or bits a code: `4`. */
  readonly level: string
  readonly plan: TensorPlan
  /** Bytes in the file, with what pads them. */
  readonly cost: number
}

export interface MixItem {
  readonly name: string
  /** By cost; no two with the same type. */
  readonly choices: readonly MixChoice[]
  /** What each of the levels that are asked for comes to: one type may stand in for several. */
  readonly ladder: readonly MixChoice[]
}

export interface MixSpace {
  /** In the order of the file. */
  readonly items: readonly MixItem[]
  /** Items that have the same level, by their indices: each is in one group, most are alone. */
  readonly groups: readonly (readonly number[])[]
  /** Weights of all tensors. */
  readonly parameters: number
  /** The plan with one choice for each item. */
  planOf(chosen: readonly MixChoice[]): TargetPlan
}

/** Who asks for the tensors of a mix, in rules and messages. */
export const mixRule = 'mix'

/**
 * @throws OptionError where nothing is left to choose, or a matrix can have none of the levels.
 */
export function mixSpace(
  source: OpenLanguageModel,
  options: ResolvedCompressOptions,
  mix: ResolvedMix,
): MixSpace {
  const { choices, settled } = tensorRules(source, options)
  const names = source.model.stages.flatMap(({ weights }) => weights)
  const free = new Set(names.filter((name) => !settled.has(name)))
  const ordered = [...source.weights.infos.keys()].filter((name) => free.has(name))
  if (ordered.length === 0)
    throw new OptionError(
      'levels: overrides and steps settle the width of every matrix, so that there is none to choose; leave the target size or an override out',
      { code: 'PARE_E_LEVEL', facts: { matrices: names.length } },
    )
  const possible = new Map(ordered.map((name) => [name, possibleLevels(source, name, options, mix)]))
  const choiceAt = (name: string, level: LevelName): TensorChoice => {
    const fitting = possible.get(name)!
    return tensorChoice(fitting.includes(level) ? level : fitting[0]!, choices.get(name))
  }
  const planOf = (chosen: ReadonlyMap<string, TensorChoice>) =>
    planTarget(source, options, new Map([...choices, ...chosen]))
  const ladders = new Map<string, MixChoice[]>(ordered.map((name) => [name, []]))
  let parameters = 0
  for (const level of mix.levels) {
    const plan = planOf(new Map(ordered.map((name) => [name, choiceAt(name, level)])))
    parameters = plan.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    for (const tensor of plan.tensors) {
      if (!possible.get(tensor.name)?.includes(level)) continue
      const cost = plan
        .stored(tensor)
        .reduce((sum, { bytes }) => sum + Math.ceil(bytes / plan.alignment) * plan.alignment, 0)
      ladders.get(tensor.name)!.push({ level: levelText(tensor), plan: withoutNote(tensor), cost })
    }
  }
  const items = ordered.map((name) => itemOf(name, ladders.get(name)!))
  return {
    items,
    groups: groupsOf(ordered, options),
    parameters,
    planOf: (chosen) =>
      planOf(
        new Map(
          items.map(({ name }, i) => [name, tensorChoice(levelOf(chosen[i]!.level), choices.get(name))]),
        ),
      ),
  }
}

/** The parts of a matrix that the program of the target computes as one are stored alike. */
function groupsOf(names: readonly string[], { target, format }: ResolvedCompressOptions): number[][] {
  const isFused = chosenTarget(target, format).target.fused
  const groups = new Map<string, number[]>()
  for (const [i, name] of names.entries()) {
    const key = isFused ? fusedName(name) : name
    groups.set(key, [...(groups.get(key) ?? []), i])
  }
  return [...groups.values()]
}

/** The overrides that ask for a choice of each item, by its exact name. */
export const overridesOf = (
  { items }: MixSpace,
  chosen: readonly MixChoice[],
): (ResolvedOverride & { at: string })[] =>
  items.map(({ name }, i) => {
    const level = levelOf(chosen[i]!.level)
    return {
      match: name,
      ...(typeof level === 'number' ? { bits: level as GridBits } : { scheme: level as BlockTypeName }),
      at: mixRule,
    }
  })

/** How the matrices are divided: `12 at Q3_K, 30 at Q4_K`. */
export function mixText(chosen: readonly MixChoice[]): string {
  const counts = new Map<string, number>()
  for (const { level } of chosen) counts.set(level, (counts.get(level) ?? 0) + 1)
  return [...counts]
    .toSorted(([a], [b]) => bitsIn(a) - bitsIn(b) || (a < b ? -1 : 1))
    .map(([level, count]) => `${count} at ${levelLabel(level)}`)
    .join(', ')
}

/** `4 bits`, `Q4_K` */
export const levelLabel = (level: string): string => (/^\d+$/.test(level) ? `${level} bits` : level)

const bitsIn = (level: string): number => Number(/\d+/.exec(level)?.[0])

/** The levels that the rows of a matrix can have; where stand-ins are allowed, all. */
function possibleLevels(
  source: OpenLanguageModel,
  name: string,
  { fallback, target, format }: ResolvedCompressOptions,
  { levels }: ResolvedMix,
): readonly LevelName[] {
  const columns = source.weights.infos.get(name)!.shape[1]!
  const isBlocks = chosenTarget(target, format).facts.weights === 'blocks'
  const fitting = levels.filter(
    (level) => fallback || !isBlocks || typeForRow(level as BlockTypeName, columns) === level,
  )
  if (fitting.length > 0) return fitting
  throw new OptionError(
    `--levels: ${printable(name)} has rows of ${columns}, which none of ${levels.join(', ')} fits; leave --no-fallback out or add a level with blocks of 32 such as IQ4_NL`,
    { code: 'PARE_E_FALLBACK', facts: { tensor: name, columns, levels: levels.map(String) } },
  )
}

function tensorChoice(level: LevelName, before: TensorChoice | undefined): TensorChoice {
  if (typeof level === 'string') return { scheme: level as BlockTypeName, by: mixRule }
  return { grid: { ...before!.grid!, bits: level as AffineGrid['bits'] }, by: mixRule }
}

const levelText = ({ grid, type }: TensorPlan): string =>
  grid?.kind === 'affine' ? String(grid.bits) : (grid?.type ?? type)

const levelOf = (text: string): LevelName => (/^\d+$/.test(text) ? Number(text) : text)

/** A type that stood in for another is asked for by its own name. */
const withoutNote = ({ note: _, ...plan }: TensorPlan): TensorPlan => plan

function itemOf(name: string, ladder: readonly MixChoice[]): MixItem {
  const byLevel = new Map<string, MixChoice>()
  for (const choice of ladder) if (!byLevel.has(choice.level)) byLevel.set(choice.level, choice)
  return {
    name,
    choices: [...byLevel.values()].toSorted((a, b) => a.cost - b.cost || (a.level < b.level ? -1 : 1)),
    ladder: ladder.map(({ level }) => byLevel.get(level)!),
  }
}
