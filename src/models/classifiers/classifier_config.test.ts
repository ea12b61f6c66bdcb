import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../../tensor/errors.ts'
import {
  type ClassifierConfig,
  checkClassifierConfig,
  classifierFromJson,
  classifierOf,
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

test('a network without hidden layers is read back', () => {
  const config: ClassifierConfig = { ...rest, shape: { family: 'mlp', hidden: [] } }
  expect(classifierFromJson(JSON.parse(JSON.stringify(classifierToJson(config))))).toEqual(config)
})
const wrong: readonly [string, ClassifierConfig, RegExp][] = [
  ['a depth', { ...rest, shape: { family: 'resnet', depth: 9, width: 4 } }, /depth must be 6n \+ 2/],
  ['a width', { ...rest, shape: { family: 'resnet', depth: 8, width: 0 } }, /width/],
  ['part of a width', { ...rest, shape: { family: 'resnet', depth: 8, width: 1.5 } }, /width/],
  ['a convolution', { ...rest, shape: { family: 'lenet', convolutions: [0, 5], hidden: 4 } }, /convolutions/],
  ['a side', { ...configs[1]!, image: [8, 6, 2] }, /multiples of 4/],
  ['an image', { ...configs[2]!, image: [0, 8, 2] }, /image|height/],
  ['a hidden layer', { ...rest, shape: { family: 'mlp', hidden: [4, 0] } }, /hidden|widths/],
  ['the classes', { ...configs[2]!, classes: [] }, /classes/],
  ['a channel', { ...configs[2]!, normalise: { mean: [0], deviation: [1] } }, /normalise|image_mean/],
  ['a deviation', { ...configs[2]!, normalise: { mean: [0, 0], deviation: [1, 0] } }, /normalise|image_std/],
]
test.each(wrong)(
  '%s that cannot be is refused where a network is made and where it is read',
  (_, config, message) => {
    const weights = { weight: () => expect.fail('a weight'), buffer: () => expect.fail('a buffer') }
    for (const make of [() => checkClassifierConfig(config), () => classifierOf(config, weights)]) {
      expect(make).toThrow(OptionError)
      expect(make).toThrow(message)
    }
    const read = () => classifierFromJson(JSON.parse(JSON.stringify(classifierToJson(config))))
    expect(read).toThrow(FormatError)
    expect(read).toThrow(message)
    expect(read).toThrow(/^config\.json: /)
  },
)
