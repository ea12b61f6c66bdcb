import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { FormatError } from '../tensor/errors.ts'
import { type ComputeType, currentKernels, scope, tensor } from '../tensor/index.ts'
import { readTrainable } from './trainable_folder.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-trainable-'))
afterAll(() => rmSync(root, { recursive: true }))

/** A folder with a weight and a buffer. */
function folderWith(
  name: string,
  weight: readonly number[],
  config: string | undefined = '{"width": 2}',
): string {
  const folder = join(root, name)
  mkdirSync(folder)
  if (config !== '') writeFileSync(join(folder, 'config.json'), config)
  scope(() => {
    const tensors = { w: tensor([...weight]), mean: tensor([1 + 2 ** -12]) }
    const writer = createSafetensors(
      join(folder, 'model.safetensors'),
      Object.entries(tensors).map(([name, { shape }]) => ({ name, shape, type: 'F32' })),
    )
    for (const [name, x] of Object.entries(tensors)) writer.append(name, x.bytes())
    writer.finish()
  })
  return folder
}
const read = (folder: string, dtype: ComputeType = 'f32', width = 2, name = 'w') =>
  readTrainable(folder, dtype, (config, weights) => ({
    config,
    w: weights.weight(name, [width], { kind: 'constant', value: 0 }),
    mean: weights.buffer('mean', [1], 0),
  }))

test('weights become parameters of the type asked for, and statistics of bf16 stay in f32', () => {
  const folder = folderWith('whole', [1 + 2 ** -12, 2])
  const { network, parameters } = read(folder, 'bf16')
  expect(network.config).toEqual({ width: 2 })
  expect([network.w.dtype, scope(() => [...network.w.toArray()])]).toEqual(['bf16', [1, 2]])
  expect(scope(() => network.mean.tensor().item())).toBe(1 + 2 ** -12)
  expect([...parameters.states().keys()]).toEqual(['w', 'mean'])
  parameters.dispose()
  const wide = read(folder, 'f64')
  expect([wide.network.w.dtype, wide.network.mean.dtype]).toEqual(['f64', 'f64'])
  wide.parameters.dispose()
})
test('what is missing, damaged or of another shape is named, and nothing stays in memory', () => {
  const before = currentKernels().memory().tensors
  const refused = (folder: string, ...how: [ComputeType?, number?, string?]) => {
    expect(() => read(folder, ...how)).toThrow(FormatError)
    return expect(() => read(folder, ...how))
  }
  refused(folderWith('no-config', [1, 2], '')).toThrow(/no-config: has no config.json/)
  refused(folderWith('not-finite', [1, Number.NaN])).toThrow(/w: holds values that are not finite/)
  refused(folderWith('other', [1, 2]), 'f32', 3).toThrow(/w.*3/)
  refused(join(root, 'other'), 'f32', 2, 'v').toThrow(/v/)
  expect(currentKernels().memory().tensors).toBe(before)
})
