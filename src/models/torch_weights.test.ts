/** Model folders whose weights are a torch file. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import {
  dict,
  oldStream,
  type Part,
  storage,
  tensor,
  text,
  zipFile,
} from '../formats/torch/torch_files.suite.ts'
import { FormatError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { encoderPath, expectedOf } from './bert/fixtures.suite.ts'
import { embedTexts } from './bert/sentence_encoder.ts'
import { numbers } from './llama/fixtures.suite.ts'
import { openModel } from './load_model.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-torch-'))
afterAll(() => rmSync(root, { recursive: true }))

const storages: Record<string, [string, number]> = { F32: ['FloatStorage', 4], I64: ['LongStorage', 8] }

/** The state of a folder's safetensors as a torch file; every tensor has a storage of its own. */
function torchFile(folder: string, old: boolean): Uint8Array {
  const archive = openSafetensors(folder)
  const data: Record<string, Uint8Array> = {}
  const pairs: [Part, Part][] = []
  // Old streams of these tests have items of one size.
  const entries = [...archive.tensors.values()].filter(({ type }) => !old || type === 'F32')
  for (const [key, { name, type, shape, bytes }] of entries.entries()) {
    data[key] = archive.read(name)
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
    const [word, itemBytes] = storages[type]!
    const of = storage({ key: String(key), type: word, count: bytes / itemBytes, old })
    pairs.push([text(name), tensor(of, 0, shape, strides)])
  }
  archive.close()
  return old ? oldStream(dict(...pairs), data) : zipFile(dict(...pairs), data)
}

test.each([
  ['old stream', true],
  ['zip archive', false],
])('an encoder computes the same bits from an %s', (name, old) => {
  const folder = join(root, name)
  cpSync(encoderPath('bert-sentence'), folder, { recursive: true })
  writeFileSync(join(folder, 'pytorch_model.bin'), torchFile(folder, old))
  const { texts } = expectedOf('bert-sentence')
  const vectors = () => {
    const open = openModel(folder)
    try {
      return embedTexts(open, texts)
    } finally {
      open.close()
    }
  }
  const before = vectors()
  rmSync(join(folder, 'model.safetensors'))
  expect(vectors()).toEqual(before)
  const open = openModel(folder)
  scope(() => {
    const weight = 'encoder.layer.0.output.dense.weight'
    const whole = numbers(open.weights.load(weight))
    expect(open.weights.infos.get(weight)).toMatchObject({ shape: [24, 40], type: 'F32', bytes: 24 * 40 * 4 })
    expect(numbers(open.weights.slice(weight, 3, 5))).toEqual(whole.slice(3 * 40, 5 * 40))
    expect(numbers(open.weights.rows(weight, Uint32Array.of(7, 0)))).toEqual([
      ...whole.slice(7 * 40, 8 * 40),
      ...whole.slice(0, 40),
    ])
  })
  open.close()
})
test('a folder without weights, and one whose torch file is damaged, are refused', () => {
  const folder = join(root, 'damaged')
  cpSync(encoderPath('bert-sentence'), folder, { recursive: true })
  writeFileSync(join(folder, 'pytorch_model.bin'), 'PK')
  rmSync(join(folder, 'model.safetensors'))
  expect(() => openModel(folder)).toThrow(expect.objectContaining({ code: 'PARE_E_TORCH_ZIP' }))
  rmSync(join(folder, 'pytorch_model.bin'))
  expect(() => openModel(folder)).toThrow(FormatError)
})
