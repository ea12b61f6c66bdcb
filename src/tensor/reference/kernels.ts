/**
 * The kernels in short loops, for the tests to hold the fast ones against: every number is widened to f64,
 * computed by the definition, and rounded once to the type of the result.
 */
import { type DType, storageArray } from '../dtype.ts'
import { ShapeError } from '../errors.ts'
import type { Handle, Kernels } from '../kernels.ts'
import { elementCount, type Shape } from '../shape.ts'
import { attentionKernels } from './attention_kernels.ts'
import { cholesky, choleskyInverse, solve, triangularSolve } from './cholesky.ts'
import { eigh } from './eigh.ts'
import { binary, compare, tests, unary } from './elementwise.ts'
import { concat, indexSelect, order, positions } from './gather.ts'
import { matmul, product, transpose } from './matmul.ts'
import { Memory } from './memory.ts'
import { layerNorm, logSoftmax, rmsNorm, softmax } from './normalize.ts'
import { decode, encode } from './numbers.ts'
import { qr } from './qr.ts'
import { bits, normal, uniform } from './random.ts'
import { reductions } from './reduce.ts'
import { rotary } from './rotary.ts'
import { join, rowsOf } from './rows.ts'
import { svd } from './svd.ts'
import { trainingKernels } from './training_kernels.ts'

let made: Kernels | undefined

/** The reference kernels; one set with one memory. */
export function referenceKernels(): Kernels {
  made ??= makeKernels()
  return made
}

function makeKernels(): Kernels {
  const memory = new Memory()
  const shapeOf = (x: Handle) => memory.view(x).shape
  const typeOf = (x: Handle) => memory.view(x).dtype
  const values = (x: Handle) => memory.values(x)
  const optional = (x: Handle | undefined) => (x === undefined ? undefined : values(x))
  const bools = (x: Handle, flags: ArrayLike<boolean>) =>
    memory.add('bool', shapeOf(x), Uint8Array.from(flags, Number))
  const last = (x: Handle) => shapeOf(x).at(-1)!
  const rows = (x: Handle, width: number) => rowsOf(values(x), width)
  /** A result of the type and shape of x, from one function for each row of its last axis. */
  const byRow = (x: Handle, rule: (row: Float64Array) => Float64Array) =>
    memory.compute(typeOf(x), shapeOf(x), join(rows(x, last(x)).map(rule)))
  const copy = (x: Handle) => memory.add(typeOf(x), shapeOf(x), memory.elements(x))
  /** Rows in the order of `rank`, the first `count` of each, with the indices. */
  const picked = (x: Handle, count: number, rank: (row: Float64Array) => number[]): [Handle, Handle] => {
    const shape = shapeOf(x).with(-1, count)
    const width = last(x)
    const chosen = rows(x, width).map((row) => rank(row).slice(0, count))
    const stored = memory.elements(x)
    const out = storageArray(typeOf(x), elementCount(shape))
    chosen.forEach((row, r) => {
      row.forEach((index, i) => {
        out[r * count + i] = stored[r * width + index]!
      })
    })
    return [memory.add(typeOf(x), shape, out), memory.add('u32', shape, Uint32Array.from(chosen.flat()))]
  }

  return {
    name: 'reference',
    ...attentionKernels(memory),
    ...trainingKernels(memory),
    upload: (dtype, shape, bytes) => memory.upload(dtype, shape, bytes),
    download: (x, bytes) => memory.download(x, bytes),
    overwrite: (state, bytes) => memory.overwrite(state, bytes),
    fill: (dtype, shape, value) =>
      memory.add(
        dtype,
        shape,
        storageArray(dtype, elementCount(shape)).fill(encode(dtype, value, 'f64') as never),
      ),
    restride: (base, shape, strides, offset) => memory.restride(base, shape, strides, offset),
    release: (x) => memory.release(x),
    memory: () => memory.use(),
    resetPeak: () => memory.resetPeak(),
    contiguous: copy,
    duplicate: copy,
    cast(x, dtype) {
      const from = typeOf(x)
      const stored = memory.elements(x)
      const out = storageArray(dtype, stored.length)
      stored.forEach((element: number | bigint, i: number) => {
        out[i] = encode(dtype, decode(from, element), from) as never
      })
      return memory.add(dtype, shapeOf(x), dtype === from ? stored : out)
    },
    unary: (name, x) => memory.compute(typeOf(x), shapeOf(x), values(x).map(unary[name])),
    test: (name, x) => bools(x, Array.from(values(x), tests[name])),
    binary(name, a, b) {
      const y = values(b)
      return memory.compute(
        typeOf(a),
        shapeOf(a),
        values(a).map((x, i) => binary[name](x, y[i]!)),
      )
    },
    compare(name, a, b) {
      const numbers = (x: Handle) =>
        Array.from(memory.elements(x) as ArrayLike<number | bigint>, (element) => decode(typeOf(x), element))
      const y = numbers(b)
      return bools(
        a,
        numbers(a).map((x, i) => compare[name](x, y[i]!)),
      )
    },
    where(condition, a, b) {
      const [chosen, x, y] = [memory.elements(condition), memory.elements(a), memory.elements(b)]
      x.forEach((_, i) => {
        if (chosen[i] === 0) x[i] = y[i]!
      })
      return memory.add(typeOf(a), shapeOf(a), x)
    },
    reduce(name, x, kept) {
      const shape = shapeOf(x).slice(0, kept)
      const width = elementCount(shapeOf(x).slice(kept))
      const dtype: DType = name.startsWith('arg') ? 'u32' : typeOf(x)
      return memory.compute(dtype, shape, rowsOf(values(x), width, elementCount(shape)).map(reductions[name]))
    },
    softmax: (x) => byRow(x, softmax),
    logSoftmax: (x) => byRow(x, logSoftmax),
    rmsNorm(x, weight, epsilon) {
      const w = optional(weight)
      return byRow(x, (row) => rmsNorm(row, w, epsilon))
    },
    layerNorm(x, weight, bias, epsilon) {
      const [w, b] = [optional(weight), optional(bias)]
      return byRow(x, (row) => layerNorm(row, w, b, epsilon))
    },
    rotary(x, cos, sin, interleaved) {
      const shape = shapeOf(x)
      const sizes: [number, number] = [shape.at(-2)!, shape.at(-1)!]
      return memory.compute(typeOf(x), shape, rotary(values(x), sizes, values(cos), values(sin), interleaved))
    },
    matmul(left, right, bias, activation, residual) {
      const [leading, m, k] = [shapeOf(left).slice(0, -2), shapeOf(left).at(-2)!, last(left)]
      const n = last(right)
      const sizes: [number, number, number, number] = [elementCount(leading), m, k, n]
      const out = matmul(values(left), values(right), sizes, optional(bias), activation, optional(residual))
      return memory.compute(typeOf(left), [...leading, m, n], out)
    },
    addGram(accumulator, x) {
      const [m, n] = shapeOf(x) as [number, number]
      const sums = product(transpose(values(x), m, n), values(x), n, m, n)
      const { block, offset } = memory.view(accumulator)
      sums.forEach((sum, i) => {
        block.stored[offset + i] = ((block.stored[offset + i] as number) + sum) as never
      })
    },
    indexSelect(x, ids) {
      const shape = [...shapeOf(ids), ...shapeOf(x).slice(1)]
      const chosen = memory.elements(ids) as Uint32Array
      return memory.add(typeOf(x), shape, indexSelect(memory.elements(x), typeOf(x), shapeOf(x), chosen))
    },
    gather(x, index, axis) {
      const stored = memory.elements(x)
      const from = positions(
        memory.elements(index) as Uint32Array,
        shapeOf(index),
        shapeOf(x),
        axis,
        'gather',
      )
      const out = storageArray(typeOf(x), from.length)
      from.forEach((position, i) => {
        out[i] = stored[position]!
      })
      return memory.add(typeOf(x), shapeOf(index), out)
    },
    scatter(x, index, source, axis, mode) {
      const to = positions(memory.elements(index) as Uint32Array, shapeOf(index), shapeOf(x), axis, 'scatter')
      if (mode === 'set') {
        const [out, stored] = [memory.elements(x), memory.elements(source)]
        to.forEach((position, i) => {
          out[position] = stored[i]!
        })
        return memory.add(typeOf(x), shapeOf(x), out)
      }
      const [out, added] = [values(x), values(source)]
      to.forEach((position, i) => {
        out[position]! += added[i]!
      })
      return memory.compute(typeOf(x), shapeOf(x), out)
    },
    concat(parts, axis) {
      const shapes = parts.map(shapeOf)
      const extent = shapes.reduce((total, shape) => total + shape[axis]!, 0)
      const dtype = typeOf(parts[0]!)
      const stored = concat(
        parts.map((part) => memory.elements(part)),
        dtype,
        shapes,
        axis,
      )
      return memory.add(dtype, shapes[0]!.with(axis, extent), stored)
    },
    sort: (x, descending) => picked(x, last(x), (row) => order(row, descending, false)),
    topK: (x, k, largest) => picked(x, k, (row) => order(row, largest, largest)),
    random(kind, dtype, shape, key, counter) {
      const count = elementCount(shape)
      if (kind === 'bits') return memory.add('u32', shape, bits(count, key, counter).slice())
      if (kind === 'normal') return memory.compute(dtype, shape, normal(count, key, counter))
      return memory.compute(dtype, shape, uniform(dtype, count, key, counter))
    },
    cholesky: (a) => memory.compute(typeOf(a), shapeOf(a), cholesky(values(a), last(a))),
    choleskyInverse: (factor) =>
      memory.compute(typeOf(factor), shapeOf(factor), choleskyInverse(values(factor), last(factor))),
    triangularSolve: (a, b, options) =>
      memory.compute(typeOf(a), shapeOf(b), triangularSolve(values(a), values(b), last(a), options)),
    solve: (a, b) => memory.compute(typeOf(a), shapeOf(b), solve(values(a), values(b), last(a))),
    qr(a) {
      const [m, n] = matrixOf(shapeOf(a))
      const k = Math.min(m, n)
      const [q, r] = qr(values(a), m, n)
      return [memory.compute(typeOf(a), [m, k], q), memory.compute(typeOf(a), [k, n], r)]
    },
    svd(a) {
      const [m, n] = matrixOf(shapeOf(a))
      const k = Math.min(m, n)
      const [u, s, vt] = svd(values(a), m, n)
      return [
        memory.compute(typeOf(a), [m, k], u),
        memory.compute(typeOf(a), [k], s),
        memory.compute(typeOf(a), [k, n], vt),
      ]
    },
    eigh(a) {
      const [lambda, vectors] = eigh(values(a), last(a))
      return [memory.compute(typeOf(a), [last(a)], lambda), memory.compute(typeOf(a), shapeOf(a), vectors)]
    },
  }
}

function matrixOf(shape: Shape): [number, number] {
  if (shape.length !== 2)
    throw new ShapeError(`linear algebra: needs a matrix, got ${shape.length} dimensions`)
  return [shape[0]!, shape[1]!]
}
