/** What a classifier is, as config.json holds it, and the network that it makes. */
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { type ConfigJson, wholeField } from '../config_fields.ts'
import type { WeightMaker } from '../weight_maker.ts'
import { checkLenet, lenet } from './lenet.ts'
import { checkMlp, mlp } from './mlp.ts'
import type { Classifier } from './network.ts'
import { checkResnet, resnet } from './resnet.ts'
import { checkWidths } from './widths.ts'

/** Widths of a network; `image` is height, width and channels. */
export type ClassifierShape =
  | { family: 'resnet'; depth: number; width: number }
  | { family: 'lenet'; convolutions: readonly [number, number]; hidden: number }
  | { family: 'mlp'; hidden: readonly number[] }

export interface ClassifierConfig {
  shape: ClassifierShape
  /** Height, width and channels of the images. */
  image: readonly [number, number, number]
  /** Names of the classes, in the order of the logits. */
  classes: readonly string[]
  /** Pixels between 0 and 1 become (pixel - mean) / deviation, for each channel. */
  normalise: { mean: readonly number[]; deviation: readonly number[] }
}

/** @throws OptionError for shapes that cannot be, and for a `normalise` that does not fit the channels */
export function checkClassifierConfig(config: ClassifierConfig): void {
  const { image, normalise } = config
  const [height, width, channels] = image
  checkWidths('classifier', { height, width, channels, classes: config.classes.length })
  networkOf(config).check()
  const { mean, deviation } = normalise
  const fits = [mean, deviation].every((list) => list.length === channels && list.every(Number.isFinite))
  if (!fits || deviation.some((x) => x <= 0))
    throw new OptionError(
      `classifier: normalise needs a mean and a deviation above 0 for each of ${channels} channels, got [${mean.join(', ')}] and [${deviation.join(', ')}]; take those of the training images`,
      { facts: { field: 'normalise' } },
    )
}

/**
 * The network of a config over weights that `weights` hands out.
 *
 * @throws OptionError for what `checkClassifierConfig` refuses, before a weight is asked for
 */
export function classifierOf(config: ClassifierConfig, weights: WeightMaker): Classifier {
  checkClassifierConfig(config)
  return networkOf(config).make(weights)
}

interface Network {
  check(): void
  make(weights: WeightMaker): Classifier
}

function networkOf({ shape, image, classes: names }: ClassifierConfig): Network {
  const [height, width, channels] = image
  const classes = names.length
  const network = <Options>(
    check: (options: Options) => void,
    make: (options: Options, weights: WeightMaker) => Classifier,
    options: Options,
  ): Network => ({ check: () => check(options), make: (weights) => make(options, weights) })
  switch (shape.family) {
    case 'resnet':
      return network(checkResnet, resnet, { depth: shape.depth, width: shape.width, channels, classes })
    case 'lenet':
      return network(checkLenet, lenet, {
        image,
        convolutions: shape.convolutions,
        hidden: shape.hidden,
        classes,
      })
    case 'mlp':
      return network(checkMlp, mlp, { widths: [height * width * channels, ...shape.hidden, classes] })
    default:
      throw new OptionError(
        `classifier: ${printable(String((shape satisfies never as ClassifierShape).family))} is no family; choose ${families.join(', ')}`,
      )
  }
}

const prefix = 'pare_'
const families = ['resnet', 'lenet', 'mlp'] as const

/** Whether a config.json is that of a classifier. */
export const isClassifierConfig = ({ model_type }: ConfigJson): boolean =>
  families.some((family) => model_type === prefix + family)

/** The fields of config.json; the type begins with `pare_`, since other programs know other networks by these names. */
export function classifierToJson({ shape, image, classes, normalise }: ClassifierConfig): ConfigJson {
  const { family, ...widths } = shape
  return {
    model_type: prefix + family,
    ...widths,
    image,
    classes,
    image_mean: normalise.mean,
    image_std: normalise.deviation,
  }
}

/** @throws FormatError for a config.json that is none of a classifier, or holds shapes that cannot be */
export function classifierFromJson(json: ConfigJson): ClassifierConfig {
  const family = families.find((name) => json.model_type === prefix + name)
  if (!family)
    throw new FormatError(
      `config.json: model_type ${printable(String(json.model_type ?? 'nothing'))} is no classifier; Pare reads ${families.map((name) => prefix + name).join(', ')}`,
      { code: 'PARE_E_ARCHITECTURE' },
    )
  const [height, width, channels] = wholes(json, 'image', 3)
  const classes = json.classes
  if (!Array.isArray(classes) || classes.length < 1 || !classes.every((name) => typeof name === 'string'))
    throw wrongField('classes', 'a list of names', classes)
  const config: ClassifierConfig = {
    shape: shapeOf(family, json),
    image: [height!, width!, channels!],
    classes,
    normalise: {
      mean: numbers(json, 'image_mean', channels!),
      deviation: numbers(json, 'image_std', channels!, 'above 0', (x) => x > 0),
    },
  }
  try {
    checkClassifierConfig(config)
  } catch (error) {
    throw new FormatError(`config.json: ${(error as Error).message}`, { code: 'PARE_E_CONFIG', cause: error })
  }
  return config
}

const wrongField = (key: string, needed: string, found: unknown) =>
  new FormatError(
    `config.json: ${key} must be ${needed}, got ${printable(JSON.stringify(found) ?? 'nothing')}; correct the file`,
    { code: 'PARE_E_CONFIG', facts: { field: key } },
  )

function shapeOf(family: (typeof families)[number], json: ConfigJson): ClassifierShape {
  if (family === 'resnet')
    return { family, depth: wholeField(json, 'depth'), width: wholeField(json, 'width') }
  if (family === 'mlp') return { family, hidden: wholes(json, 'hidden', undefined, 0) }
  const [first, second] = wholes(json, 'convolutions', 2)
  return { family, convolutions: [first!, second!], hidden: wholeField(json, 'hidden') }
}

function numbers(
  json: ConfigJson,
  key: string,
  count: number,
  range = '',
  holds: (x: number) => boolean = () => true,
): number[] {
  const value = json[key]
  if (Array.isArray(value) && value.length === count && value.every((x) => Number.isFinite(x) && holds(x)))
    return value
  throw wrongField(key, `a list of ${count} numbers ${range}`.trimEnd(), value)
}

function wholes(json: ConfigJson, key: string, count?: number, least = 1): number[] {
  const value = json[key]
  const fits = Array.isArray(value) && value.length >= least && value.length <= 1000
  if (
    fits &&
    (count === undefined || value.length === count) &&
    value.every((x) => Number.isInteger(x) && x >= 1)
  )
    return value
  throw wrongField(key, `a list of ${count === undefined ? '' : `${count} `}whole numbers from 1 on`, value)
}
