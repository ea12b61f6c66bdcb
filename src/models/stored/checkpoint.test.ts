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
