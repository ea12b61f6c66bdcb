/** Numbers of a config.json, checked as they are read. */
import { FormatError, printable } from '../tensor/errors.ts'

export type ConfigJson = Record<string, unknown>

/** More layers than any model has; a larger number would only fill memory. */
const mostLayers = 10_000

/** A number above 0, or `fallback` where the field is missing. @throws FormatError for anything else. */
export function positiveField(config: ConfigJson, key: string, fallback?: number): number {
  const value = config[key] ?? fallback
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw new FormatError(
    `config.json: ${key} must be a positive number, got ${printable(JSON.stringify(value) ?? 'nothing')}`,
  )
}

/** A whole number from 1 to 2^31 - 1. @throws FormatError for anything else. */
export function wholeField(config: ConfigJson, key: string, fallback?: number): number {
  const value = positiveField(config, key, fallback)
  if (Number.isInteger(value) && value < 2 ** 31) return value
  throw new FormatError(`config.json: ${key} must be a whole number below 2^31, got ${value}`)
}

/** `num_hidden_layers`. @throws FormatError where it is no number of layers that a model can have. */
export function layerCount(config: ConfigJson): number {
  const count = wholeField(config, 'num_hidden_layers')
  if (count <= mostLayers) return count
  throw new FormatError(`config.json: ${count} layers are more than any model has; the file is damaged`)
}
