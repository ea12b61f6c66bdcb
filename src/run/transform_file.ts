/** What a run keeps of a transform: its edits in the journal, with their arrays in a safetensors file. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import type { WeightInfo } from '../models/model_weights.ts'
import type { TensorEdit, TensorEdits } from '../models/tensor_edits.ts'
import { FormatError, printable, StateError } from '../tensor/errors.ts'
import { bytesOf, fromBytes, scope } from '../tensor/index.ts'
import { hashOfFiles } from './fingerprint.ts'
import type { TransformEntry } from './journal_entries.ts'

/** Metadata of the file: the line of a journal has no hash of its own, so that its edits have one here. */
export const editsMetadata = (edits: StoredEdits['edits']) => ({
  format: 'pare-transform',
  version: '1',
  edits: createHash('sha256')
    .update(JSON.stringify(edits.map(({ tensor, edits: own }) => [tensor, own.map(sorted)])))
    .digest('hex'),
})
/** Whoever parses a line may give its fields in another order. */
const sorted = (edit: StoredEdit) => Object.entries(edit).sort(([a], [b]) => (a < b ? -1 : 1))

type StoredEdits = Pick<TransformEntry, 'file' | 'edits'>
type StoredEdit = StoredEdits['edits'][number]['edits'][number]
type Numbers = Float64Array | Float32Array

/** Writes the arrays of the edits; they are on the disk when it returns. */
export function writeEdits(path: string, edits: TensorEdits): StoredEdits {
  // Tensors behind one norm have their scales in common.
  const arrays: Numbers[] = []
  const numberOf = (array: Numbers): number => {
    const known = arrays.indexOf(array)
    return known >= 0 ? known : arrays.push(array) - 1
  }
  const storedEdit = (edit: TensorEdit): StoredEdit => {
    switch (edit.kind) {
      case 'scaleRows':
      case 'scaleColumns':
        return { kind: edit.kind, array: numberOf(edit.by) }
      case 'fill':
        return edit
      case 'rotateRows':
      case 'rotateColumns':
        return { kind: edit.kind, size: edit.rotation.size, seed: edit.rotation.seed }
      case 'clamp':
        return { kind: 'clamp', array: numberOf(edit.bounds), groupSize: edit.groupSize }
    }
  }
  const stored = [...edits].map(([tensor, own]) => ({ tensor, edits: own.map(storedEdit) }))
  const infos = arrays.map((array, i) => ({ name: String(i), type: typeOf(array), shape: [array.length] }))
  const writer = createSafetensors(path, infos, { metadata: editsMetadata(stored) })
  for (const [i, array] of arrays.entries()) writer.append(String(i), bytesOf(array))
  writer.finish()
  const file = { name: basename(path), bytes: statSync(path).size, sha256: hashOfFiles([path]) }
  return { file, edits: stored }
}

/**
 * The edits of a line of a journal.
 *
 * @param infos of the tensors that have edits, which say how long arrays are
 * @throws StateError where file or line are not what the other or the model says.
 */
export function readEdits(
  path: string,
  { file, edits }: StoredEdits,
  infos: ReadonlyMap<string, WeightInfo>,
): TensorEdits {
  const status = statSync(path, { throwIfNoEntry: false })
  if (!status?.isFile() || status.size !== file.bytes || hashOfFiles([path]) !== file.sha256)
    throw damagedEdits(path)
  const archive = openEdits(path)
  // Of a tensor that stands twice only the later edits would count.
  const isTwice = new Set(edits.map(({ tensor }) => tensor)).size !== edits.length
  if (isTwice || archive.metadata.get('edits') !== editsMetadata(edits).edits) {
    archive.close()
    throw damagedEdits(path)
  }
  const known = new Map<number, Numbers>()
  const read = (array: number, length: number, type: 'F64' | 'F32'): Numbers => {
    const info = archive.tensors.get(String(array))
    if (info?.type !== type || info.shape.length !== 1 || info.shape[0] !== length) throw damagedEdits(path)
    const numbers =
      known.get(array) ??
      scope(
        () =>
          fromBytes(archive.read(info.name), [length], type === 'F64' ? 'f64' : 'f32').toArray() as Numbers,
      )
    known.set(array, numbers)
    return numbers
  }
  const editOf = (edit: StoredEdit, rows: number, columns: number): TensorEdit => {
    switch (edit.kind) {
      case 'scaleRows':
        return { kind: edit.kind, by: read(edit.array, rows, 'F64') as Float64Array }
      case 'scaleColumns':
        return { kind: edit.kind, by: read(edit.array, columns, 'F64') as Float64Array }
      case 'fill':
        return edit
      case 'rotateRows':
      case 'rotateColumns':
        return { kind: edit.kind, rotation: { size: edit.size, seed: edit.seed } }
      case 'clamp': {
        const { groupSize } = edit
        const bounds = read(edit.array, rows * Math.ceil(columns / groupSize), 'F32') as Float32Array
        return { kind: edit.kind, bounds, groupSize }
      }
    }
  }
  try {
    return new Map(
      edits.map(({ tensor, edits: own }) => {
        const [rows, columns = 1] = (infos.get(tensor)?.shape ?? []) as [number?, number?]
        if (rows === undefined) throw damagedEdits(path)
        return [tensor, own.map((edit) => editOf(edit, rows, columns))]
      }),
    )
  } catch (error) {
    throw error instanceof FormatError ? damagedEdits(path) : error
  } finally {
    archive.close()
  }
}

const typeOf = (array: Numbers): 'F64' | 'F32' => (array instanceof Float64Array ? 'F64' : 'F32')

function openEdits(path: string): ReturnType<typeof openSafetensors> {
  try {
    return openSafetensors(path)
  } catch (error) {
    throw error instanceof FormatError ? damagedEdits(path) : error
  }
}

export const damagedEdits = (path: string): StateError =>
  new StateError(
    `${printable(path)}: is not what the journal says; give --restart to discard this run, or name another output`,
    { code: 'PARE_E_SHARD', facts: { path } },
  )
