/** Writes torch files of zeros for bench/format_files.js. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { elementCount, zeroParts } from './zero_parts.js'

/** A state dictionary as `torch.save` writes it: a pickle, and a stored member for each tensor. */
export function torchFile(path, tensors) {
  const ascii = (text) => [...Buffer.from(text, 'latin1')]
  const u32 = (n) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24]
  const text = (string) => [0x58, ...u32(string.length), ...ascii(string)]
  const global = (module, name) => [0x63, ...ascii(`${module}\n${name}\n`)]
  const whole = (n) => [0x4a, ...u32(n)]
  const tuple = (...items) => [0x28, ...items.flat(), 0x74]
  const strides = (shape) => shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
  const items = tensors.map((tensor, key) => {
    const { name, shape } = tensor
    const kind = global('torch', 'BFloat16Storage')
    const stored = tuple(text('storage'), kind, text(String(key)), text('cpu'), whole(elementCount(tensor)))
    const ordered = [...global('collections', 'OrderedDict'), ...tuple(), 0x52]
    const sizes = [tuple(...shape.map(whole)), tuple(...strides(shape).map(whole))]
    const args = tuple([...stored, 0x51], whole(0), ...sizes, [0x89], ordered)
    return [...text(name), ...global('torch._utils', '_rebuild_tensor_v2'), ...args, 0x52]
  })
  const pickle = Uint8Array.from([0x80, 2, 0x7d, 0x28, ...items.flat(), 0x75, 0x2e])
  const members = [
    { name: 'archive/data.pkl', bytes: pickle.length, parts: () => [pickle] },
    ...tensors.map((tensor, key) => {
      const bytes = 2 * elementCount(tensor)
      return { name: `archive/data/${key}`, bytes, parts: () => zeroParts(bytes) }
    }),
  ]
  storedZip(path, members)
  return path
}

/** Members as they are, without compression (APPNOTE 6.3.10). */
function storedZip(path, members) {
  const file = openSync(path, 'w')
  let at = 0
  const put = (bytes) => {
    at += writeSync(file, bytes)
  }
  const fields = (...pairs) =>
    Buffer.concat(
      pairs.map(([width, number]) => {
        const bytes = Buffer.alloc(width)
        bytes.writeUIntLE(number, 0, width)
        return bytes
      }),
    )
  const directory = []
  for (const { name, bytes, parts } of members) {
    let crc = 0
    for (const part of parts()) crc = crc32(part, crc)
    const shared = fields([4, 0], [2, 0], [2, 0], [4, crc], [4, bytes], [4, bytes], [2, name.length], [2, 0])
    directory.push(
      fields([4, 0x02014b50], [2, 20], [2, 20]),
      shared,
      fields([6, 0], [4, 0], [4, at]),
      Buffer.from(name),
    )
    put(Buffer.concat([fields([4, 0x04034b50], [2, 20]), shared, Buffer.from(name)]))
    for (const part of parts()) put(part)
  }
  const [start, all] = [at, Buffer.concat(directory)]
  put(all)
  put(
    fields(
      [4, 0x06054b50],
      [4, 0],
      [2, members.length],
      [2, members.length],
      [4, all.length],
      [4, start],
      [2, 0],
    ),
  )
  closeSync(file)
}
