import { join } from 'node:path'
import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { convert } from './convert.ts'
import type { ConvertOptions } from './convert_options.ts'

/** A place where nothing is. */
const at = (name: string) => join('/nowhere', name)

test.each<[string, Partial<ConvertOptions>, RegExp]>([
  ['no output', { output: '' }, /--output: the name of a folder/],
  ['a scheme of a folder', { target: 'mlx', scheme: 'Q4_K' }, /--scheme: is for GGUF files/],
  [
    'a scheme that is no type',
    { target: 'gguf', scheme: 'Q9' },
    /--scheme: Q9 is no block type that holds codes/,
  ],
  ['bits of a file', { target: 'gguf', bits: 4 }, /--bits: is for evenly spaced levels.*choose --scheme/],
  ['bits of codebooks', { target: 'transformers', format: 'aqlm', bits: 4 }, /--bits: .*leave it out/],
  ['bits that nobody has', { target: 'mlx', bits: 5 }, /--bits: 2, 3, 4 and 8/],
  [
    'bits and a type',
    { target: 'transformers', type: 'f16', bits: 4 },
    /--type: stores numbers, --bits codes/,
  ],
  ['a type in a layout of codes', { target: 'gptq', type: 'f16' }, /--type: a GPTQ checkpoint stores codes/],
  ['a format of another target', { target: 'mlx', format: 'spqr' }, /spqr is for --target transformers/],
  [
    'bits that ONNX has not',
    { target: 'onnx', bits: 3 },
    /--bits: .* of --target onnx holds 4, 8 bits, got 3/,
  ],
  ['an empty group', { target: 'mlx', groupSize: 0 }, /--group-size/],
])('%s is refused before anything is read', async (_, options, message) => {
  const given = { source: at('nowhere'), output: at('none'), target: 'pare', ...options } as ConvertOptions
  await expect(convert(given)).rejects.toThrow(OptionError)
  await expect(convert(given)).rejects.toThrow(message)
})
