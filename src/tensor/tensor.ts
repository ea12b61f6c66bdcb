/**
 * A tensor: shape, number type, and a handle to a strided view in the memory of its kernels. Values never
 * change; views (`transpose`, `slice`, `reshape` of row-major data, `expand`) copy nothing.
 */
import { asStorage, bytesOf, computes, type DType, type NumberArray, sizeOf } from './dtype.ts'
import { OptionError, ShapeError } from './errors.ts'
import type { Handle, Kernels } from './kernels.ts'
import { nativeFault } from './native.ts'
import { apply, type Operation } from './operation.ts'
import { adopt, type Resource, register, unregister } from './scope.ts'
import {
  elementCount,
  normalizeAxis,
  reshapedStrides,
  rowMajor,
  type Shape,
  sameShape,
  showShape,
} from './shape.ts'

/** A buffer, shared by all views of it. */
export interface Memory {
  /** Of a state that changes in place. */
  readonly name?: string
  /** Grows with every change in place. */
  version: number
  readonly bytes: number
}

export class Tensor implements Resource {
  readonly shape: Shape
  readonly dtype: DType
  /** Elements of the buffer from one index to the next, per axis. */
  readonly strides: readonly number[]
  /** First element in the buffer. */
  readonly offset: number
  readonly kernels: Kernels
  readonly handle: Handle
  readonly memory: Memory
  #alive = true

  /** Takes over the handle. Used by operations; everybody else calls `makers.ts`. */
  constructor(
    kernels: Kernels,
    handle: Handle,
    dtype: DType,
    shape: Shape,
    strides: readonly number[] = rowMajor(shape),
    offset = 0,
    memory: Memory = { version: 0, bytes: elementCount(shape) * sizeOf(dtype) },
  ) {
    this.kernels = kernels
    this.handle = handle
    this.dtype = dtype
    this.shape = shape
    this.strides = strides
    this.offset = offset
    this.memory = memory
    register(this, release(kernels, handle))
  }

  /** Elements. */
  get size(): number {
    return elementCount(this.shape)
  }

  get rank(): number {
    return this.shape.length
  }

  /** False once its scope has ended. */
  get alive(): boolean {
    return this.#alive
  }

  get isContiguous(): boolean {
    let step = 1
    for (let axis = this.rank - 1; axis >= 0; axis--) {
      if (this.shape[axis] !== 1 && this.strides[axis] !== step) return this.size === 0
      step *= this.shape[axis]!
    }
    return true
  }

  /** Extent of an axis; negative axes count from the end. */
  extent(axis: number): number {
    return this.shape[normalizeAxis(axis, this.rank, 'extent')]!
  }

  dispose(): void {
    if (!this.#alive) return
    this.#alive = false
    unregister(this)
    this.kernels.release(this.handle)
  }

  /** Leaves all scopes: from now on the garbage collector frees it. */
  adopt(): void {
    adopt(this, release(this.kernels, this.handle))
  }

  /** Packed little-endian bytes in row-major order. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.size * sizeOf(this.dtype))
    this.copyTo(bytes)
    return bytes
  }

  /** Puts the packed bytes into an array of exactly their length. */
  copyTo(bytes: Uint8Array): void {
    this.guard(() => this.kernels.download(this.handle, bytes))
  }

  /** Another tensor on the same memory, with a life of its own. The tape does not see it. */
  alias(): Tensor {
    return this.guard(() => window(this, this.shape, this.strides, this.offset))
  }

  /** A row-major copy in memory of its own. The tape does not see it. */
  duplicate(): Tensor {
    const handle = this.guard(() => this.kernels.duplicate(this.handle))
    return new Tensor(this.kernels, handle, this.dtype, this.shape)
  }

  /** Values in row-major order; f16 and bf16 as the Float32Array of the same values. */
  toArray(): NumberArray {
    if (this.dtype !== 'bf16' && this.dtype !== 'f16') return asStorage(this.dtype, this.bytes())
    const wide = this.guard(() => this.kernels.cast(this.handle, 'f32'))
    const array = new Float32Array(this.size)
    this.kernels.download(wide, bytesOf(array))
    this.kernels.release(wide)
    return array
  }

  /** The only value of a tensor of one element. */
  item(): number {
    if (this.size !== 1) throw new ShapeError(`item: needs one element, got shape ${showShape(this.shape)}`)
    return Number(this.toArray()[0])
  }

  /** Same values under another shape; one extent may be -1. Copies only where the strides do not allow a view. */
  reshape(shape: Shape): Tensor {
    const known = shape.reduce((product, extent) => (extent === -1 ? product : product * extent), 1)
    const full = shape.map((extent) => (extent === -1 ? this.size / known : extent))
    const guesses = shape.filter((extent) => extent === -1).length
    if (guesses > 1 || !full.every(Number.isInteger) || elementCount(full) !== this.size) {
      throw new ShapeError(
        `reshape: ${showShape(this.shape)} has ${this.size} elements, which ${showShape(shape)} cannot hold`,
      )
    }
    if (sameShape(full, this.shape)) return this
    return apply(reshape, [this], { shape: full })
  }

  /** Axes in another order. @example x.permute([1, 0]) */
  permute(axes: readonly number[]): Tensor {
    const order = axes.map((axis) => normalizeAxis(axis, this.rank, 'permute'))
    if (order.length !== this.rank || new Set(order).size !== this.rank) {
      throw new OptionError(
        `permute: needs every axis of ${showShape(this.shape)} once, got [${axes.join(', ')}]`,
      )
    }
    return apply(permute, [this], { order })
  }

  /** Two axes swapped. @default the last two */
  transpose(a = -2, b = -1): Tensor {
    const order = this.shape.map((_, axis) => axis)
    const [x, y] = [normalizeAxis(a, this.rank, 'transpose'), normalizeAxis(b, this.rank, 'transpose')]
    order[x] = y
    order[y] = x
    return this.permute(order)
  }

  /** Indices `start` to `end` (exclusive) of an axis, every `step`; negative positions count from the end. */
  slice(axis: number, start = 0, end?: number, step = 1): Tensor {
    const at = normalizeAxis(axis, this.rank, 'slice')
    const extent = this.shape[at]!
    const clamp = (position: number) =>
      Math.min(Math.max(position < 0 ? position + extent : position, 0), extent)
    const [from, to] = [clamp(start), clamp(end ?? extent)]
    if (!Number.isInteger(from) || !Number.isInteger(to) || !Number.isInteger(step) || step < 1) {
      throw new OptionError(
        `slice: positions and a step from 1 on must be whole, got ${start}, ${end}, ${step}`,
      )
    }
    return apply(slice, [this], {
      axis: at,
      start: from,
      length: Math.max(0, Math.ceil((to - from) / step)),
      step,
    })
  }

  /** One index of an axis, which disappears. */
  select(axis: number, index: number): Tensor {
    const at = normalizeAxis(axis, this.rank, 'select')
    const extent = this.shape[at]!
    const position = index < 0 ? index + extent : index
    if (!(Number.isInteger(position) && position >= 0 && position < extent)) {
      throw new OptionError(`select: index ${index} is outside of axis ${at} with ${extent} entries`)
    }
    return this.slice(at, position, position + 1).squeeze(at)
  }

  /** Extents of 1 stretched to `shape`, without a copy. */
  expand(shape: Shape): Tensor {
    const shift = shape.length - this.rank
    const fits =
      shift >= 0 && this.shape.every((extent, axis) => extent === 1 || extent === shape[axis + shift])
    if (!fits) {
      throw new ShapeError(
        `expand: ${showShape(this.shape)} does not stretch to ${showShape(shape)}; only extents of 1 do`,
      )
    }
    return sameShape(shape, this.shape) ? this : apply(expand, [this], { shape })
  }

  /** A new axis of extent 1. */
  unsqueeze(axis: number): Tensor {
    const at = normalizeAxis(axis, this.rank + 1, 'unsqueeze')
    return apply(reaxis, [this], {
      shape: this.shape.toSpliced(at, 0, 1),
      strides: this.strides.toSpliced(at, 0, 1),
    })
  }

  /** Without the axis, whose extent must be 1. */
  squeeze(axis: number): Tensor {
    const at = normalizeAxis(axis, this.rank, 'squeeze')
    if (this.shape[at] !== 1) {
      throw new ShapeError(`squeeze: axis ${axis} of ${showShape(this.shape)} must have an extent of 1`)
    }
    return apply(reaxis, [this], {
      shape: this.shape.toSpliced(at, 1),
      strides: this.strides.toSpliced(at, 1),
    })
  }

  /** The values in row-major order; the tensor itself where they are. */
  contiguous(): Tensor {
    return this.isContiguous ? this : apply(contiguous, [this], {})
  }

  private guard<T>(call: () => T): T {
    if (!this.#alive)
      throw new ShapeError('tensor: it is no longer alive; return it from its scope to keep it')
    try {
      return call()
    } catch (error) {
      throw nativeFault(error)
    }
  }
}

/** Another window on the buffer of x. */
function window(x: Tensor, shape: Shape, strides: readonly number[], offset: number): Tensor {
  return new Tensor(
    x.kernels,
    x.kernels.restride(x.handle, shape, strides, offset),
    x.dtype,
    shape,
    strides,
    offset,
    x.memory,
  )
}

const contiguous: Operation<[Tensor], object, Tensor> = {
  name: 'contiguous',
  forward: (kernels, [x]) => new Tensor(kernels, kernels.contiguous(x.handle), x.dtype, x.shape),
  backward: ({ gradient }) => [gradient],
}
const reshape: Operation<[Tensor], { shape: Shape }, Tensor> = {
  name: 'reshape',
  forward(kernels, [x], { shape }) {
    if (x.isContiguous) return window(x, shape, rowMajor(shape), x.offset)
    const strides = reshapedStrides(x.shape, x.strides, shape)
    if (strides) return window(x, shape, strides, x.offset)
    const packed = kernels.contiguous(x.handle)
    const handle = kernels.restride(packed, shape, rowMajor(shape), 0)
    kernels.release(packed)
    return new Tensor(kernels, handle, x.dtype, shape)
  },
  backward: ({ inputs: [x], gradient }) => [gradient.reshape(x.shape)],
}
const permute: Operation<[Tensor], { order: readonly number[] }, Tensor> = {
  name: 'permute',
  forward: (_, [x], { order }) =>
    window(
      x,
      order.map((axis) => x.shape[axis]!),
      order.map((axis) => x.strides[axis]!),
      x.offset,
    ),
  backward: ({ options: { order }, gradient }) => [
    gradient.permute(order.map((_, axis) => order.indexOf(axis))),
  ],
}
const slice: Operation<[Tensor], { axis: number; start: number; length: number; step: number }, Tensor> = {
  name: 'slice',
  forward(_, [x], { axis, start, length, step }) {
    const stride = x.strides[axis]!
    const offset = length === 0 ? x.offset : x.offset + start * stride
    return window(x, x.shape.with(axis, length), x.strides.with(axis, stride * step), offset)
  },
  backward: ({ inputs: [x], options: { axis, start, step }, gradient }) => [
    gradient.place(x.shape[axis]!, { axis, start, step }),
  ],
}
const expand: Operation<[Tensor], { shape: Shape }, Tensor> = {
  name: 'expand',
  forward(_, [x], { shape }) {
    const shift = shape.length - x.rank
    const strides = shape.map((_, axis) =>
      axis < shift || x.shape[axis - shift] === 1 ? 0 : x.strides[axis - shift]!,
    )
    return window(x, shape, strides, x.offset)
  },
  backward({ inputs: [x], options: { shape }, gradient }) {
    const shift = shape.length - x.rank
    const stretched = shape.flatMap((extent, axis) =>
      axis < shift || x.shape[axis - shift] !== extent ? [axis] : [],
    )
    return [gradient.sum(stretched).reshape(x.shape)]
  },
}
/** Axes of extent 1 put in or taken out. */
const reaxis: Operation<[Tensor], { shape: Shape; strides: readonly number[] }, Tensor> = {
  name: 'reaxis',
  forward: (_, [x], { shape, strides }) => window(x, shape, strides, x.offset),
  backward: ({ inputs: [x], gradient }) => [gradient.reshape(x.shape)],
}

const release = (kernels: Kernels, handle: Handle) => () => kernels.release(handle)

/** Refuses types that do not compute. */
export function needCompute(x: Tensor, what: string): void {
  if (!computes(x.dtype))
    throw new ShapeError(`${what}: needs f32, f64 or bf16, got ${x.dtype}; cast it first`)
}
