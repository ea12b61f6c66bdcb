/**
 * What training changes, by path. Layers take tensors and know nothing of this; optimisers, averages and checkpoints go
 * through it.
 */
import { OptionError, printable, ShapeError, StateError } from '../tensor/errors.ts'
import {
  computes,
  type DType,
  type Shape,
  State,
  sameShape,
  showShape,
  type Tensor,
} from '../tensor/index.ts'
import { patternMatches } from './name_pattern.ts'
import { nearestNames } from './nearest_names.ts'

/** One pattern of `name_pattern.ts`, or several of which any may take a path. */
export type Match = string | readonly string[]

export interface Parameter {
  readonly path: string
  /** The numbers that training changes, in f32 or f64. A buffer has any type. */
  readonly state: State
  /** What the model computes with: the numbers of `state` themselves, or their copy in bf16. */
  readonly tensor: Tensor
  /** Changed by the forward alone, as running statistics are: saved with the model and given to no optimiser. */
  readonly isBuffer: boolean
}

interface Entry extends Parameter {
  /** The bf16 copy, where the model computes with one. */
  readonly rounded: State | undefined
  frozen: boolean
}

/**
 * The parameters and buffers of one model, each a State under its path, in the order in which they were added. They
 * live until `dispose`.
 *
 * @example
 * const parameters = new Parameters()
 * const w = parameters.add('mlp.up.weight', stream.normal([64, 32]).mul(0.02))
 * const { gradients } = valueAndGrad(() => linear(x, w).square().mean(), parameters.tensors())
 */
export class Parameters {
  readonly #entries = new Map<string, Entry>()

  /**
   * A parameter with a copy of these numbers. Of f32 and f64 the state itself is trained. Of bf16 an f32 copy is trained
   * (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1), and the model computes with its rounded numbers.
   *
   * @returns the tensor for the layer: always the same one, which shows every later change
   * @throws OptionError for a path that is empty or taken; ShapeError for other number types
   */
  add(path: string, init: Tensor): Tensor {
    checkTrainable(path, init)
    return this.#insert(path, init, false).tensor
  }

  /** A buffer of any number type with a copy of these numbers. Errors as of `add`. */
  addBuffer(path: string, init: Tensor): State {
    return this.#insert(path, init, true).state
  }

  /** Drops a parameter or buffer and frees its memory. Optimisers forget it with `reset`. */
  remove(path: string): void {
    free(this.#entry(path))
    this.#entries.delete(path)
  }

  /**
   * New numbers that may have another shape, under the old path and in its place; the old tensor dies. Optimisers then
   * need their moments resized (`edit`) or forgotten (`reset`).
   *
   * @returns the new tensor for the layer
   * @throws OptionError for a path that is not there; ShapeError where a parameter, which is no buffer, would get a number
   * type that `add` refuses. The old one then stays
   */
  replace(path: string, init: Tensor): Tensor {
    const old = this.#entry(path)
    if (!old.isBuffer) checkTrainable(path, init)
    const next = { ...makeEntry(path, init, old.isBuffer), frozen: old.frozen }
    this.#entries.set(path, next)
    free(old)
    return next.tensor
  }

  has(path: string): boolean {
    return this.#entries.has(path)
  }

  /** @throws OptionError, with the nearest paths, where there is none of this name */
  get(path: string): Parameter {
    return this.#entry(path)
  }

  /** Paths that a pattern takes, in order; of all parameters and buffers without one. @throws OptionError where it takes none */
  matching(match?: Match): string[] {
    const paths = [...this.#entries.keys()]
    if (match === undefined) return paths
    const taken = new Set<string>()
    for (const pattern of typeof match === 'string' ? [match] : match) {
      const found = patternMatches('match', pattern, paths)
      if (!found.includes(true)) throw this.#unknown(pattern)
      for (const [i, isTaken] of found.entries()) if (isTaken) taken.add(paths[i]!)
    }
    return paths.filter((path) => taken.has(path))
  }

  /** What a loss is differentiated by: parameters that are not frozen, as the model sees them. */
  tensors(): ReadonlyMap<string, Tensor> {
    const trained = [...this.#entries.values()].filter(({ isBuffer, frozen }) => !isBuffer && !frozen)
    return new Map(trained.map(({ path, tensor }) => [path, tensor]))
  }

  /** All states, of parameters and of buffers. Change them through `update`, so that bf16 copies follow. */
  states(): ReadonlyMap<string, State> {
    return new Map([...this.#entries.values()].map(({ path, state }) => [path, state]))
  }

  /** Leaves parameters out of `tensors`, and so out of training. Buffers are no part of it. */
  freeze(match?: Match): void {
    for (const path of this.matching(match)) this.#entry(path).frozen = true
  }

  unfreeze(match?: Match): void {
    for (const path of this.matching(match)) this.#entry(path).frozen = false
  }

  /** Changes the state of a path in place, and its bf16 copy after it. */
  update(path: string, change: (state: State) => void): void {
    const { state, rounded } = this.#entry(path)
    change(state)
    rounded?.assign(state.tensor())
  }

  /** New numbers of the same shape, rounded to the type of the state. @example parameters.assign('w', w.mul(mask)) */
  assign(path: string, x: Tensor): void {
    this.update(path, (state) => state.assign(x))
  }

  /** Copies of all states, by path. They belong to the caller. */
  state(): Record<string, Tensor> {
    return Object.fromEntries([...this.#entries.values()].map(({ path, state }) => [path, state.value()]))
  }

  /**
   * Takes over what `state` gave; nothing is changed where something does not fit.
   *
   * @throws StateError for a path that is unknown or missing, another shape or another number type
   */
  load(saved: Readonly<Record<string, Tensor>>): void {
    for (const path of Object.keys(saved))
      if (!this.#entries.has(path)) {
        const nearest = nearestNames(path, [...this.#entries.keys()], 1).map((name) => printable(name))
        throw new StateError(
          `parameters: the saved state has ${printable(path)}, which the model has not${nearest.length > 0 ? `; nearest is ${nearest[0]}` : ''}`,
          { code: 'PARE_E_STATE_PATH', facts: { path } },
        )
      }
    for (const { path, state } of this.#entries.values()) checkSaved(path, state, saved[path])
    for (const path of this.#entries.keys()) this.assign(path, saved[path]!)
  }

  dispose(): void {
    for (const entry of this.#entries.values()) free(entry)
    this.#entries.clear()
  }

  #insert(path: string, init: Tensor, isBuffer: boolean): Entry {
    if (path === '' || this.#entries.has(path))
      throw new OptionError(
        path === ''
          ? 'parameter: needs a path, got an empty one; name it after its place in the model'
          : `parameter ${printable(path)}: it is there already; replace it, or take another path`,
      )
    const entry = makeEntry(path, init, isBuffer)
    this.#entries.set(path, entry)
    return entry
  }

  #entry(path: string): Entry {
    const entry = this.#entries.get(path)
    if (!entry) throw this.#unknown(path)
    return entry
  }

  #unknown(asked: string): OptionError {
    const nearest = nearestNames(asked, [...this.#entries.keys()])
    const hint =
      nearest.length > 0 ? `; nearest are ${nearest.map((name) => printable(name)).join(', ')}` : ''
    return new OptionError(`parameters: none of ${this.#entries.size} is called ${printable(asked)}${hint}`, {
      code: 'PARE_E_NO_MATCH',
      facts: { pattern: asked, nearest },
    })
  }
}

function checkTrainable(path: string, { dtype }: Tensor): void {
  if (!computes(dtype))
    throw new ShapeError(
      `parameter ${printable(path)}: needs f32, f64 or bf16, got ${dtype}; cast it, or add a buffer`,
    )
}

function makeEntry(path: string, init: Tensor, isBuffer: boolean): Entry {
  const isNarrow = init.dtype === 'bf16' && !isBuffer
  const made = (dtype: DType, name: string) => stateOf(name, init.shape, dtype, init)
  const state = made(isNarrow ? 'f32' : init.dtype, path)
  const rounded = isNarrow ? made('bf16', `${path} in bf16`) : undefined
  return { path, state, rounded, tensor: (rounded ?? state).tensor(), isBuffer, frozen: false }
}

function stateOf(name: string, shape: Shape, dtype: DType, init: Tensor): State {
  const state = new State(name, shape, dtype, init.kernels)
  state.assign(init)
  return state
}

function free({ state, rounded }: Entry): void {
  state.dispose()
  rounded?.dispose()
}

function checkSaved(path: string, { dtype, shape }: State, saved: Tensor | undefined): void {
  if (saved && saved.dtype === dtype && sameShape(saved.shape, shape)) return
  const found = saved ? `${saved.dtype} ${showShape(saved.shape)}` : 'nothing'
  throw new StateError(
    `parameters: ${printable(path)} needs ${dtype} ${showShape(shape)}, got ${found}; load the state of the same model`,
    { code: 'PARE_E_STATE_PATH', facts: { path } },
  )
}
