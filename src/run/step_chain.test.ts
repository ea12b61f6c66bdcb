import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { resolveOptions } from './compress_options.ts'
import { formOf, makesTree } from './step_chain.ts'
import { stepMethod, stepMethodNames } from './step_methods.ts'
import type { TargetName } from './targets.ts'
import type { WeightStep } from './weight_step.ts'

const resolved = (steps: WeightStep[], target: TargetName = 'pare') =>
  resolveOptions({ source: 'm', output: 'o', target, steps }).steps
const gptq2 = { method: 'gptq', bits: 2, groupSize: 16 } as const

describe('the form of a weight', () => {
  test('is a grid where one step rounds', () => {
    const steps = resolved([gptq2])
    expect(makesTree(steps)).toBe(false)
    expect(formOf(steps, [8, 32])).toMatchObject({ kind: 'grid', shape: [8, 32], bits: 2, groupSize: 16 })
  })
  test('is the sum of a grid and a product where eora follows, its factors as they are asked for', () => {
    const steps = resolved([gptq2, { method: 'eora', rank: 4 }])
    expect(makesTree(steps)).toBe(true)
    expect(formOf(steps, [8, 32])).toMatchObject({
      kind: 'sum',
      terms: [
        { kind: 'grid', bits: 2 },
        { kind: 'product', left: { shape: [8, 4], numberType: 'f16' }, right: { shape: [4, 32] } },
      ],
    })
  })
  test('is what is there at rank 0, and a rank past a side ends there', () => {
    expect(formOf(resolved([gptq2, { method: 'eora', rank: 0 }]), [8, 32])).toMatchObject({ kind: 'grid' })
    expect(formOf(resolved([gptq2, { method: 'eora', rank: 99 }]), [8, 32])).toMatchObject({
      terms: [{}, { left: { shape: [8, 8] } }],
    })
  })
})

describe('steps that cannot be', () => {
  test('a repair without anything before it', () => {
    expect(() => resolved([{ method: 'eora' }])).toThrow(/steps\[0\]: eora repairs/)
  })
  test.each(['gguf', 'gptq', 'vllm', 'mlx', 'onnx'] as const)('a form of its own for %s', (target) => {
    expect(() => resolved([{ method: 'gptq' }, { method: 'eora' }], target)).toThrow(
      /steps\[1\]: eora stores weights in a form of its own, which .* does not hold; choose --target pare/,
    )
  })
  test.each(['obq', 'omniquant'] as const)('%s for block types, which it cannot round to', (method) => {
    expect(() => resolved([{ method }], 'gguf')).toThrow(
      /rounds to evenly spaced levels, which a GGUF file does not hold; use --method gptq/,
    )
  })
  test('options that the method does not read, with who reads them', () => {
    expect(() => resolved([{ method: 'rtn', rank: 4 }])).toThrow(
      /steps\[0\]\.rank: rtn does not read it; leave it out, it is for eora/,
    )
    expect(() => resolved([gptq2, { method: 'eora', bits: 4 }])).toThrow(
      /steps\[1\]\.bits: eora does not read it/,
    )
  })
  test('a size of the whole beside a form of its own', () => {
    expect(() =>
      resolveOptions({
        source: 'm',
        output: 'o',
        limits: { targetBpw: 4 },
        steps: [{ method: 'gptq' }, { method: 'eora' }],
      }),
    ).toThrow(OptionError)
  })
})

test.each(stepMethodNames)('%s: the defaults that help tells are accepted where they are values', (name) => {
  for (const [field, text] of Object.entries(stepMethod(name).options)) {
    const value = /^-?[\d.]+$/.test(text)
      ? Number(text)
      : text === 'on' || text === 'off'
        ? text === 'on'
        : /^[a-z]+$/.test(text) && text !== 'f16'
          ? text
          : undefined
    if (value === undefined) continue
    expect(
      () =>
        resolved([...(stepMethod(name).kind === 'repair' ? [gptq2] : []), { method: name, [field]: value }]),
      field,
    ).not.toThrow()
  }
})
