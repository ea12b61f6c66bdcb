/** What a classifier is, as config.json holds it, and the network that it makes. */
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { type ConfigJson, wholeField } from '../config_fields.ts'
import type { WeightMaker } from '../weight_maker.ts'
import { lenet } from './lenet.ts'
import { mlp } from './mlp.ts'
import type { Classifier } from './network.ts'
import { resnet } from './resnet.ts'

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

/**
 * The network of a config over weights that `weights` hands out.
 *
 * @throws OptionError for shapes that cannot be
 */
export function classifierOf({ shape, image, classes }: ClassifierConfig, weights: WeightMaker): Classifier {
  const [height, width, channels] = image
  switch (shape.family) {
    case 'resnet':
      return resnet({ depth: shape.depth, width: shape.width, channels, classes: classes.length }, weights)
    case 'lenet':
      return lenet(
        { image, classes: classes.length, convolutions: shape.convolutions, hidden: shape.hidden },
        weights,
      )
    case 'mlp':
      return mlp({ widths: [height * width * channels, ...shape.hidden, classes.length] }, weights)
    default:
      throw new OptionError(
        `classifier: ${printable(String((shape satisfies never as ClassifierShape).family))} is no family`,
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

/** @throws FormatError for a config.json that is none of a classifier */
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
  return {
    shape: shapeOf(family, json),
    image: [height!, width!, channels!],
    classes,
    normalise: {
      mean: numbers(json, 'image_mean', channels!),
      deviation: numbers(json, 'image_std', channels!, 'above 0', (x) => x > 0),
    },
  }
}

const wrongField = (key: string, needed: string, found: unknown) =>
  new FormatError(
    `config.json: ${key} must be ${needed}, got ${printable(JSON.stringify(found) ?? 'nothing')}; correct the file`,
    { code: 'PARE_E_CONFIG', facts: { field: key } },
  )

function shapeOf(family: (typeof families)[number], json: ConfigJson): ClassifierShape {
  if (family === 'resnet')
    return { family, depth: wholeField(json, 'depth'), width: wholeField(json, 'width') }
  if (family === 'mlp') return { family, hidden: wholes(json, 'hidden') }
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

function wholes(json: ConfigJson, key: string, count?: number): number[] {
  const value = json[key]
  const fits = Array.isArray(value) && value.length >= 1 && value.length <= 1000
  if (
    fits &&
    (count === undefined || value.length === count) &&
    value.every((x) => Number.isInteger(x) && x >= 1)
  )
    return value
  throw wrongField(key, `a list of ${count === undefined ? '' : `${count} `}whole numbers from 1 on`, value)
}
