/** Edits of tensors that come before any weight method: scales, rotations and bounds, computed in f64. */
import { type Rotation, rotateVectors } from '../nn/rotation.ts'
import { NumericalError, OptionError, printable } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'

export type { Rotation } from '../nn/rotation.ts'

/** What is done to one tensor of the source before anything is compressed, in this order; sums in f64. */
export type TensorEdit =
  /** [out]: row i times by[i]; for a vector (norm weight, bias) element i. */
  | { kind: 'scaleRows'; by: Float64Array }
  /** [in] */
  | { kind: 'scaleColumns'; by: Float64Array }
  /** A norm weight that was folded becomes ones. */
  | { kind: 'fill'; value: number }
  /** W <- W Q (input side; also embeddings [vocab, hidden]); each run of `rotation.size` columns for itself. */
  | { kind: 'rotateColumns'; rotation: Rotation }
  /** W <- Q^T W (output side), bias <- Q^T b; each run of `rotation.size` rows for itself. */
  | { kind: 'rotateRows'; rotation: Rotation }
  /** |w| at most bounds[row * groups + group]; the last group may be short. */
  | { kind: 'clamp'; bounds: Float32Array; groupSize: number }

/**
 * By the tensor's name as in the model's file. A head that is the embedding gets a tensor of its own where there is an
 * entry for it; without one it stays the embedding, edits and all.
 */
export type TensorEdits = ReadonlyMap<string, readonly TensorEdit[]>

/**
 * The tensor after its edits.
 *
 * @param x a vector or a matrix
 * @returns f32, or f64 where `x` is
 * @throws OptionError for an edit that does not fit the shape; NumericalError where a result is not finite.
 * @example applyEdits(weight, [{ kind: 'scaleColumns', by: scales }])
 */
export function applyEdits(x: Tensor, edits: readonly TensorEdit[], name = 'tensor'): Tensor {
  const { shape } = x
  for (const edit of edits) checkEdit(name, shape, edit)
  const values = scope(() => Float64Array.from(x.toArray() as ArrayLike<number>))
  for (const edit of edits) applyTo(values, shape, edit)
  const dtype = x.dtype === 'f64' ? 'f64' : 'f32'
  const largest = dtype === 'f64' ? Number.MAX_VALUE : 3.4028234663852886e38
  if (!values.every((value) => Math.abs(value) <= largest))
    throw new NumericalError(
      `${printable(name)}: its edits give numbers that ${dtype} does not hold; leave the transform out for this model`,
      { code: 'PARE_E_EDITED_RANGE', facts: { tensor: name } },
    )
  return tensor(values, shape, dtype)
}

/** @throws OptionError for an edit that does not fit the shape. */
export function checkEdit(name: string, shape: readonly number[], edit: TensorEdit): void {
  const [rows, columns] = shape as [number, number?]
  const need = needOf(edit, rows, columns)
  if (need === undefined && shape.length <= 2) return
  throw new OptionError(
    `${printable(name)}: ${edit.kind} needs ${need ?? 'a vector or a matrix'}, got a tensor of [${shape.join(', ')}]; leave the edit out`,
    { code: 'PARE_E_EDIT', facts: { tensor: name, kind: edit.kind, shape: [...shape] } },
  )
}

/** What an edit needs that the shape has not. */
function needOf(edit: TensorEdit, rows: number, columns: number | undefined): string | undefined {
  const matrix = 'a matrix'
  switch (edit.kind) {
    case 'fill':
      return undefined
    case 'scaleRows':
      return edit.by.length === rows ? undefined : `${edit.by.length} rows`
    case 'scaleColumns':
      if (columns === undefined) return matrix
      return edit.by.length === columns ? undefined : `${edit.by.length} columns`
    case 'rotateRows':
      return rows % edit.rotation.size === 0 ? undefined : `rows that ${edit.rotation.size} divides`
    case 'rotateColumns':
      if (columns === undefined) return matrix
      return columns % edit.rotation.size === 0 ? undefined : `columns that ${edit.rotation.size} divides`
    case 'clamp': {
      if (columns === undefined) return matrix
      const { bounds, groupSize } = edit
      const isSize = Number.isInteger(groupSize) && groupSize >= 1
      const groups = isSize ? Math.ceil(columns / groupSize) : 0
      return isSize && bounds.length === rows * groups ? undefined : 'one bound for each group of each row'
    }
  }
}

function applyTo(values: Float64Array, shape: readonly number[], edit: TensorEdit): void {
  const [rows, columns = 1] = shape as [number, number?]
  const eachRow = (body: (row: number, at: number) => void) => {
    for (let row = 0; row < rows; row++) body(row, row * columns)
  }
  switch (edit.kind) {
    case 'fill':
      values.fill(edit.value)
      return
    case 'scaleRows':
      eachRow((row, at) => {
        for (let i = at; i < at + columns; i++) values[i]! *= edit.by[row]!
      })
      return
    case 'scaleColumns':
      eachRow((_, at) => {
        for (let column = 0; column < columns; column++) values[at + column]! *= edit.by[column]!
      })
      return
    case 'rotateColumns': {
      const { size } = edit.rotation
      for (let start = 0; start < columns; start += size)
        rotateVectors(values, edit.rotation, { start, step: 1, apart: columns, count: rows })
      return
    }
    case 'rotateRows': {
      const { size } = edit.rotation
      for (let row = 0; row < rows; row += size)
        rotateVectors(values, edit.rotation, {
          start: row * columns,
          step: columns,
          apart: 1,
          count: columns,
        })
      return
    }
    case 'clamp': {
      const { bounds, groupSize } = edit
      const groups = Math.ceil(columns / groupSize)
      eachRow((row, at) => {
        for (let column = 0; column < columns; column++) {
          const bound = bounds[row * groups + Math.floor(column / groupSize)]!
          values[at + column] = Math.max(-bound, Math.min(bound, values[at + column]!))
        }
      })
    }
  }
}

/** The same edits for some rows of a matrix; nothing where a row depends on others. */
export function editsOfRows(
  edits: readonly TensorEdit[],
  ids: Uint32Array,
  columns: number,
): readonly TensorEdit[] | undefined {
  if (edits.some(({ kind }) => kind === 'rotateRows')) return undefined
  return edits.map((edit) => {
    if (edit.kind === 'scaleRows') return { ...edit, by: Float64Array.from(ids, (id) => edit.by[id]!) }
    if (edit.kind !== 'clamp') return edit
    const groups = Math.ceil(columns / edit.groupSize)
    const bounds = new Float32Array(ids.length * groups)
    ids.forEach((id, i) => {
      bounds.set(edit.bounds.subarray(id * groups, (id + 1) * groups), i * groups)
    })
    return { ...edit, bounds }
  })
}
