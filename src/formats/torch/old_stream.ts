/**
 * Files of `torch.save` before 1.6: five pickles, then the storages.
 *
 *   magic number, protocol 1001, what the machine was like, the object, the keys of its storages
 *   for each key in that order: i64 count of elements, then the elements
 */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { readPickle } from './pickle.ts'
import { PickleCursor } from './pickle_cursor.ts'
import type { PickleValue, TorchStorage } from './pickle_values.ts'
import { Storages } from './storages.ts'

export interface TorchContents {
  /** What was saved. */
  root: PickleValue
  /** Position of the first byte of each storage in the file. */
  positions: Map<TorchStorage, number>
}

const magic = 0x1950a86a20f9469cfc6cn
const protocol = 1001
const countBytes = 8

/** @throws FormatError where the stream is of another kind, damaged, or asks for what Pare does not build. */
export function readOldStream(source: ByteSource): TorchContents {
  const file = source.name
  const cursor = new PickleCursor(source, 0)
  const refuse = (what: string) => damaged(file, what, 'PARE_E_TORCH_STREAM')
  if (readPickle(cursor) !== magic)
    throw refuse('does not begin with the number of a torch file; it is another file')
  const version = readPickle(cursor)
  if (version !== protocol)
    throw refuse(`has torch protocol ${printable(String(version))}, Pare reads ${protocol}; save it again`)
  const machine = readPickle(cursor)
  const entries = typeof machine === 'object' && machine?.kind === 'dict' ? machine.entries : new Map()
  if (entries.get('little_endian') !== true)
    throw refuse('was not written on a little-endian machine, which alone Pare reads; save it again on one')
  const storages = new Storages(file)
  const root = readPickle(cursor, { persistent: (id) => storages.resolve(id) })
  const keys = readPickle(cursor)
  const list = typeof keys === 'object' && keys?.kind === 'list' ? keys.items : undefined
  if (!list) throw refuse('has no list of storages behind its object; it is damaged')
  return { root, positions: placesOf(source, cursor.position, list, storages) }
}

function placesOf(
  source: ByteSource,
  start: number,
  keys: readonly PickleValue[],
  storages: Storages,
): Map<TorchStorage, number> {
  const positions = new Map<TorchStorage, number>()
  let at = start
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.byKey.get(key) : undefined
    if (!storage || positions.has(storage))
      throw storages.refuse(
        `lists the storage ${printable(String(key))}, which it does not use, or lists twice`,
      )
    const count = new DataView(source.read(at, countBytes).buffer).getBigInt64(0, true)
    const bytes = storage.count * storage.itemBytes
    at += countBytes
    if (count !== BigInt(storage.count) || bytes > source.size - at) {
      throw damaged(
        source.name,
        `storage ${printable(storage.key)} needs ${storage.count} elements, ${count} are announced and ${source.size - at} bytes are left; it is cut or damaged`,
        'PARE_E_TORCH_STORAGE',
        { storage: storage.key, position: at },
      )
    }
    positions.set(storage, at)
    at += bytes
  }
  if (positions.size !== storages.byKey.size)
    throw storages.refuse('uses storages that the file does not hold')
  if (at !== source.size) {
    throw damaged(
      source.name,
      `the storages end at byte ${at}, the file at ${source.size}; it is followed by foreign bytes`,
      'PARE_E_TORCH_STREAM',
      { end: at, size: source.size },
    )
  }
  return positions
}
