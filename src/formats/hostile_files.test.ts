/** Both containers under damage: cut anywhere, bits flipped, lengths blown up. Seeds are fixed. */
import { expect, test } from 'vitest'
import { PareError } from '../tensor/errors.ts'
import type { TensorArchive } from './archive.ts'
import { type ByteSource, bytesSource } from './file.ts'
import { openGgufSource } from './gguf/container.ts'
import { gguf } from './gguf/metadata.ts'
import { layOutGguf } from './gguf/writer.ts'
import { numbersBelow } from './mulberry32.suite.ts'
import { layOut } from './safetensors/header.ts'
import { openSources } from './safetensors/safetensors.ts'

const CASES = 4000

function whole(head: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes.set(head)
  return bytes
}
const ggufLayout = layOutGguf(
  new Map([
    ['general.architecture', gguf.string('llama')],
    ['general.alignment', gguf.u32(32)],
    ['llama.context_length', gguf.u64(2048)],
    ['tokenizer.ggml.tokens', gguf.strings(['a', 'bc', ''])],
    ['tokenizer.ggml.scores', gguf.f32s([1, 2, 3])],
    ['tokenizer.ggml.add_bos_token', gguf.bool(false)],
  ]),
  [
    { name: 'w', type: 'Q4_0', shape: [2, 32] },
    { name: 'n', type: 'F32', shape: [3] },
    { name: 'x', type: 'IQ2_XXS', shape: [1, 256] },
  ],
)
const safetensorsLayout = layOut(
  [
    { name: 'w', type: 'BF16', shape: [2, 4] },
    { name: 'n', type: 'F32', shape: [3] },
    { name: 's', type: 'I64', shape: [] },
  ],
  { format: 'pt' },
)
const containers: [string, Uint8Array, (source: ByteSource) => TensorArchive][] = [
  ['gguf', whole(ggufLayout.head, ggufLayout.size), openGgufSource],
  ['safetensors', whole(safetensorsLayout.head, safetensorsLayout.size), (source) => openSources([source])],
]

function damage(original: Uint8Array, below: (n: number) => number): Uint8Array {
  const bytes = original.slice(0, below(3) === 0 ? below(original.length + 1) : original.length)
  if (bytes.length === 0) return bytes
  const flips = below(4)
  for (let i = 0; i < flips; i++) bytes[below(bytes.length)]! ^= 1 << below(8)
  // Sometimes a whole field becomes gigantic.
  if (below(4) === 0) bytes.fill(below(2) === 0 ? 0xff : 0x7f, below(bytes.length), below(bytes.length) + 8)
  return bytes
}

test.each(containers)('%s: the undamaged file opens', (_, original, open) => {
  expect(open(bytesSource('x', original)).tensors.size).toBe(3)
})
test.each(containers)(
  '%s: damage ends in a typed error or in tensors that lie inside the file',
  (_, original, open) => {
    let [opened, refused] = [0, 0]
    for (let seed = 0; seed < CASES; seed++) {
      const bytes = damage(original, numbersBelow(seed))
      const inner = bytesSource('x', bytes)
      let asked = 0
      const source: ByteSource = {
        ...inner,
        read(offset, length) {
          asked += length
          return inner.read(offset, length)
        },
      }
      try {
        const archive = open(source)
        opened++
        for (const { name, bytes: size, offset } of archive.tensors.values()) {
          expect(offset + size, `seed ${seed}`).toBeLessThanOrEqual(bytes.length)
          try {
            expect(archive.read(name)).toHaveLength(size)
          } catch (error) {
            if (!(error instanceof PareError)) throw error
          }
        }
      } catch (error) {
        if (!(error instanceof PareError)) throw new Error(`seed ${seed}`, { cause: error })
        refused++
      }
      // Header and tensors are each read about once; nothing is read because a damaged length says so.
      expect(asked, `seed ${seed}`).toBeLessThanOrEqual(4 * original.length)
    }
    expect(opened).toBeGreaterThan(CASES / 20)
    expect(refused).toBeGreaterThan(CASES / 4)
  },
)
test.each(containers)('%s: every cut inside the header or the tensors is noticed', (name, original, open) => {
  // GGUF pads its last tensor; a cut in the padding loses nothing.
  const needed =
    name === 'gguf' ? Math.max(...ggufLayout.tensors.map((t) => t.offset + t.bytes)) : original.length
  for (let length = 0; length < needed; length++)
    expect(() => open(bytesSource('x', original.slice(0, length))), `cut at ${length}`).toThrow(PareError)
})
