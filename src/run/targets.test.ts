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
  ['transformers.js', []],
  ['onnx', []],
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
test('a target that cannot be written yet is refused with what is missing and what can', () => {
  for (const target of ['onnx', 'transformers.js']) {
    const { message, code } = refusal(() => resolved({ target }))
    expect(code).toBe('PARE_E_TARGET')
    expect(message).toMatch(new RegExp(`^--target ${target}: .*planOnnx.*choose one of gguf, .* mlx$`))
  }
})
test('a format that a target has not is refused with those it has', () => {
  expect(choosableFormats).toEqual(['gptq', 'gptq_v2', 'compressed-tensors', 'awq'])
  expect(refusal(() => resolved({ target: 'gptq', format: 'awq' })).message).toBe(
    '--format: --target gptq takes gptq, gptq_v2, got awq; choose one of them',
  )
  for (const target of ['mlx', 'llama.cpp', 'gguf', 'pare'])
    expect(refusal(() => resolved({ target, format: 'awq' })).message).toMatch(
      new RegExp(`^--format: --target ${target} has one, .* leave it out`),
    )
  expect(resolved({ target: 'gptq', format: 'gptq_v2' }).format).toBe('gptq_v2')
})
