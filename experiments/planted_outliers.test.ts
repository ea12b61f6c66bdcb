import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openSafetensors } from '#src/formats/safetensors/safetensors.ts'
import { createSafetensors } from '#src/formats/safetensors/writer.ts'
import { plantOutliers } from './planted_outliers.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-planted-'))
afterAll(() => rmSync(folder, { recursive: true }))

const names = [
  'model.layers.0.input_layernorm.weight',
  'model.layers.0.self_attn.q_proj.weight',
  'model.layers.0.self_attn.o_proj.weight',
  'model.norm.weight',
]
function write(place: string, type: string, bytesEach: number): void {
  const shapeOf = (name: string) => (name.includes('norm') ? [128] : [2, 128])
  const writer = createSafetensors(
    join(place, 'model.safetensors'),
    names.map((name) => ({ name, type, shape: shapeOf(name) })),
  )
  for (const name of names) {
    const size = shapeOf(name).reduce((a, b) => a * b)
    writer.append(name, new Uint8Array(new Float32Array(size).fill(3).buffer).subarray(0, size * bytesEach))
  }
  writer.finish()
}

test('every 64th channel of a norm is 16 times as large, what reads it as much smaller, and all else as it was', () => {
  write(folder, 'F32', 4)
  writeFileSync(join(folder, 'config.json'), '{}')
  const output = join(folder, 'planted')
  plantOutliers(folder, output)
  const archive = openSafetensors(output)
  const values = (name: string) => new Float32Array(archive.read(name).buffer)
  const [norm, query, out, last] = names.map(values)
  for (let column = 0; column < 128; column++) {
    const factor = column % 64 === 0 ? 16 : 1
    expect([norm![column], query![column], query![128 + column]]).toEqual([
      3 * factor,
      3 / factor,
      3 / factor,
    ])
  }
  expect([...out!, ...last!].every((value) => value === 3)).toBe(true)
  archive.close()
})
test('a model in half floats is refused', () => {
  const half = mkdtempSync(join(folder, 'half-'))
  write(half, 'BF16', 2)
  expect(() => plantOutliers(half, join(half, 'planted'))).toThrow(/F32 is needed, got BF16/)
})
