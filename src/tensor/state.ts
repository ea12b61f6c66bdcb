/** Mutable state beside value tensors: sums of statistics, moments of optimisers. */
import { currentKernels } from './current_kernels.ts'
import type { DType } from './dtype.ts'
import { computes, sizeOf } from './dtype.ts'
import { OptionError, ShapeError, StateError } from './errors.ts'
import type { Handle, Kernels } from './kernels.ts'
import { nativeFault } from './native.ts'
import { asRows } from './operations/matmul.ts'
import { adopt, type Resource, scope, unregister } from './scope.ts'
import { checkShape, elementCount, rowMajor, type Shape, sameShape, showShape } from './shape.ts'
import { type Memory, needCompute, Tensor } from './tensor.ts'

/**
 * A named tensor that changes in place, zero at first. It belongs to no scope, since it outlives the steps that
 * change it: `dispose` frees it, or else the garbage collector.
 *
 * @example const hessian = new State('layers.0.mlp.up', [n, n], 'f64'); hessian.addGram(x)
 */
export class State implements Resource {
  readonly name: string
  readonly shape: Shape
  readonly dtype: DType
  readonly #kernels: Kernels
  readonly #handle: Handle
  readonly #memory: Memory
  #tensor: Tensor | undefined
  #alive = true

  constructor(name: string, shape: Shape, dtype: DType = 'f32', kernels: Kernels = currentKernels()) {
    checkShape(shape, `state ${name}`)
    this.name = name
    this.shape = [...shape]
    this.dtype = dtype
    this.#kernels = kernels
    this.#memory = { name, version: 0, bytes: elementCount(shape) * sizeOf(dtype) }
    try {
      this.#handle = kernels.fill(dtype, shape, 0)
    } catch (error) {
      throw nativeFault(error)
    }
    const handle = this.#handle
    adopt(this, () => kernels.release(handle))
  }

  /** Adds x^T x, summed over all leading axes of x [.., n], to a state [n, n] in f32 or f64. */
  addGram(x: Tensor): void {
    needCompute(x, 'addGram')
    const fits = x.rank > 0 && sameShape(this.shape, [x.extent(-1), x.extent(-1)])
    if (!fits || (this.dtype !== 'f64' && (this.dtype !== 'f32' || x.dtype === 'f64'))) {
      throw new ShapeError(
        `addGram: state ${this.name} ${this.dtype} ${showShape(this.shape)} cannot sum the products of ${x.dtype} ${showShape(x.shape)}`,
      )
    }
    if (!x.alive || x.kernels !== this.#kernels) {
      throw new ShapeError(`addGram: x must be alive and in the memory of state ${this.name}`)
    }
    scope(() => this.change((kernels, handle) => kernels.addGram(handle, asRows(x).handle)))
  }

  /** Where the numbers are. */
  get kernels(): Kernels {
    return this.#kernels
  }

  /** Takes over the numbers of x, of the same shape, rounded to the type of the state. */
  assign(x: Tensor): void {
    this.#checkLike('assign', x)
    this.change((kernels, handle) => kernels.assign(handle, x.handle))
  }

  /**
   * Moves towards x by a share of the way, as `torch.lerp` does: state += share (x - state), exactly x where the share
   * is 1. x has the shape of the state, and is rounded to its type first.
   *
   * @example average.lerp(weight, 1 - 0.999)
   */
  lerp(x: Tensor, share: number): void {
    this.#checkLike('lerp', x)
    if (!computes(this.dtype))
      throw new ShapeError(`lerp: state ${this.name} needs f32, f64 or bf16, got ${this.dtype}`)
    if (!(share >= 0 && share <= 1))
      throw new OptionError(`lerp: the share of state ${this.name} must be in [0, 1], got ${share}`)
    this.change((kernels, handle) => kernels.lerp(handle, x.handle, share))
  }

  /** The numbers of now, as a tensor that later changes do not reach. */
  value(): Tensor {
    const handle = this.#call(() => this.#kernels.duplicate(this.#handle))
    return new Tensor(this.#kernels, handle, this.dtype, this.shape)
  }

  /**
   * The numbers as they are at any time, without a copy: what layers of a model in training hold. Always the same
   * tensor, which lives as long as the state.
   */
  tensor(): Tensor {
    if (!this.#tensor) {
      this.#tensor = this.#window(this.shape, rowMajor(this.shape), 0)
      this.#tensor.adopt()
    }
    return this.#tensor
  }

  /** Runs a kernel that changes the numbers in place. A tape that has saved them will refuse to go back over them. */
  change<T>(kernel: (kernels: Kernels, handle: Handle) => T): T {
    this.#memory.version++
    return this.#call(() => kernel(this.#kernels, this.#handle))
  }

  /**
   * The numbers of now at positions `start` to `end` (exclusive) of the first axis, without a copy: what `setRows`
   * puts there later shows in the tensor too.
   */
  rows(start: number, end: number): Tensor {
    this.#checkRows('rows', start, end)
    const [shape, strides] = [[end - start, ...this.shape.slice(1)], rowMajor(this.shape)]
    const offset = start === end ? 0 : start * strides[0]!
    return this.#window(shape, strides, offset)
  }

  #window(shape: Shape, strides: readonly number[], offset: number): Tensor {
    const handle = this.#call(() => this.#kernels.restride(this.#handle, shape, strides, offset))
    return new Tensor(this.#kernels, handle, this.dtype, shape, strides, offset, this.#memory)
  }

  /** Puts x [count, ..] at positions `start` to `start + count` of the first axis. */
  setRows(start: number, x: Tensor): void {
    const fits =
      x.rank === this.shape.length && x.rank > 0 && sameShape(x.shape.slice(1), this.shape.slice(1))
    if (!fits || x.dtype !== this.dtype) {
      throw new ShapeError(
        `setRows: state ${this.name} ${this.dtype} ${showShape(this.shape)} has no rows like those of ${x.dtype} ${showShape(x.shape)}`,
      )
    }
    const bytes = x.bytes()
    scope(() => {
      const place = this.rows(start, start + x.shape[0]!)
      this.change((kernels) => kernels.overwrite(place.handle, bytes))
    })
  }

  /** Packed little-endian bytes in row-major order. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(elementCount(this.shape) * sizeOf(this.dtype))
    this.#call(() => this.#kernels.download(this.#handle, bytes))
    return bytes
  }

  /** Takes over what `bytes` gave. @throws StateError where the length is another one */
  load(bytes: Uint8Array): void {
    const needed = elementCount(this.shape) * sizeOf(this.dtype)
    if (bytes.byteLength !== needed) {
      throw new StateError(
        `state ${this.name}: ${this.dtype} ${showShape(this.shape)} needs ${needed} bytes, got ${bytes.byteLength}; load the file of the same model and options`,
      )
    }
    this.change((kernels, handle) => kernels.overwrite(handle, bytes))
  }

  dispose(): void {
    if (!this.#alive) return
    this.#alive = false
    unregister(this)
    this.#tensor?.dispose()
    this.#kernels.release(this.#handle)
  }

  #checkLike(name: string, x: Tensor): void {
    if (!sameShape(x.shape, this.shape))
      throw new ShapeError(
        `${name}: state ${this.name} of shape ${showShape(this.shape)} cannot take ${showShape(x.shape)}`,
      )
    if (!x.alive || x.kernels !== this.#kernels)
      throw new ShapeError(`${name}: x must be alive and in the memory of state ${this.name}`)
  }

  #checkRows(name: string, start: number, end: number): void {
    const rows = this.shape[0] ?? 0
    if (Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end && end <= rows) return
    throw new ShapeError(`${name}: state ${this.name} has rows 0 to ${rows}, not ${start} to ${end}`)
  }

  #call<T>(call: () => T): T {
    if (!this.#alive) throw new ShapeError(`state ${this.name}: it was disposed of`)
    try {
      return call()
    } catch (error) {
      throw nativeFault(error)
    }
  }
}
