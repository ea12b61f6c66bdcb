/** Every tiny checkpoint to every layout. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  distance,
  expectedOf,
  type FixtureName,
  files,
  folders,
  numbers,
  openFixture,
} from '../../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import { PareError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import type { TargetName } from '../targets.ts'
import type { ConversionReport } from './conversion_report.ts'
import { convert } from './convert.ts'
import type { ConvertFormat } from './convert_formats.ts'
import { convertible } from './converted_fixture.suite.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'convert-matrix-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const layouts: readonly [TargetName, ConvertFormat?][] = [
  ['llama.cpp'],
  ['pare'],
  ['mlx'],
  ['transformers'],
  ['transformers', 'gptq_v2'],
  ['transformers', 'awq'],
  ['transformers', 'float'],
  ['transformers', 'aqlm'],
  ['transformers', 'spqr'],
  ['vllm'],
  ['vllm', 'gptq'],
]

/**
 * What a conversion ends in, for each of the layouts in turn.
 *
 *   L  every value is as it was          K  codes are kept, scales or offsets rounded
 *   N  numbers are rounded               R  codes are rounded again
 *   c  refused: no codes for a layout of codes           r  refused: 32 does not divide the rows of k and v
 *   f  refused: q, k and v, or gate and up, are not alike   g  refused: groups that the program does not take
 *   d  refused: rotary divisors that no folder can say
 */
const expected = {
  'llama-tied': 'LLccccLcccc',
  'llama-untied': 'LLccccLcccc',
  'llama-head-size': 'LLccccLcccc',
  'llama-rope-llama3': 'LLccccLcccc',
  'llama-rope-linear': 'LLccccLcccc',
  mistral: 'LLccccLcccc',
  qwen2: 'LLccccLcccc',
  smollm: 'LLccccLcccc',
  'llama-gptq-4': 'RLRLrRNccRr',
  'llama-gptq-3': 'LLLLLLNccLL',
  'gptq-dynamic': 'RLRLrgNccfr',
  awq: 'KLKLLLNccff',
  'ct-actorder': 'RLRLrRNccRr',
  'ct-channel-8': 'LLLLrRNccLr',
  'ct-float8': 'NLccccNcccc',
  'ct-group-3': 'RLRLrLLccRr',
  'ct-group-3-old': 'RLRLrLLccRr',
  'ct-group-4': 'RLRLrLLccRr',
  'ct-group-4-int8-zeros': 'RLRLrLNccRr',
  'ct-group-4-zeros': 'RLRLrLNccRr',
  'ct-int8': 'LLLLrRNccLr',
  'ct-sparse-24': 'LLccccLcccc',
  'ct-sparse-24-float8': 'NLccccNcccc',
  'ct-sparse-bitmask': 'LLccccLcccc',
  'ct-tensor-4': 'KLKLrLNccLr',
  'ct-two-groups': 'RLRLrgNccfr',
  'mlx-2': 'LLLRrRNccRr',
  'mlx-3': 'LLLRrRNccRr',
  'mlx-4-bf16': 'LLLRrRNccRr',
  'mlx-4-f16': 'LLLRRRNccRR',
  'mlx-5': 'LLLRrRNccRr',
  'mlx-6': 'RLLRrRNccRr',
  'mlx-8': 'RLLRrRNccRr',
  'mlx-overrides': 'RLLRRRNccff',
  'aqlm-1x10': 'RLRRrRNLcRr',
  'aqlm-2x8': 'RLRRrRNLcRr',
  'aqlm-2x8-inputs-first': 'RLRRrRNLcRr',
  'spqr-csr': 'RLRRrRLcLRr',
  'spqr-ptcsr': 'RLRRrRLcLRr',
  'llama-f16.gguf': 'LLccccLcccc',
  'llama-f32.gguf': 'LLccccLcccc',
  'llama-rope-freqs-f16.gguf': 'Ldccccdcccc',
  'llama-rope-linear-f16.gguf': 'LLccccLcccc',
  'qwen2-f16.gguf': 'LLccccLcccc',
} as const satisfies Record<FixtureName, string>

const codes: Readonly<Record<string, string>> = {
  PARE_E_NO_CODES: 'c',
  PARE_E_LAYER_FORM: 'r',
  PARE_E_FUSED: 'f',
  PARE_E_RUNTIME: 'g',
  PARE_E_ROTARY_DIVISORS: 'd',
}

function letterOf({ lossless, counts }: ConversionReport): string {
  if (lossless) return 'L'
  return counts.requantised > 0 ? 'R' : counts['codes kept'] > 0 ? 'K' : 'N'
}

/** Largest difference of logits to those of the source, relative to the largest of them, by what was changed. */
const tolerance: Readonly<Record<string, number>> = {
  // Folders hold all constants of a model bit for bit, GGUF files epsilon and rotary divisors in f32.
  L: 2 ** -20,
  // Levels move by an eighth of a step of 4 bits and more at most.
  K: 2 ** -5,
  // Halves are within 2^-11 of what they round, and a few layers add this up.
  N: 2 ** -7,
  // Steps of 4 bits and more on random weights: anything that is not the same model is off by 1 and more.
  R: 0.5,
}

test.each<[FixtureName, string, readonly string[]]>([
  ['awq', 'LL', ['4 bits, groups of 32', 'F32']],
  ['llama-gptq-3', 'LL', ['4 bits, groups of 32, symmetric', 'F32']],
  // Several widths and groups of 16 and of rows.
  ['gptq-dynamic', 'LL', ['4 bits, groups of 16, symmetric', '8 bits, groups of 32, symmetric', 'F32']],
  ['ct-sparse-24', 'LL', ['F32']],
  ['llama-untied', 'LL', ['F32']],
])('ONNX: %s', async (name, letters, types) => {
  const source = convertible(name, folder)
  let found = ''
  for (const target of ['onnx', 'transformers.js'] as const) {
    const report = await convert({ source, output: join(folder, `${name}-${target}`), target })
    found += letterOf(report)
    const to = new Set(report.weights.map((weight) => weight.to))
    expect([...to].sort()).toEqual(expect.arrayContaining([...types]))
  }
  expect(found).toBe(letters)
})

function logitsOf(open: ReturnType<typeof openLanguageModel>, tokens: Uint32Array): number[] {
  try {
    return scope(() => numbers(open.model.load().forward(tokens)))
  } finally {
    open.close()
  }
}

describe.each([...folders, ...files])('%s', (name) => {
  test('becomes what the table says in every layout, with the logits of the source', async () => {
    const source = convertible(name, folder)
    const { tokens } = expectedOf(name)
    const before = logitsOf(openFixture(name), tokens)
    let found = ''
    for (const [i, [target, format]] of layouts.entries()) {
      const output = join(folder, `${name}-${i}`)
      let letter: string
      try {
        const report = await convert({ source, output, target, format })
        letter = letterOf(report)
        const file = report.files.find((each) => each.endsWith('.gguf'))
        const after = logitsOf(openLanguageModel(file ? join(output, file) : output), tokens)
        const apart = distance(after, before)
        if (letter === 'L' && !file) expect(after).toEqual(before)
        else if (report.notes.some((note) => /sliding window/.test(note))) expect(name).toBe('mistral')
        else expect(apart).toBeLessThan(tolerance[letter]!)
        for (const weight of report.weights) {
          expect(weight.relativeError === 0).toBe(weight.carried === 'lossless')
          if (weight.carried === 'codes kept') expect(weight.largestInSteps).toBeLessThanOrEqual(1 / 8)
        }
        expect(report.warnings.length).toBe(report.counts.requantised > 0 ? 1 : 0)
        rmSync(output, { recursive: true })
      } catch (error) {
        if (!(error instanceof PareError)) throw error
        letter = codes[error.code] ?? `(${error.code})`
        expect(existsSync(output)).toBe(false)
      }
      found += letter
    }
    expect(found).toBe(expected[name])
    expect(readdirSync(folder).filter((each) => each.endsWith('.part'))).toEqual([])
  })
})
