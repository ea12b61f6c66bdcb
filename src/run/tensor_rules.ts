/** What the steps and overrides of a compression mean for the tensors of a model. */
import type { WeightInfo } from '../models/model_weights.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import { isMixScheme } from '../models/write/gguf_mix.ts'
import { matricesOf } from '../models/write/target.ts'
import type { TensorChoice } from '../models/write/tensor_choice.ts'
import { roleOf } from '../models/write/tensor_plan.ts'
import { isCodedType } from '../nn/block_types.ts'
import { affineGrid, gridName } from '../nn/grid.ts'
import { patternMatches } from '../nn/name_pattern.ts'
import { nearestNames } from '../nn/nearest_names.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { checkFits } from './fitting_shapes.ts'
import { overrideText, type ResolvedOverride } from './override.ts'
import { chainText, formOf, makesTree } from './step_chain.ts'
import { stepsByName } from './step_sequence.ts'
import { trainedFloats } from './step_tuning.ts'
import { chosenTarget } from './targets.ts'
import type { ResolvedStep } from './weight_step.ts'

/** Milliseconds for all patterns together: each may take a second, and a stranger's recipe may have thousands. */
const longestSearch = 30_000

/** A pattern, and what it met. */
export interface RuleReport {
  /** Where it stands: `overrides[0]`, `steps[1].only`. */
  rule: string
  match: string
  /** What it asks for: `Q5_K`, `3 bits, groups of 32`, `as in the source`. */
  asks: string
  /** Tensors that it matches. */
  tensors: number
  /** Names of the first two. */
  examples: readonly string[]
}

/** A step, and how many weights it takes. */
export interface StepReport {
  method: string
  /** How it stores them: `Q3_K`, `4 bits, groups of 64`; the method where nothing was said to it. */
  type: string
  weights: number
}

export interface TensorRules {
  choices: Map<string, TensorChoice>
  rules: RuleReport[]
  steps: StepReport[]
  /** Linear weights that no step takes. */
  untouched: number
  /** Linear weights whose width is settled: an override says it, or no step takes them. */
  settled: ReadonlySet<string>
}

/** The part of an open model that rules are about. */
export type RuledModel = Pick<OpenCompressible, 'model' | 'weights'>

/** @throws OptionError for a pattern that matches nothing, and for what no step could do. */
export function tensorRules(source: RuledModel, options: ResolvedCompressOptions): TensorRules {
  const { infos } = source.weights
  const { trees } = chosenTarget(options.target, options.format).facts
  const matrices = matricesOf(source)
  const roles = new Map([...infos.values()].map((info) => [info.name, roleOf(info, matrices)]))
  const linear = [...infos.keys()].filter((name) => matrices.has(name))
  const choosable = [...infos.keys()].filter((name) => roles.get(name) !== 'vector')
  const rules: RuleReport[] = []
  const started = performance.now()
  const met = (rule: string, match: string, asks: string, names: readonly string[]): string[] => {
    if (performance.now() - started > longestSearch)
      throw new OptionError(
        `${rule}: the patterns before it took longer than ${longestSearch} ms; write simpler expressions, or fewer`,
        { code: 'PARE_E_PATTERN', facts: { pattern: match } },
      )
    const matches = patternMatches(rule, match, names)
    const found = names.filter((_, i) => matches[i])
    if (found.length === 0) throw noMatch(rule, match, names, [...infos.keys()])
    rules.push({
      rule: rule.slice(rule.lastIndexOf(': ') + 1).trim(),
      match,
      asks,
      tensors: found.length,
      examples: found.slice(0, 2),
    })
    return found
  }
  for (const step of options.steps)
    for (const match of step.only ?? [])
      met(`${step.at}.only`, match, stepText({ method: step.method, type: typeOf(step) }), linear)

  const asked = new Map<string, ResolvedOverride>()
  for (const override of options.overrides) {
    for (const name of met(override.at, override.match, overrideText(override), choosable))
      asked.set(name, joined(asked.get(name), override))
  }

  const stepsOf = stepsByName(options.steps, linear)
  const choices = new Map<string, TensorChoice>()
  const settled = new Set<string>()
  for (const name of choosable) {
    const steps = stepsOf.get(name)
    const step = steps && options.steps[steps.at(-1) ?? -1]
    const chain = (steps ?? []).map((index) => options.steps[index]!)
    const choice = choiceOf(infos.get(name)!, asked.get(name), chain, matrices.has(name), trees)
    if (choice) choices.set(name, choice)
    const { keep, scheme, bits } = asked.get(name) ?? {}
    if (matrices.has(name) && (!step || keep || scheme !== undefined || bits !== undefined)) settled.add(name)
  }
  for (const name of trees ? trainedFloats(source, options.steps) : [])
    choices.set(name, { numbers: 'F32', by: 'the training of its stage' })
  return {
    choices,
    rules,
    steps: options.steps.map((step, index) => ({
      method: step.method,
      type: typeOf(step),
      weights: [...stepsOf.values()].filter((steps) => steps.includes(index)).length,
    })),
    untouched: [...stepsOf.values()].filter((steps) => steps.length === 0).length,
    settled,
  }
}

/** How a step stores weights, in short. */
function typeOf({ scheme, grid, method, own }: ResolvedStep): string {
  if (scheme !== undefined) return scheme
  const said = Object.entries(own).map(([name, value]) => `${name} ${value}`)
  return [...(grid ? [gridName(grid)] : []), ...said].join(', ') || method
}

/** A step in a few words: its method, and how it stores weights where more is known of that than the method. */
export const stepText = ({ method, type }: Pick<StepReport, 'method' | 'type'>): string =>
  type === method ? method : `${method}, ${type}`

/** A later override takes the place of an earlier one of another kind, and of its fields where it is of the same kind. */
function joined(before: ResolvedOverride | undefined, { keep, ...rest }: ResolvedOverride): ResolvedOverride {
  if (keep !== undefined || rest.scheme !== undefined || before === undefined)
    return keep === false ? { match: rest.match, at: rest.at } : { ...rest, ...(keep ? { keep } : {}) }
  return before.keep || before.scheme !== undefined ? rest : { ...before, ...rest }
}

/** What a tensor gets; nothing where its target decides. */
function choiceOf(
  { name, shape }: WeightInfo,
  asked: ResolvedOverride | undefined,
  steps: readonly ResolvedStep[],
  isMatrix: boolean,
  trees: boolean,
): TensorChoice | undefined {
  const step = steps.at(-1)
  const by = asked?.at ?? step?.at ?? 'no step takes it'
  const { keep, scheme, bits, groupSize, symmetric } = asked ?? {}
  if (keep) return { keep, by }
  if (isMatrix) for (const each of steps) checkFits(name, shape as [number, number], each)
  const tree = isMatrix && trees && makesTree(steps)
  const asksGrid = bits !== undefined || groupSize !== undefined || symmetric !== undefined
  if (isMatrix && !step && (asksGrid || (scheme !== undefined && isCodedType(scheme)))) {
    throw new OptionError(
      `${by}: ${printable(name)} is taken by no step, so that nothing would round it; add it to the "only" of a step`,
      { code: 'PARE_E_NO_STEP', facts: { tensor: name } },
    )
  }
  if (tree && asked !== undefined && (asksGrid || scheme !== undefined))
    throw new OptionError(
      `${by}: ${printable(name)} is stored as ${chainText(steps)} makes it, which no override changes; give it steps of its own with "only", or keep it`,
      { code: 'PARE_E_STORED_FORM', facts: { tensor: name } },
    )
  if (scheme !== undefined) return { scheme, by }
  if (asksGrid) {
    const given = Object.entries({ bits, groupSize, symmetric }).filter(([, value]) => value !== undefined)
    return { grid: affineGrid({ ...step?.grid, ...Object.fromEntries(given) }), by }
  }
  if (!isMatrix) return undefined
  if (!step) return { keep: true, by }
  if (tree) return { made: formOf(steps, shape as [number, number]), by }
  const { scheme: own, grid } = step
  if (own === undefined) return { grid: grid!, by }
  return isMixScheme(own) ? { mix: own, by } : { scheme: own, by }
}

function noMatch(rule: string, match: string, names: readonly string[], all: readonly string[]): OptionError {
  const pattern = printable(match)
  const others = patternMatches(rule, match, all).filter(Boolean).length
  if (others > 0) {
    return new OptionError(
      `${rule}: ${pattern} matches only tensors that it cannot be for (${others}); name one of ${names.length} others, such as ${printable(names[0] ?? '')}`,
      { code: 'PARE_E_NO_MATCH', facts: { pattern: match, nearest: names.slice(0, 1) } },
    )
  }
  const nearest = nearestNames(match, names)
  const wide = match.startsWith('re:') ? match : match.replace(/\*+/g, '**')
  const crossing = wide === match ? 0 : patternMatches(rule, wide, names).filter(Boolean).length
  const hint = crossing > 0 ? `; ${printable(wide)}, where ** also takes dots, would match ${crossing}` : ''
  return new OptionError(
    `${rule}: ${pattern} matches none of ${names.length} tensors; nearest are ${nearest.map((name) => printable(name)).join(', ')}${hint}`,
    { code: 'PARE_E_NO_MATCH', facts: { pattern: match, nearest } },
  )
}
