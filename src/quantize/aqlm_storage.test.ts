/** What AQLM makes, written as an AQLM checkpoint. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { describeStored } from '../models/stored/pare_tensors.ts'
import { type CodebookForm, planAqlm } from '../models/write/aqlm_target.ts'
import { differences, reopened, writeWideModel } from '../models/write/sources.suite.ts'
import { folderSource } from '../models/write/target.ts'
import type { TensorChoice } from '../models/write/tensor_choice.ts'
import { bitsOfCodebooks, type CodebookValues } from '../nn/values/codebook.ts'
import { type StoredSource, storedSource } from '../nn/values/values.ts'
import { randomStream, scope, type Tensor } from '../tensor/index.ts'
import { aqlm } from './aqlm.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
let folder: string
let open: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aqlm-storage-test-'))
  open = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  open.close()
  rmSync(folder, { recursive: true })
})

test('8. codes of 128 on are stored below 0 and read back, and the layer takes the bytes of the formula', () => {
  scope(() => {
    const name = 'model.layers.0.mlp.up_proj.weight'
    const dense = open.weights.load(name)
    const gram = randomStream(0, 'inputs')
      .normal([dense.extent(1) * 2, dense.extent(1)])
      .gram()
    const { source, decoded } = aqlm({ rounds: 1, adamSteps: 3, kMeansRounds: 5 }).compress({
      name,
      dense,
      current: dense,
      statistics: { gram: gram.cast('f64'), rows: dense.extent(1) * 2 },
    })
    const values = (source as StoredSource).values as CodebookValues
    expect(numbers(values.codes)).toContain(255)
    const choices = new Map(
      [...open.weights.infos.keys()].map((each): [string, TensorChoice] => [
        each,
        each === name ? { described: describeStored(values), by: 'test' } : { keep: true, by: 'test' },
      ]),
    )
    const form = describeStored(values) as unknown as CodebookForm
    const plan = planAqlm(folderSource(open), form, { choices })
    const target = join(folder, 'written')
    mkdirSync(target)
    const writer = plan.create(target)
    let bytes = 0
    for (const each of plan.tensors)
      scope(() => {
        const own = each.name === name
        const tensors = own
          ? plan.encodeSource(each, storedSource(values))
          : plan.encodeNumbers(each, open.weights.load(each.name))
        for (const tensor of tensors) {
          writer.append(tensor.name, tensor.bytes)
          if (own) bytes += tensor.bytes.length
        }
      })
    writer.finish()
    expect(bytes * 8).toBe(bitsOfCodebooks(values))
    const [out, inputs] = dense.shape as [number, number]
    expect(bytes * 8).toBe((2 * 8 * out * inputs) / 8 + 2 * 256 * 8 * 16 + out * 16)
    const file = openSafetensors(target)
    const stored = new Int8Array(file.read(name.replace('weight', 'codes')))
    expect(Array.from(stored)).toEqual(numbers(values.codes).map((code) => (code > 127 ? code - 256 : code)))
    file.close()
    reopened(target, ({ weights }) => {
      expect(differences(numbers(weights.load(name)), numbers(decoded!))).toBe(0)
    })
  })
})
