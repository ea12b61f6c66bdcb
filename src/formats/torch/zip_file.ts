/**
 * Files of `torch.save` since 1.6: a zip archive of one folder with `data.pkl`, the storages as `data/KEY`, and
 * `byteorder` (since 2.0).
 */
import { crc32 } from 'node:zlib'
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import type { TorchContents } from './old_stream.ts'
import { readPickle } from './pickle.ts'
import { PickleCursor } from './pickle_cursor.ts'
import type { TorchStorage } from './pickle_values.ts'
import { Storages } from './storages.ts'
import { storedMembers } from './zip_members.ts'

/** @throws FormatError where the archive is of another kind, damaged, or asks for what Pare does not build. */
export function readZipFile(source: ByteSource): TorchContents {
  const file = source.name
  const members = storedMembers(source)
  const pickles = [...members.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickles.length !== 1) {
    throw damaged(
      file,
      `needs one data.pkl in one folder, ${pickles.length} are inside; it is no torch file`,
      'PARE_E_TORCH_ZIP',
    )
  }
  const folder = pickles[0]!.slice(0, -'data.pkl'.length)
  const order = members.get(`${folder}byteorder`)
  const written =
    order && Buffer.from(source.read(order.offset(), Math.min(order.bytes, 16))).toString('latin1')
  if (written !== undefined && written.trim() !== 'little') {
    throw damaged(
      file,
      `was written on a ${printable(written)}-endian machine, where Pare reads little; save it again on one`,
      'PARE_E_TORCH_STREAM',
    )
  }
  const pickle = members.get(pickles[0]!)!
  const start = pickle.offset()
  checkSum(source, start, pickle.bytes, pickle.crc)
  const storages = new Storages(file)
  const cursor = new PickleCursor(source, start, pickle.bytes)
  const root = readPickle(cursor, { persistent: (id) => storages.resolve(id) })
  const positions = new Map<TorchStorage, number>()
  for (const storage of storages.byKey.values()) {
    const member = members.get(`${folder}data/${storage.key}`)
    const bytes = storage.count * storage.itemBytes
    if (member?.bytes !== bytes) {
      throw damaged(
        file,
        `storage ${printable(storage.key)} needs ${bytes} bytes, the archive has ${member?.bytes ?? 'none'}; it is damaged`,
        'PARE_E_TORCH_STORAGE',
        { storage: storage.key },
      )
    }
    positions.set(storage, member.offset())
  }
  return { root, positions }
}

/** Bytes that are summed at a time. */
const part = 1 << 20

function checkSum(source: ByteSource, start: number, bytes: number, expected: number): void {
  let sum = 0
  for (let at = 0; at < bytes; at += part)
    sum = crc32(source.read(start + at, Math.min(part, bytes - at)), sum)
  if (sum !== expected)
    throw damaged(source.name, 'the checksum of its data.pkl is wrong; it is damaged', 'PARE_E_TORCH_ZIP')
}
