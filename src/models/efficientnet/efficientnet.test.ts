/** EfficientNet-Lite0 against a float64 forward in PyTorch, on images that are computed. */
import { describe, expect, test } from 'vitest'
import { asset } from '../../formats/tokenizer/assets.suite.ts'
import { sitesOf } from '../../nn/sites.ts'
import { FormatError } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import type { ModelWeights } from '../model_weights.ts'
import { efficientNetLite0 } from './config.ts'
import { EfficientNet, openEfficientNetLite0, type ResidentEfficientNet } from './efficientnet.ts'
import { promisedShapes } from './names.ts'

/** Colours 7y + 5x + 60c + floor(xy / 13), modulo 256, of images of one size. */
function pattern(batch: number, height: number, width: number) {
  const colours = Float32Array.from({ length: batch * height * width * 3 }, (_, i) => {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / 3 / width) % height]
    return (7 * y + 5 * x + 60 * c + Math.floor((x * y) / 13)) % 256
  })
  return tensor(colours, [batch, height, width, 3])
}

const file = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
const withModel = (body: (resident: ResidentEfficientNet) => void) => {
  const { model, close } = openEfficientNetLite0(file!)
  try {
    scope(() => body(model.load()))
  } finally {
    close()
  }
}

describe.skipIf(!file)('Lite0 (needs PARE_ASSETS)', () => {
  test.each([
    [
      [224, 224],
      [506, 753, 522, 545, 446],
      [11.992125803, 5.239553143, 5.15065394, 5.133282465, 5.124512704],
      -109.00495253145067,
    ],
    [
      [97, 64],
      [506, 723, 522, 729, 616],
      [24.964555118, 14.515190348, 14.471622653, 14.19251792, 13.933924906],
      -286.0602569197309,
    ],
  ] as const)('logits of %o points are those of float64', ([height, width], best, values, sum) => {
    withModel((resident) => {
      const found = numbers(resident.forward(pattern(1, height, width)))
      expect(found).toHaveLength(1000)
      const order = found.map((_, i) => i).sort((a, b) => found[b]! - found[a]!)
      expect(order.slice(0, 5)).toEqual(best)
      // f32 through 50 convolutions of up to 1152 products; logits of up to 25.
      for (const [i, value] of values.entries()) expect(Math.abs(found[best[i]!]! - value)).toBeLessThan(5e-4)
      expect(Math.abs(found.reduce((a, b) => a + b, 0) - sum)).toBeLessThan(0.05)
    })
  })
  test('each image of a batch has its own logits', () => {
    withModel((resident) => {
      const [one, two] = [pattern(1, 40, 33), pattern(1, 40, 33).mul(0.5)]
      const both = tensor([...numbers(one), ...numbers(two)], [2, 40, 33, 3])
      const found = numbers(resident.forward(both))
      for (const [i, image] of [one, two].entries()) {
        const alone = numbers(resident.forward(image))
        const apart = alone.map((value, j) => Math.abs(value - found[i * 1000 + j]!))
        expect(Math.max(...apart)).toBeLessThan(1e-3)
      }
    })
  })
  test('the list of sites is what a forward visits, in order, and what a hook returns takes its place', () => {
    withModel((resident) => {
      const { model, close } = openEfficientNetLite0(file!)
      close()
      const visited: string[] = []
      const plain = numbers(
        resident.forward(pattern(1, 32, 32), { at: () => (_x, site) => void visited.push(site) }),
      )
      expect(visited).toEqual(model.sites())
      const at = sitesOf({ 'block.3/depthwise': (x) => x.mul(0) })
      expect(numbers(resident.forward(pattern(1, 32, 32), { at }))).not.toEqual(plain)
    })
  })
})

test('a weight that is missing or has another shape is named', () => {
  const weights = (changed: string): ModelWeights => ({
    infos: new Map(
      [...promisedShapes(efficientNetLite0)].map(([name, shape]) => [
        name,
        { name, shape: name === changed ? [...shape, 1] : shape, type: 'F32', bytes: 0 },
      ]),
    ),
    fileBytes: 0,
    load: () => tensor([0]),
    rows: () => tensor([0]),
    slice: () => tensor([0]),
    close: () => {},
  })
  expect(new EfficientNet(efficientNetLite0, weights('')).sites()).toHaveLength(2 + 4 + 15 * 5 + 3)
  for (const name of ['_conv_stem.weight', '_blocks.7._bn1.running_var', '_fc.bias']) {
    expect(() => new EfficientNet(efficientNetLite0, weights(name))).toThrow(FormatError)
    expect(() => new EfficientNet(efficientNetLite0, weights(name))).toThrow(name)
  }
})
