import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import {
  type ClassifierConfig,
  classifierFromJson,
  classifierToJson,
  isClassifierConfig,
} from './classifier_config.ts'

const rest = {
  image: [8, 8, 2],
  classes: ['a', 'b'],
  normalise: { mean: [0.3, 0], deviation: [0.4, 1] },
} as const
const configs: ClassifierConfig[] = [
  { ...rest, shape: { family: 'resnet', depth: 8, width: 16 } },
  { ...rest, shape: { family: 'lenet', convolutions: [4, 6], hidden: 10 } },
  { ...rest, shape: { family: 'mlp', hidden: [32, 16] } },
]

test.each(configs.map((config) => [config.shape.family, config] as const))(
  '%s: what is written is read back',
  (_, config) => {
    const json = JSON.parse(JSON.stringify(classifierToJson(config)))
    expect(isClassifierConfig(json)).toBe(true)
    expect(classifierFromJson(json)).toEqual(config)
  },
)
test('other families are none of these', () => {
  for (const model_type of ['resnet', 'pare_lstm', undefined, 7, '__proto__']) {
    expect(isClassifierConfig({ model_type })).toBe(false)
    expect(() => classifierFromJson({ model_type })).toThrow(/is no classifier; Pare reads pare_resnet/)
  }
})
test.each([
  ['image', [8, 8]],
  ['image', [8, 8, 0]],
  ['image', 'large'],
  ['classes', []],
  ['classes', ['a', 1]],
  ['image_mean', [0.3]],
  ['image_mean', [0.3, null]],
  ['image_std', [0.4, 0]],
  ['image_std', [0.4, -1]],
  ['hidden', [1.5]],
  ['hidden', Array(1001).fill(1)],
])('%s of %j is refused by its name', (key, value) => {
  const json = { ...classifierToJson(configs[2]!), [key]: value }
  expect(() => classifierFromJson(json)).toThrow(FormatError)
  expect(() => classifierFromJson(json)).toThrow(new RegExp(`^config\\.json: ${key} must be .*, got `))
})
