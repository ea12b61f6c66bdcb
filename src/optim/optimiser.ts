/**
 * What all optimisers share: groups, step counts, moments by path, saving and editing them. A rule says what is new:
 * its settings, its moments, and how one parameter moves.
 */
import type { Match, Parameters } from '../nn/parameters.ts'
import { OptionError, printable, ShapeError, StateError } from '../tensor/errors.ts'
import { State, sameShape, scope, showShape, type Tensor } from '../tensor/index.ts'
import { countTensor, readState } from './saved_state.ts'
import { asSchedule } from './schedules.ts'
import {
  type CommonSettings,
  checkSettings,
  type Group,
  joined,
  needSetting,
  type OptimiserOptions,
  type SettingRules,
  settingsFor,
  settingsIn,
} from './settings.ts'

/** What one step of one parameter is made of. */
export interface Update<Settings> {
  /** Changes in place. */
  readonly parameter: State
  readonly gradient: Tensor
  /** By name, of the shape and type of the parameter; zeros before the first step. */
  readonly moments: Readonly<Record<string, State>>
  readonly settings: Settings
  /** Learning rate of this step. */
  readonly rate: number
  /** Which step of this parameter it is, from 1 on. */
  readonly count: number
  /** Factor on the gradient. */
  readonly scale: number
}

export interface UpdateRule<Settings extends CommonSettings> extends SettingRules<Settings> {
  readonly name: string
  /** Names of what is kept for each parameter. */
  readonly moments: (settings: Settings) => readonly string[]
  /** Changes parameter and moments in place. */
  readonly update: (update: Update<Settings>) => void
}

export interface StepOptions {
  /** Factor on all gradients: 1 / n after the sum of n backward passes, and what `clipFactor` says. @default 1 */
  scale?: number
}

export interface Optimiser {
  readonly name: string
  /** Steps done: what schedules are asked with. */
  readonly steps: number
  /** Learning rate of a path at the coming step. */
  rate(path: string): number
  /**
   * Moves every parameter that has a gradient; parameters without one stay, with their moments, as in PyTorch.
   *
   * @throws OptionError for a path without parameter, ShapeError for a gradient of another shape or type, StateError for
   * moments of another shape than their parameter has now. Nothing has moved then.
   */
  step(gradients: ReadonlyMap<string, Tensor>, options?: StepOptions): void
  /** Moments by `path/moment`, of the parameters that took a step. */
  states(): ReadonlyMap<string, State>
  /**
   * Replaces moments of the parameters that a pattern takes, all moments of one parameter at once. The result has the
   * type of the moment, and the shape that its parameter has now: a mask, a permutation, a part of the rows.
   *
   * @example optimiser.edit('layers.0.up.weight', (moment) => moment.mul(mask))
   */
  edit(match: Match, change: (moment: Tensor, at: MomentName) => Tensor): void
  /** As if the parameters that a pattern takes, or all of them, had never taken a step. Paths that are gone are forgotten. */
  reset(match?: Match): void
  /**
   * Copies of all that the next steps depend on: moments by `path/moment`, the steps of each parameter by `path/steps`
   * and those of the optimiser by `steps`, the counts in f64. They belong to the caller.
   */
  state(): Record<string, Tensor>
  /**
   * Takes over what `state` gave; nothing is changed where something does not fit. Parameters that it does not name
   * begin anew.
   *
   * @throws StateError for an unknown path or moment, one that is missing, another shape or type, or a count that is no
   * count
   */
  load(saved: Readonly<Record<string, Tensor>>): void
  /** Frees the moments. */
  dispose(): void
}

export interface MomentName {
  readonly path: string
  readonly moment: string
}

/** What a factory such as `adamW(options)` returns: recipes hold it before there is a model. */
export type OptimiserFor = (parameters: Parameters) => Optimiser

/** Steps of one parameter so far, and its moments. */
interface Memory {
  count: number
  readonly moments: Map<string, State>
}

/** @throws OptionError here for settings that are out of range, from the result for patterns that take no parameter */
export function optimiserOf<Settings extends CommonSettings>(
  rule: UpdateRule<Settings>,
  { groups = [], ...options }: OptimiserOptions<Settings>,
): OptimiserFor {
  const general = joined(rule.defaults, options as Partial<Settings>)
  checkSettings(rule, general, rule.name)
  for (const [i, group] of groups.entries())
    checkSettings(rule, joined(general, settingsIn(group)), `${rule.name}: groups[${i}]`)
  return (parameters) => {
    for (const { match } of groups) parameters.matching(match)
    return makeOptimiser(rule, general, groups, parameters)
  }
}

function makeOptimiser<Settings extends CommonSettings>(
  rule: UpdateRule<Settings>,
  general: Settings,
  groups: readonly Group<Settings>[],
  parameters: Parameters,
): Optimiser {
  const { name } = rule
  let steps = 0
  let memories = new Map<string, Memory>()
  /** Expressions of patterns are slow; a path is settled once. */
  const settled = new Map<string, Settings>()
  const settingsOf = (path: string): Settings => {
    let settings = settled.get(path)
    if (!settings) {
      settings = settingsFor(path, general, groups)
      // Groups that fit one by one may not fit together.
      rule.check(settings, `${name}: groups of ${printable(path)}`)
      settled.set(path, settings)
    }
    return settings
  }
  const rateOf = (path: string): number => {
    const rate = asSchedule(settingsOf(path).rate)(steps)
    if (rate >= 0 && Number.isFinite(rate)) return rate
    throw new OptionError(
      `${name}: the rate of ${printable(path)} at step ${steps} must be at least 0, got ${rate}`,
    )
  }
  const newMoment = (path: string, moment: string): State => {
    const { shape, dtype, kernels } = parameters.get(path).state
    return new State(`${path}/${moment}`, shape, dtype, kernels)
  }
  const memoryOf = (path: string): Memory => {
    let memory = memories.get(path)
    if (!memory) {
      const names = rule.moments(settingsOf(path))
      memory = { count: 0, moments: new Map(names.map((moment) => [moment, newMoment(path, moment)])) }
      memories.set(path, memory)
    }
    return memory
  }
  const forget = (path: string) => {
    for (const state of memories.get(path)?.moments.values() ?? []) state.dispose()
    memories.delete(path)
  }
  const checkFit = (path: string, gradient: Tensor) => {
    const { state, isBuffer } = parameters.get(path)
    if (isBuffer) throw new OptionError(`${name}: ${printable(path)} is a buffer, which no optimiser moves`)
    const typed = gradient.dtype === state.dtype || (state.dtype === 'f32' && gradient.dtype === 'bf16')
    if (!typed || !sameShape(gradient.shape, state.shape) || gradient.kernels !== state.kernels)
      throw new ShapeError(
        `${name}: the gradient of ${printable(path)} needs ${state.dtype} ${showShape(state.shape)} in its memory, got ${gradient.dtype} ${showShape(gradient.shape)}`,
      )
    if (!gradient.alive)
      throw new ShapeError(
        `${name}: the gradient of ${printable(path)} is no longer alive; return it from its scope to keep it`,
      )
    for (const moment of memories.get(path)?.moments.values() ?? [])
      if (!sameShape(moment.shape, state.shape))
        throw new StateError(
          `${name}: ${printable(moment.name)} has ${showShape(moment.shape)} and its parameter now ${showShape(state.shape)}; edit the moments, or reset them`,
          { code: 'PARE_E_MOMENT_SHAPE', facts: { path } },
        )
  }

  return {
    name,
    get steps() {
      return steps
    },
    rate: rateOf,
    step(gradients, { scale = 1 } = {}) {
      needSetting(name, 'scale', scale, scale >= 0, 'at least 0')
      for (const [path, gradient] of gradients) checkFit(path, gradient)
      const rates = new Map([...gradients.keys()].map((path) => [path, rateOf(path)]))
      for (const [path, gradient] of gradients) {
        const memory = memoryOf(path)
        const moments = Object.fromEntries(memory.moments)
        memory.count++
        const shared = { gradient, moments, settings: settingsOf(path), count: memory.count, scale }
        parameters.update(path, (parameter) => rule.update({ ...shared, parameter, rate: rates.get(path)! }))
      }
      steps++
    },
    states: () =>
      new Map([...memories.values()].flatMap(({ moments }) => [...moments.values()].map((m) => [m.name, m]))),
    edit(match, change) {
      for (const path of parameters.matching(match)) {
        const moments = memories.get(path)?.moments
        if (!moments) continue
        const { shape } = parameters.get(path).state
        scope(() => {
          const edited = [...moments].map(([moment, state]) => {
            const result = change(state.tensor(), { path, moment })
            checkEdited(name, state, shape, result)
            return [moment, state, result] as const
          })
          for (const [moment, state, result] of edited) {
            if (sameShape(state.shape, shape)) {
              state.assign(result)
              continue
            }
            const next = newMoment(path, moment)
            next.assign(result)
            moments.set(moment, next)
            state.dispose()
          }
        })
      }
    },
    reset(match) {
      const gone = [...memories.keys()].filter((path) => !parameters.has(path))
      for (const path of [...gone, ...parameters.matching(match)]) forget(path)
    },
    state: () => {
      const saved: [string, Tensor][] = [['steps', countTensor(steps)]]
      for (const [path, memory] of memories) {
        saved.push([`${path}/steps`, countTensor(memory.count)])
        for (const [moment, state] of memory.moments) saved.push([`${path}/${moment}`, state.value()])
      }
      return Object.fromEntries(saved)
    },
    load(saved) {
      const { all, paths } = readState(name, saved, (path) => {
        if (!parameters.has(path) || parameters.get(path).isBuffer) return undefined
        return { state: parameters.get(path).state, moments: rule.moments(settingsOf(path)) }
      })
      for (const path of [...memories.keys()]) forget(path)
      memories = new Map()
      steps = all
      for (const [path, { count, moments }] of paths) {
        const memory = memoryOf(path)
        memory.count = count
        for (const [moment, numbers] of moments) memory.moments.get(moment)!.assign(numbers)
      }
    },
    dispose() {
      for (const path of [...memories.keys()]) forget(path)
    },
  }
}

function checkEdited(name: string, moment: State, shape: readonly number[], result: Tensor): void {
  if (result.dtype === moment.dtype && sameShape(result.shape, shape)) return
  throw new ShapeError(
    `${name}: the edited ${printable(moment.name)} needs ${moment.dtype} ${showShape(shape)}, got ${result.dtype} ${showShape(result.shape)}`,
  )
}
