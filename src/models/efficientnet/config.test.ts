import { expect, test } from 'vitest'
import { asset } from '../../formats/tokenizer/assets.suite.ts'
import { openTorch } from '../../formats/torch/torch.ts'
import { efficientNetLite0, isResidual } from './config.ts'
import { promisedShapes } from './names.ts'

test('Lite0 has 16 blocks whose channels fit, and shrinks 224 points to 7', () => {
  const { blocks, stem, imageSize } = efficientNetLite0
  expect(blocks).toHaveLength(16)
  expect(blocks.map(({ inputs }) => inputs).slice(1)).toEqual(
    blocks.map(({ outputs }) => outputs).slice(0, -1),
  )
  expect(blocks[0]!.inputs).toBe(stem.outputs)
  const strides = blocks.reduce((product, { stride }) => product * stride, stem.stride)
  expect(imageSize / strides).toBe(7)
  expect(blocks.filter(isResidual)).toHaveLength(9)
})
test('Lite0 has 4,652,008 numbers to learn', () => {
  const learnt = [...promisedShapes(efficientNetLite0)].filter(([name]) => !name.includes('running'))
  expect(learnt.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(4_652_008)
})

const file = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
test.skipIf(!file)('the table promises what the file of Lite0 holds (needs PARE_ASSETS)', () => {
  const archive = openTorch(file!)
  archive.close()
  const held = [...archive.tensors.values()]
    .filter(({ name }) => !name.endsWith('num_batches_tracked'))
    .map(({ name, shape }): [string, readonly number[]] => [name, shape])
  expect(promisedShapes(efficientNetLite0)).toEqual(new Map(held))
})
