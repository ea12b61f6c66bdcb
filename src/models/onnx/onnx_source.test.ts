import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { affineGrid } from '../../nn/grid.ts'
import { scope } from '../../tensor/index.ts'
import { encoderPath, encoders, expectedOf, openEncoder } from '../bert/fixtures.suite.ts'
import { sentenceEncoder } from '../bert/sentence_encoder.ts'
import { openModel } from '../load_model.ts'
import { type OpenTextEncoder, textEncoder } from '../open_model.ts'
import { type OnnxTargetOptions, planOnnx } from '../write/onnx_target.ts'
import { onnxSource } from './onnx_source.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-source-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function written(open: OpenTextEncoder, target: string, options: OnnxTargetOptions = {}) {
  const plan = planOnnx(onnxSource(open), options)
  mkdirSync(target, { recursive: true })
  const writer = plan.create(target)
  for (const tensor of plan.tensors)
    for (const { name, bytes } of scope(() => plan.encodeNumbers(tensor, open.weights.load(tensor.name))))
      writer.append(name, bytes)
  writer.finish()
  return plan
}

test.each(encoders)('%s: the exported encoder gives the vectors of its source, with its settings', (name) => {
  const source = openEncoder(name)
  const target = join(folder, name)
  written(source, target)
  const { texts } = expectedOf(name)
  const own = openModel(target)
  expect(own.format).toBe('onnx')
  scope(() => {
    expect(sentenceEncoder(own).embed(texts)).toEqual(sentenceEncoder(source).embed(texts))
  })
  own.close()
  source.close()
})

test('an encoder takes ids, mask and types, and gives a state of every token', () => {
  const source = openEncoder('bert-sentence')
  const target = join(folder, 'names')
  written(source, target, { type: 'F16' })
  const archive = openOnnx(join(target, 'model.onnx'))
  archive.close()
  const tokens = ['batch_size', 'sequence_length']
  const { inputs, outputs } = archive.parsed.model.graph
  expect(inputs).toEqual(
    ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => ({ name, type: 'I64', shape: tokens })),
  )
  const { hidden } = source.model.config
  expect(outputs).toEqual([{ name: 'last_hidden_state', type: 'F32', shape: [...tokens, hidden] }])
  expect(readFileSync(join(target, '1_Pooling/config.json'))).toEqual(
    readFileSync(join(encoderPath('bert-sentence'), '1_Pooling/config.json')),
  )
  source.close()
})

test('matrices of an encoder are codes where that is asked for, embeddings and norms are numbers', () => {
  const source = openEncoder('bert-head')
  const target = join(folder, 'codes')
  const plan = written(source, target, { grid: affineGrid({ bits: 8, groupSize: 16 }) })
  // The pooler, the head and the ids of positions are in no graph of states.
  expect(plan.notes.join()).toMatch(/weights that the graph does not take are left out/)
  const own = textEncoder(openModel(target))
  for (const { name, grid } of plan.tensors) {
    expect(own.weights.infos.get(name)!.type).toBe(grid ? 'onnx-8bit' : 'F32')
    expect(grid !== undefined).toBe(own.model.stages.some(({ weights }) => weights.includes(name)))
  }
  own.close()
  source.close()
})
