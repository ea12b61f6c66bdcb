/** Stored values as the tensors of a file, without one. */
import { expect } from 'vitest'
import { archiveOver, type TensorArchive } from '../../formats/archive.ts'
import type { ByteSource } from '../../formats/file.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { bytesOfInfo, encodeStored } from '../write/encode_stored.ts'
import { describeStored, tensorsOfStored } from './pare_tensors.ts'

/** The tensors of a weight as a file has them; `change` damages bytes by the name of their tensor. */
export function archiveOf(
  values: StoredValues,
  change: (part: string, bytes: Uint8Array) => void = () => {},
): TensorArchive {
  const infos = tensorsOfStored('w', describeStored(values))
  const encoded = encodeStored('w', values)
  expect(encoded.map(({ name, bytes }) => [name, bytes.length])).toEqual(
    infos.map((info) => [info.name, bytesOfInfo(info)]),
  )
  const sources = encoded.map(({ name, bytes }): [string, ByteSource] => {
    const own = bytes.slice()
    change(name, own)
    const read = (offset: number, length: number) => own.slice(offset, offset + length)
    return [name, { name, size: own.length, read, close: () => {} }]
  })
  const entries = infos.map((info) => ({ ...info, bytes: bytesOfInfo(info), offset: 0, file: info.name }))
  return archiveOver(
    'safetensors',
    new Map(sources),
    new Map(entries.map((entry) => [entry.name, entry])),
    new Map(),
  )
}
