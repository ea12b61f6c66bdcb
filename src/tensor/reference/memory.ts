/** Views by handle over typed arrays, with a count of what is alive. */
import { asStorage, bytesOf, type DType, type NumberArray, storageArray } from '../dtype.ts'
import { ShapeError } from '../errors.ts'
import type { Handle, MemoryUse } from '../kernels.ts'
import { elementCount, rowMajor, type Shape, showShape } from '../shape.ts'
import { decode, store } from './numbers.ts'

/** Memory that views share. */
interface Block {
  readonly stored: NumberArray
  views: number
}

export interface View {
  readonly block: Block
  readonly dtype: DType
  readonly shape: Shape
  readonly strides: readonly number[]
  readonly offset: number
}

export class Memory {
  #views = new Map<Handle, View>()
  #next = 1
  #live = 0
  #peak = 0

  view(handle: Handle): View {
    const view = this.#views.get(handle)
    if (!view) throw new ShapeError(`tensor: handle ${handle} is not alive`)
    return view
  }

  /** A handle for a row-major tensor over `stored`. */
  add(dtype: DType, shape: Shape, stored: NumberArray): Handle {
    this.#live += stored.byteLength
    this.#peak = Math.max(this.#peak, this.#live)
    return this.#put({
      block: { stored, views: 0 },
      dtype,
      shape: [...shape],
      strides: rowMajor(shape),
      offset: 0,
    })
  }

  /** A handle for computed numbers, rounded once to their type. */
  compute(dtype: DType, shape: Shape, values: ArrayLike<number>): Handle {
    return this.add(dtype, shape, store(dtype, values))
  }

  upload(dtype: DType, shape: Shape, bytes: Uint8Array): Handle {
    const stored = storageArray(dtype, elementCount(shape))
    if (stored.byteLength !== bytes.byteLength) {
      throw new ShapeError(
        `upload: shape ${showShape(shape)} needs ${stored.byteLength} bytes, got ${bytes.byteLength}`,
      )
    }
    bytesOf(stored).set(bytes)
    return this.add(dtype, shape, stored)
  }

  download(handle: Handle, bytes: Uint8Array): void {
    const packed = bytesOf(this.elements(handle))
    if (packed.byteLength !== bytes.byteLength) {
      throw new ShapeError(
        `download: the tensor has ${packed.byteLength} bytes, the target ${bytes.byteLength}`,
      )
    }
    bytes.set(packed)
  }

  overwrite(handle: Handle, bytes: Uint8Array): void {
    const { block, dtype, shape, offset } = this.view(handle)
    const stored = asStorage(dtype, bytes)
    if (stored.length !== elementCount(shape)) {
      throw new ShapeError(`overwrite: needs ${elementCount(shape)} elements, got ${stored.length}`)
    }
    block.stored.set(stored as never, offset)
  }

  /** Puts stored elements, in row-major order, into a row-major view. */
  change(handle: Handle, elements: ArrayLike<number | bigint>): void {
    const { block, offset } = this.view(handle)
    for (let i = 0; i < elements.length; i++) block.stored[offset + i] = elements[i] as never
  }

  restride(base: Handle, shape: Shape, strides: readonly number[], offset: number): Handle {
    const { block, dtype } = this.view(base)
    const last = shape.reduce((at, extent, axis) => at + (extent - 1) * strides[axis]!, offset)
    const wrong =
      shape.length !== strides.length || [...strides, offset].some((n) => !Number.isInteger(n) || n < 0)
    if (wrong || (elementCount(shape) > 0 && last >= block.stored.length)) {
      throw new ShapeError(
        `view: shape ${showShape(shape)}, strides ${showShape(strides)}, offset ${offset} leave the buffer`,
      )
    }
    return this.#put({ block, dtype, shape: [...shape], strides: [...strides], offset })
  }

  release(handle: Handle): void {
    const view = this.#views.get(handle)
    if (!view || !this.#views.delete(handle)) return
    view.block.views--
    if (view.block.views === 0) this.#live -= view.block.stored.byteLength
  }

  use(): MemoryUse {
    return { live: this.#live, peak: this.#peak, pooled: 0, tensors: this.#views.size }
  }

  resetPeak(): void {
    this.#peak = this.#live
  }

  /** Stored elements in row-major order, copied. */
  elements(handle: Handle): NumberArray {
    const view = this.view(handle)
    const out = storageArray(view.dtype, elementCount(view.shape))
    let next = 0
    const visit = (axis: number, at: number) => {
      if (axis === view.shape.length) {
        out[next++] = view.block.stored[at]!
        return
      }
      for (let i = 0; i < view.shape[axis]!; i++) visit(axis + 1, at + i * view.strides[axis]!)
    }
    if (out.length > 0) visit(0, view.offset)
    return out
  }

  /** Numbers in row-major order. */
  values(handle: Handle): Float64Array {
    const { dtype } = this.view(handle)
    return Float64Array.from(this.elements(handle) as ArrayLike<number | bigint>, (x) =>
      Number(decode(dtype, x)),
    )
  }

  #put(view: View): Handle {
    view.block.views++
    const handle = this.#next++
    this.#views.set(handle, view)
    return handle
  }
}
