/** Gradients, losses and what else only training asks for, as kernels over the memory of the reference. */
import { ShapeError } from '../errors.ts'
import type { Handle, Kernels } from '../kernels.ts'
import { elementCount } from '../shape.ts'
import { crossEntropy, crossEntropyGradient, logSumExp } from './cross_entropy.ts'
import { slopes, unary } from './elementwise.ts'
import { indexAdd } from './gather.ts'
import type { Memory } from './memory.ts'
import { logSoftmaxGradient, normGradient, softmaxGradient } from './normalize.ts'
import { dropout } from './random.ts'
import { join, rowsOf } from './rows.ts'

type TrainingKernels = Pick<
  Kernels,
  | 'unaryGradient'
  | 'swiglu'
  | 'swigluGradient'
  | 'softmaxGradient'
  | 'logSoftmaxGradient'
  | 'rmsNormGradient'
  | 'layerNormGradient'
  | 'crossEntropy'
  | 'crossEntropyGradient'
  | 'indexAdd'
  | 'dropout'
>

export function trainingKernels(memory: Memory): TrainingKernels {
  const shapeOf = (x: Handle) => memory.view(x).shape
  const typeOf = (x: Handle) => memory.view(x).dtype
  const values = (x: Handle) => memory.values(x)
  const like = (x: Handle, numbers: ArrayLike<number>) => memory.compute(typeOf(x), shapeOf(x), numbers)
  const rows = (x: Handle) => rowsOf(values(x), shapeOf(x).at(-1) ?? 1)
  /** A result of the type and shape of y, row by row. */
  const byRow = (
    y: Handle,
    dy: Handle,
    rule: (y: Float64Array, dy: Float64Array) => Float64Array,
  ): Handle => {
    const upstream = rows(dy)
    return like(y, join(rows(y).map((row, i) => rule(row, upstream[i]!))))
  }
  const normGradients = (
    x: Handle,
    weight: Handle | undefined,
    dy: Handle,
    epsilon: number,
    centred: boolean,
  ): [Handle, Handle, Handle] => {
    const [w, upstream, width] = [
      weight === undefined ? undefined : values(weight),
      rows(dy),
      shapeOf(x).at(-1)!,
    ]
    const found = rows(x).map((row, i) => normGradient(row, w, upstream[i]!, epsilon, centred))
    const total = (parts: Float64Array[]) =>
      memory.compute(
        typeOf(x),
        [width],
        Float64Array.from({ length: width }, (_, i) => parts.reduce((sum, part) => sum + part[i]!, 0)),
      )
    return [
      like(x, join(found.map(({ dx }) => dx))),
      total(found.map(({ dweight }) => dweight)),
      total(found.map(({ dbias }) => dbias)),
    ]
  }
  /** Rows of logits, each with its target; without one where it is ignored. */
  const withTargets = (logits: Handle, targets: Handle, ignored: number | undefined) => {
    const classes = shapeOf(logits).at(-1)!
    const count = elementCount(shapeOf(logits).slice(0, -1))
    const all = rowsOf(values(logits), classes, count)
    if (typeOf(targets) !== 'u32') {
      const distributions = rowsOf(values(targets), classes, count)
      return all.map((row, i) => ({ row, target: distributions[i]! }))
    }
    const labels = memory.elements(targets) as Uint32Array
    return all.map((row, i) => {
      const label = labels[i]!
      if (label === ignored) return { row, target: undefined }
      if (label >= classes) {
        throw new ShapeError(
          `crossEntropy: label ${label} of row ${i} is outside of ${classes} classes; correct it or name it as \`ignored\``,
        )
      }
      return { row, target: row.map((_, c) => Number(c === label)) }
    })
  }

  return {
    unaryGradient(name, kept, dy) {
      const upstream = values(dy)
      const found = values(kept).map((x, i) => upstream[i]! * slopes[name](x))
      return like(kept, found)
    },
    swiglu(gate, up) {
      const factors = values(up)
      const found = values(gate).map((x, i) => unary.silu(x) * factors[i]!)
      return like(gate, found)
    },
    swigluGradient(gate, up, dy) {
      const [factors, upstream] = [values(up), values(dy)]
      const dgate = values(gate).map((x, i) => upstream[i]! * factors[i]! * slopes.silu(x))
      const dup = values(gate).map((x, i) => upstream[i]! * unary.silu(x))
      return [like(gate, dgate), like(gate, dup)]
    },
    softmaxGradient: (y, dy) => byRow(y, dy, softmaxGradient),
    logSoftmaxGradient: (y, dy) => byRow(y, dy, logSoftmaxGradient),
    rmsNormGradient(x, weight, dy, epsilon) {
      const [dx, dweight, dbias] = normGradients(x, weight, dy, epsilon, false)
      memory.release(dbias)
      return [dx, dweight]
    },
    layerNormGradient: (x, weight, dy, epsilon) => normGradients(x, weight, dy, epsilon, true),
    crossEntropy(logits, targets, { smoothing, ignored }) {
      const given = withTargets(logits, targets, ignored)
      const shape = shapeOf(logits).slice(0, -1)
      const dtype = typeOf(logits) === 'f64' ? 'f64' : 'f32'
      const losses = given.map(({ row, target }) => (target ? crossEntropy(row, target, smoothing) : 0))
      return [
        memory.compute(dtype, shape, losses),
        memory.compute(
          dtype,
          shape,
          given.map(({ row }) => logSumExp(row)),
        ),
      ]
    },
    crossEntropyGradient(logits, targets, _logSums, dlosses, { smoothing, ignored }) {
      const upstream = values(dlosses)
      const found = withTargets(logits, targets, ignored).map(({ row, target }, i) =>
        target
          ? crossEntropyGradient(row, target, smoothing).map((x) => x * upstream[i]!)
          : new Float64Array(row.length),
      )
      return like(logits, join(found))
    },
    indexAdd(rows, ids, dy) {
      const shape = [rows, ...shapeOf(dy).slice(1)]
      const found = indexAdd(elementCount(shape), rows, memory.elements(ids) as Uint32Array, values(dy))
      return memory.compute(typeOf(dy), shape, found)
    },
    dropout: (x, p, key, counter) => like(x, dropout(values(x), p, key, counter)),
  }
}
