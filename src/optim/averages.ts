/**
 * Averages of parameters over the course of a training, as `torch.optim.swa_utils.AveragedModel`
 * (https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema) defines them:
 *
 *   exponential   a <- d a + (1 - d) p,   a = p at the first update    Polyak and Juditsky 1992
 *   mean          a <- a + (p - a) / (n + 1)                           Izmailov et al. 2018, arXiv:1803.05407
 */
import type { Parameters } from '../nn/parameters.ts'
import { OptionError, printable, StateError } from '../tensor/errors.ts'
import { computes, State, sameShape, scope, showShape, type Tensor, tensor } from '../tensor/index.ts'

export interface Average {
  /** Updates so far. */
  readonly updates: number
  /** Whether the averages stand in the parameters now. */
  readonly isSwapped: boolean
  /** Takes the parameters of now into the averages; call it after a step. @throws StateError while they are swapped */
  update(): void
  /** Exchanges averages and parameters, bit for bit; a second call exchanges them back. */
  swap(): void
  /** Runs `body`, which may be asynchronous, with the averages in the place of the parameters. @example average.during(() => evaluate(model)) */
  during<T>(body: () => T): T
  /** Averages by path, as they change. */
  states(): ReadonlyMap<string, State>
  /** Copies of the averages by path, and the count of updates in f64 under `updates`. @throws StateError while swapped */
  state(): Record<string, Tensor>
  /** Takes over what `state` gave; nothing is changed where something does not fit. @throws StateError */
  load(saved: Readonly<Record<string, Tensor>>): void
  dispose(): void
}

export type AverageFor = (parameters: Parameters) => Average

export interface ExponentialAverageOptions {
  /**
   * Share of the average that stays, in [0, 1]; or that of update t, from 0 on. A number takes the parameters as they
   * are at the first update.
   *
   * @default 0.999
   */
  decay?: number | ((update: number) => number)
}

/**
 * Exponential average of all parameters and buffers. Buffers that do not compute, such as counts, are taken as they are.
 *
 * @throws OptionError for a decay outside of [0, 1]
 * @example
 * const average = exponentialAverage({ decay: warmedDecay(0.9999) })(parameters)
 * optimiser.step(gradients)
 * average.update()
 */
export function exponentialAverage({ decay = 0.999 }: ExponentialAverageOptions = {}): AverageFor {
  const decayOf = typeof decay === 'function' ? decay : (update: number) => (update === 0 ? 0 : decay)
  const shareOf = (update: number): number => {
    const kept = decayOf(update)
    if (kept >= 0 && kept <= 1) return 1 - kept
    throw new OptionError(`exponentialAverage: the decay must be in [0, 1], got ${kept} for update ${update}`)
  }
  shareOf(1)
  return (parameters) => averageOf(parameters, shareOf)
}

/**
 * A decay that begins low, so that an average forgets where a training began: min(decay, (1 + t) / (10 + t)).
 *
 * @example warmedDecay(0.9999)(0) // 0.1
 */
export const warmedDecay =
  (decay: number) =>
  (update: number): number =>
    Math.min(decay, (1 + update) / (10 + update))

/**
 * The mean of the parameters at all updates (stochastic weight averaging). Running statistics are averaged too; gather
 * them anew with the averages in place where the forward normalises by batch.
 *
 * @example const average = meanAverage()(parameters)
 */
export const meanAverage = (): AverageFor => (parameters) =>
  averageOf(parameters, (update) => 1 / (update + 1))

/** @param shareOf share of the way from the average to the parameters that update t goes */
function averageOf(parameters: Parameters, shareOf: (update: number) => number): Average {
  let updates = 0
  let isSwapped = false
  const states = new Map(
    [...parameters.states()].map(([path, { shape, dtype, kernels }]) => [
      path,
      new State(`average of ${path}`, shape, dtype, kernels),
    ]),
  )
  const current = (path: string): State => parameters.get(path).state
  for (const [path, state] of states) state.assign(current(path).tensor())
  const needParameters = (what: string) => {
    if (isSwapped)
      throw new StateError(
        `average: ${what} needs the parameters in their place, where the averages are; swap them back`,
      )
  }

  return {
    get updates() {
      return updates
    },
    get isSwapped() {
      return isSwapped
    },
    update() {
      needParameters('update')
      const share = shareOf(updates)
      for (const [path, state] of states)
        if (computes(state.dtype)) state.lerp(current(path).tensor(), share)
        else state.assign(current(path).tensor())
      updates++
    },
    swap() {
      for (const [path, state] of states)
        scope(() => {
          const before = current(path).value()
          parameters.assign(path, state.tensor())
          state.assign(before)
        })
      isSwapped = !isSwapped
    },
    during(body) {
      needParameters('during')
      const back = () => this.swap()
      back()
      let result: ReturnType<typeof body>
      try {
        result = body()
      } catch (error) {
        back()
        throw error
      }
      if (result instanceof Promise) return result.finally(back) as typeof result
      back()
      return result
    },
    states: () => states,
    state() {
      needParameters('state')
      const values = [...states].map(([path, state]) => [`${path}/average`, state.value()] as const)
      return Object.fromEntries([['updates', tensor([updates], [], 'f64')] as const, ...values])
    },
    load(saved) {
      needParameters('load')
      const count = checkSaved(states, saved)
      for (const [path, state] of states) state.assign(saved[`${path}/average`]!)
      updates = count
    },
    dispose() {
      for (const state of states.values()) state.dispose()
    },
  }
}

/** The count of updates, after all entries were checked. */
function checkSaved(states: ReadonlyMap<string, State>, saved: Readonly<Record<string, Tensor>>): number {
  const wrong = (key: string, why: string) =>
    new StateError(`average: ${printable(key)} of the saved state ${why}; load the state of the same model`, {
      code: 'PARE_E_STATE_PATH',
      facts: { key },
    })
  for (const [path, { dtype, shape }] of states) {
    const found = saved[`${path}/average`]
    if (!found) throw wrong(`${path}/average`, 'is missing')
    if (found.dtype !== dtype || !sameShape(found.shape, shape))
      throw wrong(
        `${path}/average`,
        `needs ${dtype} ${showShape(shape)}, got ${found.dtype} ${showShape(found.shape)}`,
      )
  }
  const known = new Set(['updates', ...[...states.keys()].map((path) => `${path}/average`)])
  const unknown = Object.keys(saved).find((key) => !known.has(key))
  if (unknown !== undefined) throw wrong(unknown, 'belongs to no parameter of this model')
  const count = saved.updates?.size === 1 && saved.updates.dtype === 'f64' ? saved.updates.item() : Number.NaN
  if (!(Number.isSafeInteger(count) && count >= 0)) throw wrong('updates', 'must be a count in f64')
  return count
}
