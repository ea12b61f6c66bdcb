/** Picking, placing, joining and ordering. Indices are u32 and must be in range (`ShapeError` otherwise). */
import { withKernels } from '../current_kernels.ts'
import { OptionError, ShapeError } from '../errors.ts'
import { arange, zerosLike } from '../makers.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { normalizeAxis, sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { fromEnd, toEnd } from './axes.ts'
import { equal, where } from './elementwise.ts'
import { needRank, needSame, needType } from './operand.ts'

/** ids [count], dy [count, ..]; the cost is that of the result and of dy. */
const indexAddOperation: Operation<[Tensor, Tensor], { rows: number }, Tensor> = {
  name: 'indexAdd',
  forward(kernels, [ids, dy], { rows }) {
    const shape = [rows, ...dy.shape.slice(1)]
    return new Tensor(kernels, kernels.indexAdd(rows, ids.handle, dy.handle), dy.dtype, shape)
  },
}

/** x [extent, ..], ids [count]. */
const indexSelectOperation: Operation<[Tensor, Tensor], object, Tensor> = {
  name: 'indexSelect',
  forward(kernels, [x, ids]) {
    needType('indexSelect', 'ids', ids, 'u32')
    const shape = [...ids.shape, ...x.shape.slice(1)]
    return new Tensor(kernels, kernels.indexSelect(x.handle, ids.handle), x.dtype, shape)
  },
  saves: () => ({ inputs: [1] }),
  backward: ({ inputs: [x, ids], gradient }) => [
    apply(indexAddOperation, [ids, gradient], { rows: x.shape[0]! }),
    undefined,
  ],
}

/** Slices of x along `axis` at ids [count], in their order; any number type. @example indexSelect(x, 0, ids) */
export function indexSelect(x: Tensor, axis: number, ids: Tensor): Tensor {
  needRank('indexSelect', 'ids', ids, 1)
  const at = normalizeAxis(axis, x.rank, 'indexSelect')
  return scope(() => {
    const front = at === 0 ? x : x.permute([at, ...x.shape.map((_, i) => i).filter((i) => i !== at)])
    const rows = apply(indexSelectOperation, [front, ids], {})
    return at === 0 ? rows : rows.permute(x.shape.map((_, i) => (i === at ? 0 : i < at ? i + 1 : i)))
  })
}

/** Rows of a table [entries, dim] for ids of any shape: [.., dim]. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  needRank('embedding', 'the table', table, 2)
  return scope(() => {
    const rows = apply(indexSelectOperation, [table, ids.reshape([ids.size])], {})
    return rows.reshape([...ids.shape, table.extent(1)])
  })
}

const gatherOperation: Operation<[Tensor, Tensor], { axis: number }, Tensor> = {
  name: 'gather',
  forward(kernels, [x, index], { axis }) {
    checkIndex('gather', x, index, axis)
    return new Tensor(kernels, kernels.gather(x.handle, index.handle, axis), x.dtype, index.shape)
  },
  saves: () => ({ inputs: [1] }),
  backward: ({ inputs: [x, index], options: { axis }, gradient }) => [
    scatter(zerosLike(x), axis, index, gradient, { mode: 'add' }),
    undefined,
  ],
}

/** result[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`; other extents of index equal those of x. */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  return apply(gatherOperation, [x, index], { axis: normalizeAxis(axis, x.rank, 'gather') })
}

export interface ScatterOptions {
  /** `set` keeps the last of equal indices; `add` sums in row-major order of the source. @default 'set' */
  mode?: 'set' | 'add'
}

const scatterOperation: Operation<[Tensor, Tensor, Tensor], { axis: number; mode: 'set' | 'add' }, Tensor> = {
  name: 'scatter',
  forward(kernels, [x, index, source], { axis, mode }) {
    checkIndex('scatter', x, index, axis)
    needSame('scatter', x, source)
    if (mode === 'add') needCompute(x, 'scatter')
    if (!sameShape(index.shape, source.shape)) {
      throw new ShapeError(
        `scatter: index ${showShape(index.shape)} and source ${showShape(source.shape)} must have one shape`,
      )
    }
    const handle = kernels.scatter(x.handle, index.handle, source.handle, axis, mode)
    return new Tensor(kernels, handle, x.dtype, x.shape)
  },
  saves: () => ({ inputs: [1] }),
  backward: ({ inputs: [x, index, source], options: { axis, mode }, gradient, needs }) => {
    if (mode === 'add') return [gradient, undefined, needs[2] ? gather(gradient, axis, index) : undefined]
    const covered = needs[0] ? scatter(gradient, axis, index, zerosLike(source)) : undefined
    return [covered, undefined, needs[2] ? lastOnes(x, index, axis, gradient) : undefined]
  },
}

/** What arrives at the entries of a source that no later one has overwritten. */
function lastOnes(x: Tensor, index: Tensor, axis: number, gradient: Tensor): Tensor {
  const empty = new Tensor(x.kernels, x.kernels.fill('u32', x.shape, 0), 'u32', x.shape)
  const order = withKernels(x.kernels, () => arange(index.size)).reshape(index.shape)
  const stayed = equal(gather(scatter(empty, axis, index, order), axis, index), order)
  return where(stayed, gather(gradient, axis, index), 0)
}

/** A copy of x with source[.., i, ..] at position index[.., i, ..] of `axis`. */
export function scatter(
  x: Tensor,
  axis: number,
  index: Tensor,
  source: Tensor,
  { mode = 'set' }: ScatterOptions = {},
): Tensor {
  return apply(scatterOperation, [x, index, source], { axis: normalizeAxis(axis, x.rank, 'scatter'), mode })
}

function checkIndex(name: string, x: Tensor, index: Tensor, axis: number): void {
  needType(name, 'the index', index, 'u32')
  const fits = index.rank === x.rank && x.shape.every((extent, i) => i === axis || extent === index.shape[i])
  if (!fits) {
    throw new ShapeError(
      `${name}: index ${showShape(index.shape)} may differ from ${showShape(x.shape)} only along axis ${axis}`,
    )
  }
}

const concatOperation: Operation<readonly Tensor[], { axis: number }, Tensor> = {
  name: 'concat',
  forward(kernels, parts, { axis }) {
    const first = parts[0]!
    for (const part of parts) {
      needSame('concat', first, part)
      if (part.rank !== first.rank || !part.shape.every((n, i) => i === axis || n === first.shape[i])) {
        throw new ShapeError(
          `concat: ${showShape(part.shape)} and ${showShape(first.shape)} may differ only along axis ${axis}`,
        )
      }
    }
    const extent = parts.reduce((total, part) => total + part.shape[axis]!, 0)
    const handles = parts.map((part) => part.handle)
    return new Tensor(kernels, kernels.concat(handles, axis), first.dtype, first.shape.with(axis, extent))
  },
  backward: ({ inputs, options: { axis }, gradient, needs }) => {
    let start = 0
    return inputs.map(({ shape }, i) => {
      const end = start + shape[axis]!
      const part = needs[i] ? gradient.slice(axis, start, end) : undefined
      start = end
      return part
    })
  },
}

/** Tensors one after another along an axis that they have. */
export function concat(parts: readonly Tensor[], axis = 0): Tensor {
  if (parts.length === 0) throw new ShapeError('concat: needs at least one tensor')
  return apply(concatOperation, parts, { axis: normalizeAxis(axis, parts[0]!.rank, 'concat') })
}

/** Tensors of one shape side by side along a new axis. */
export function stack(parts: readonly Tensor[], axis = 0): Tensor {
  const first = parts[0]
  if (!first) throw new ShapeError('stack: needs at least one tensor')
  const odd = parts.find((part) => !sameShape(part.shape, first.shape))
  if (odd) {
    throw new ShapeError(`stack: needs one shape, got ${showShape(first.shape)} and ${showShape(odd.shape)}`)
  }
  const at = normalizeAxis(axis, first.rank + 1, 'stack')
  return scope(() =>
    concat(
      parts.map((part) => part.unsqueeze(at)),
      at,
    ),
  )
}

/** Entries in order, and where each stood. */
export interface Ordered {
  values: Tensor
  /** u32 */
  indices: Tensor
}

const sortOperation: Operation<[Tensor], { descending: boolean }, readonly [Tensor, Tensor]> = {
  name: 'sort',
  forward(kernels, [x], { descending }) {
    needCompute(x, 'sort')
    const [values, indices] = kernels.sort(x.handle, descending)
    return [new Tensor(kernels, values, x.dtype, x.shape), new Tensor(kernels, indices, 'u32', x.shape)]
  },
  saves: () => ({ outputs: [1] }),
  backward: ({ inputs: [x], output, gradient }) => [putBack(x, output, gradient)],
}

/** Gradients of entries where each stood. */
const putBack = (x: Tensor, [, indices]: readonly [Tensor, Tensor], gradient: Tensor): Tensor =>
  scatter(zerosLike(x), x.rank - 1, indices, gradient)

export interface SortOptions {
  /** @default -1 */
  axis?: number
  /** @default false */
  descending?: boolean
}

/** Stable; NaN comes last in both directions. */
export function sort(x: Tensor, { axis = -1, descending = false }: SortOptions = {}): Ordered {
  const at = normalizeAxis(axis, x.rank, 'sort')
  return scope(() => {
    const [values, indices] = apply(sortOperation, [toEnd(x, [at])], { descending })
    return { values: fromEnd(values, at), indices: fromEnd(indices, at) }
  })
}

/** The indices (u32) that `sort` would give. */
export function argsort(x: Tensor, options: SortOptions = {}): Tensor {
  return scope(() => sort(x, options).indices)
}

const topKOperation: Operation<[Tensor], { k: number; largest: boolean }, readonly [Tensor, Tensor]> = {
  name: 'topK',
  forward(kernels, [x], { k, largest }) {
    needCompute(x, 'topK')
    const [values, indices] = kernels.topK(x.handle, k, largest)
    const shape = x.shape.with(-1, k)
    return [new Tensor(kernels, values, x.dtype, shape), new Tensor(kernels, indices, 'u32', shape)]
  },
  saves: () => ({ outputs: [1] }),
  backward: ({ inputs: [x], output, gradient }) => [putBack(x, output, gradient)],
}

export interface TopKOptions {
  /** @default -1 */
  axis?: number
  /** The smallest entries where false. @default true */
  largest?: boolean
}

/** The k largest entries along an axis, best first; lowest index on ties; NaN counts as largest. */
export function topK(x: Tensor, k: number, { axis = -1, largest = true }: TopKOptions = {}): Ordered {
  const at = normalizeAxis(axis, x.rank, 'topK')
  if (!(Number.isInteger(k) && k >= 0 && k <= x.shape[at]!)) {
    throw new OptionError(`topK: k must be a whole number from 0 to ${x.shape[at]}, got ${k}`)
  }
  return scope(() => {
    const [values, indices] = apply(topKOperation, [toEnd(x, [at])], { k, largest })
    return { values: fromEnd(values, at), indices: fromEnd(indices, at) }
  })
}
