import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { resolveOptions } from './compress_options.ts'
import { type FormatName, targetFormats } from './target_formats.ts'
import {
  choosableFormats,
  chosenTarget,
  programsText,
  type TargetName,
  targetNames,
  targetOf,
} from './targets.ts'

const resolved = (options: object) => resolveOptions({ source: 'm', output: 'o', ...options })
const refusal = (action: () => unknown): OptionError => {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(OptionError)
    return error as OptionError
  }
  throw new Error('nothing was refused')
}

test.each<[TargetName, FormatName[]]>([
  ['gguf', ['gguf']],
  ['gptq', ['gptq', 'gptq_v2']],
  ['pare', ['pare']],
  ['vllm', ['compressed-tensors', 'gptq', 'gptq_v2', 'awq']],
  ['llama.cpp', ['gguf']],
  ['transformers', ['compressed-tensors', 'gptq', 'gptq_v2', 'awq']],
  ['mlx', ['mlx']],
  ['transformers.js', ['transformers.js']],
  ['onnx', ['onnx']],
])('%s has the formats %j, the first by default', (name, formats) => {
  expect(targetOf(name).layouts.map(({ format }) => format)).toEqual(formats)
  if (formats.length > 0) expect(chosenTarget(name).layout.format).toBe(formats[0])
  for (const format of formats) expect(chosenTarget(name, format).facts).toBe(targetFormats[format])
})
test('every program is named with a version, and a format without one by nobody', () => {
  for (const name of targetNames)
    for (const layout of targetOf(name).layouts) {
      for (const { version } of layout.needs) expect(version).toMatch(/^b?\d+(\.\d+)*$/)
      expect(programsText(layout.needs) === undefined, name).toBe(['gguf', 'gptq', 'pare'].includes(name))
    }
  expect(programsText(chosenTarget('transformers', 'gptq').layout.needs)).toBe(
    'transformers 4.49.0 or newer, with gptqmodel 1.4.3 and optimum 1.24.0',
  )
})
test('compressed-tensors has no zeros unless somebody asks for them: its library opens such folders as they are', () => {
  for (const target of ['vllm', 'transformers'] as const)
    expect(chosenTarget(target, 'compressed-tensors').layout.levels!.symmetric).toBe(true)
  expect(chosenTarget('transformers', 'compressed-tensors').layout.levels!.zeros).toContain(4)
})
test.each(['onnx', 'transformers.js'])(
  '%s takes 4 and 8 bits, groups of powers of two, and f32 or f16 around them',
  (target) => {
    expect(resolved({ target }).steps[0].grid).toMatchObject({ bits: 4, groupSize: 32, symmetric: true })
    expect(resolved({ target, bits: 8, groupSize: 16, symmetric: false, embedding: 'f16' })).toMatchObject({
      steps: [{ grid: { bits: 8, groupSize: 16, symmetric: false } }],
      embedding: 'F16',
      shardSize: undefined,
    })
    for (const [options, message] of [
      [{ bits: 3 }, /^--bits: onnxruntime needs 4 or 8 bits/],
      [{ groupSize: 48 }, /^--group-size: onnxruntime needs groups of 32, 64, 128, 16 or 256/],
      [{ groupSize: 'row' }, /got row/],
      [{ staticGroups: false }, /groups of neighbouring columns/],
      [{ embedding: 'Q8_0' }, /possible are F32, F16/],
      [
        { embedding: 'F32', activations: 'F16' },
        /^--activations: F16 goes with weights in F16, got --embedding F32/,
      ],
      [{ activations: 'BF16' }, /^--activations: one of F32, F16 is needed, got "BF16"/],
      [{ shardSize: 1e9 }, /--shard-size/],
    ] as const)
      expect(refusal(() => resolved({ target, ...options })).message).toMatch(message)
  },
)
test('ONNX files compute in f32 unless f16 is asked for, with weights in f16 then; other targets leave it to programs', () => {
  expect(resolved({ target: 'onnx' })).toMatchObject({ embedding: undefined, activations: 'F32' })
  expect(resolved({ target: 'onnx', embedding: 'F16' })).toMatchObject({
    embedding: 'F16',
    activations: 'F32',
  })
  expect(resolved({ target: 'transformers.js', activations: 'F16' })).toMatchObject({
    embedding: 'F16',
    activations: 'F16',
  })
  for (const target of targetNames.filter((name) => !['onnx', 'transformers.js'].includes(name))) {
    expect(resolved({ target }).activations).toBeUndefined()
    const { message, code } = refusal(() => resolved({ target, activations: 'F32' }))
    expect(message).toMatch(/^--activations: is for --target onnx and transformers.js, .*; leave it out$/)
    expect(code).toBe('PARE_E_ACTIVATIONS')
  }
})
test('a format that a target has not is refused with those it has', () => {
  expect(choosableFormats).toEqual(['gptq', 'gptq_v2', 'compressed-tensors', 'awq'])
  expect(refusal(() => resolved({ target: 'gptq', format: 'awq' })).message).toBe(
    '--format: --target gptq takes gptq, gptq_v2, got awq; choose one of them',
  )
  for (const target of ['mlx', 'llama.cpp', 'gguf', 'onnx', 'pare'])
    expect(refusal(() => resolved({ target, format: 'awq' })).message).toMatch(
      new RegExp(`^--format: --target ${target} has one, .* leave it out`),
    )
  expect(resolved({ target: 'gptq', format: 'gptq_v2' }).format).toBe('gptq_v2')
})
