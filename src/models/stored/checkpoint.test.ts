import { expect, test } from 'vitest'
import { bytesSource } from '../../formats/file.ts'
import { layOut } from '../../formats/safetensors/header.ts'
import { openSources } from '../../formats/safetensors/safetensors.ts'
import { FormatError } from '../../tensor/errors.ts'
import { checkpointOf } from './checkpoint.ts'

/** An archive of zeros. */
function archiveOf(...tensors: [name: string, type: string][]) {
  const { head, size } = layOut(
    tensors.map(([name, type]) => ({ name, type, shape: [4, 4] })),
    {},
  )
  const bytes = new Uint8Array(size)
  bytes.set(head)
  return openSources([bytesSource('m.safetensors', bytes)])
}

test.each(['weight_scale', 'weight_scale_inv'])(
  'small floats beside a %s are no weights without a configuration that says how they are scaled',
  (scale) => {
    const archive = archiveOf(['a.weight', 'F8_E4M3'], [`a.${scale}`, 'F32'])
    expect(() => checkpointOf(archive, {})).toThrow(FormatError)
    expect(() => checkpointOf(archive, {})).toThrow(/^a\.weight: config\.json has no quantization_config/)
  },
)
test('small floats without a scale, and scales beside wide floats, are weights', () => {
  const archive = archiveOf(['a.weight', 'F8_E5M2'], ['b.weight', 'BF16'], ['b.weight_scale', 'F32'])
  expect(checkpointOf(archive, {})).toEqual({ format: 'huggingface', layers: [] })
})
test.each(['qweight', 'weight_packed', 'compressed', 'codes', 'dense_weights'])(
  '%s without a configuration is no weight',
  (part) => {
    const archive = archiveOf([`a.${part}`, 'I32'])
    expect(() => checkpointOf(archive, {})).toThrow(`a.${part}: config.json has no quantization_config`)
  },
)
test.each([
  [{ quantization_config: { quant_method: 'awq' } }, 'awq'],
  [{ compression_config: { quant_method: 'compressed-tensors' } }, 'compressed-tensors'],
  [{ quantization: { bits: 4, group_size: 64 } }, 'mlx'],
  [{ quantization_config: { bits: 4, group_size: 64 } }, 'mlx'],
])('%j is %s', (configJson, format) => {
  expect(checkpointOf(archiveOf(['a.weight', 'F32']), configJson)).toEqual({ format, layers: [] })
})
test.each([[[]], ['awq'], [4], [{}], [{ bits: 4 }]])('quantization_config %j names no method', (config) => {
  expect(() => checkpointOf(archiveOf(['a.weight', 'F32']), { quantization_config: config })).toThrow(
    /^quantization_config: names no quant_method.*; Pare reads gptq, awq, compressed-tensors, aqlm, spqr, mlx$/,
  )
})
