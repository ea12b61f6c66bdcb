/** The masks of a training: one a parameter, which change in place and are saved with the run. */
import type { Parameters } from '../nn/parameters.ts'
import { printable, StateError } from '../tensor/errors.ts'
import {
  elementCount,
  fromBytes,
  type Shape,
  State,
  sameShape,
  scope,
  showShape,
  type Tensor,
  withKernels,
} from '../tensor/index.ts'
import type { Mask } from './mask.ts'
import { packMask, unpackMask } from './packed_mask.ts'

interface Entry {
  readonly shape: Shape
  /** bool of the shape of the parameter, or u8 [bytes] where masks are packed. */
  readonly state: State
}

/** Belongs to no scope: `dispose` frees it. */
export class MaskSet {
  readonly #entries = new Map<string, Entry>()
  readonly isPacked: boolean

  /** @param options `packed` keeps one bit a weight instead of a byte, and unpacks at each use. @default false */
  constructor({ packed = false }: { packed?: boolean } = {}) {
    this.isPacked = packed
  }

  /** A mask for a parameter, all ones at first. */
  add(path: string, parameter: State): void {
    const { shape, kernels } = parameter
    const size = elementCount(shape)
    const state = this.isPacked
      ? new State(path, [Math.ceil(size / 8)], 'u8', kernels)
      : new State(path, shape, 'bool', kernels)
    this.#entries.set(path, { shape, state })
    this.set(path, new Uint8Array(size).fill(1))
  }

  paths(): string[] {
    return [...this.#entries.keys()]
  }

  set(path: string, mask: Mask): void {
    this.#entry(path).state.load(this.isPacked ? packMask(mask) : mask)
  }

  /** 0 and 1, in row-major order. The caller's. */
  mask(path: string): Mask {
    const { shape, state } = this.#entry(path)
    const bytes = state.bytes()
    return this.isPacked ? unpackMask(bytes, elementCount(shape)) : bytes
  }

  masks(): Map<string, Mask> {
    return new Map(this.paths().map((path) => [path, this.mask(path)]))
  }

  /** As bool of the shape of the parameter: the numbers as they are at any time, or of now where masks are packed. */
  tensor(path: string): Tensor {
    const { shape, state } = this.#entry(path)
    return this.isPacked
      ? withKernels(state.kernels, () => fromBytes(this.mask(path), shape, 'bool'))
      : state.tensor()
  }

  /** Overwrites pruned weights by zeros. */
  applyTo(parameters: Parameters): void {
    for (const path of this.paths())
      scope(() =>
        parameters.update(path, (state) => state.assign(this.tensor(path).where(state.tensor(), 0))),
      )
  }

  /** Gradients, or other tensors by the same paths, with zeros where weights are pruned. */
  masked(tensors: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
    return new Map(
      [...tensors].map(([path, x]) => [
        path,
        this.#entries.has(path) ? scope(() => this.tensor(path).where(x, 0)) : x,
      ]),
    )
  }

  /** Copies by `mask/path`. They belong to the caller. */
  state(): Record<string, Tensor> {
    return Object.fromEntries([...this.#entries].map(([path, { state }]) => [`mask/${path}`, state.value()]))
  }

  /** Takes over what `state` gave; nothing is changed where something does not fit. @throws StateError */
  load(saved: Readonly<Record<string, Tensor>>): void {
    const states = new Map([...this.#entries].map(([path, { state }]) => [`mask/${path}`, state]))
    for (const key of new Set([...Object.keys(saved), ...states.keys()])) {
      const [state, found] = [states.get(key), saved[key]]
      if (state && found && found.dtype === state.dtype && sameShape(found.shape, state.shape)) continue
      const shown = (x: State | Tensor | undefined) => (x ? `${x.dtype} ${showShape(x.shape)}` : 'nothing')
      throw new StateError(
        `masks: ${printable(key)} needs ${shown(state)}, the saved state has ${shown(found)}; load the state of the same model and options`,
        { code: 'PARE_E_STATE_PATH', facts: { key } },
      )
    }
    for (const [key, state] of states) state.load(saved[key]!.bytes())
  }

  dispose(): void {
    for (const { state } of this.#entries.values()) state.dispose()
    this.#entries.clear()
  }

  #entry(path: string): Entry {
    const entry = this.#entries.get(path)
    if (entry) return entry
    throw new StateError(`masks: there is none for ${printable(path)}; prepare the method first`)
  }
}
