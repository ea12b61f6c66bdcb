/** GGUF headers written by hand, byte for byte, and small files in memory. */
import type { TensorInfo } from '../archive.ts'
import { bytesSource } from '../file.ts'
import { openGgufSource } from './container.ts'
import type { GgufValue } from './metadata.ts'
import { layOutGguf } from './writer.ts'

/** A whole file in memory, its data zero. */
export function bytesOf(metadata: Map<string, GgufValue>, tensors: TensorInfo[] = []): Uint8Array {
  const { head, size } = layOutGguf(metadata, tensors)
  const bytes = new Uint8Array(size)
  bytes.set(head)
  return bytes
}
export const open = (bytes: Uint8Array) => openGgufSource(bytesSource('t.gguf', bytes))

/** Little-endian pieces, to write headers by hand. */
export const u32 = (n: number) => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >>> 24) & 255]
export const u64 = (n: number | bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((BigInt(n) >> BigInt(8 * i)) & 255n))
export const text = (s: string) => [
  ...u64(new TextEncoder().encode(s).length),
  ...new TextEncoder().encode(s),
]
const magic = [0x47, 0x47, 0x55, 0x46]
export const header = (tensors: number | bigint, pairs: number | bigint, version = 3) => [
  ...magic,
  ...u32(version),
  ...u64(tensors),
  ...u64(pairs),
]
export const info = (name: string, dims: (number | bigint)[], type: number, offset: number | bigint) => [
  ...text(name),
  ...u32(dims.length),
  ...dims.flatMap(u64),
  ...u32(type),
  ...u64(offset),
]
/** Header bytes, padding to 32, then `dataBytes` zeros. */
export function fileOf(head: number[], dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(head.length / 32) * 32 + dataBytes)
  bytes.set(head)
  return bytes
}
