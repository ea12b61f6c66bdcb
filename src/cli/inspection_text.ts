/** What `pare inspect` prints. */
import type { Inspection } from '../run/inspect.ts'
import type { Support } from '../run/support.ts'
import { groupTensors } from '../run/tensor_groups.ts'
import type { Histogram, TensorValues } from '../run/value_summary.ts'
import { printable } from '../tensor/errors.ts'
import { bytesText, weightsText } from './terminal.ts'

export interface InspectionTextOptions {
  /** A line for every tensor and whole values of the metadata. @default false: repeated layers are one line */
  all?: boolean
  /** Tensors that are listed. @default all */
  chosen?: ReadonlySet<string>
}

/** Source, metadata and tensors; what Pare can do with it comes after the values of the tensors. */
export function inspectionText(
  inspection: Inspection,
  { all = false, chosen }: InspectionTextOptions = {},
): string {
  const { path, format, fileBytes, tensors, parameters, metadata, headersOf } = inspection
  const listed = chosen ? tensors.filter(({ name }) => chosen.has(name)) : tensors
  return [
    `file     ${printable(path, 4096)}`,
    ...(headersOf === undefined ? [] : [`headers  of commit ${headersOf}; the weights were not fetched`]),
    `format   ${format}, ${bytesText(fileBytes)}, ${tensors.length} tensors, ${weightsText(parameters)}`,
    ...typeLines(tensors),
    ...metadata.map(
      ({ key, value }) => `  ${printable(key).padEnd(44)} ${printable(value, all ? 4096 : 80)}`,
    ),
    ...(all
      ? listed.map((tensor) => tensorLine({ ...tensor, count: 1 }))
      : groupTensors(listed).map(tensorLine)),
  ].join('\n')
}

/** The types, most bytes first, where there are several. */
function typeLines(tensors: Inspection['tensors']): string[] {
  const types = new Map<string, { count: number; bytes: number }>()
  for (const { type, bytes } of tensors) {
    const { count, bytes: before } = types.get(type) ?? { count: 0, bytes: 0 }
    types.set(type, { count: count + 1, bytes: before + bytes })
  }
  if (types.size < 2) return []
  const sorted = [...types].toSorted(([, a], [, b]) => b.bytes - a.bytes)
  const parts = sorted.map(([type, { count, bytes }]) => `${count} ${printable(type)} of ${bytesText(bytes)}`)
  return [`types    ${parts.join(', ')}`]
}

/** `  model.layers.{0-29}.mlp.up_proj.weight   BF16   [1536, 576]  16.00 bits  30 tensors` */
export function tensorLine({
  name,
  type,
  shape,
  bytes,
  count,
}: {
  name: string
  type: string
  shape: readonly number[]
  bytes: number
  count: number
}): string {
  const weights = shape.reduce((a, b) => a * b, count)
  const bits = weights === 0 ? 0 : (bytes * 8) / weights
  return `  ${printable(name).padEnd(52)} ${printable(type).padEnd(8)} [${shape.join(', ')}]  ${bits.toFixed(2)} bits${count > 1 ? `  ${count} tensors` : ''}`
}

/** A sentence, and what can and cannot be done, with one line for each reason. */
export function supportText({ supported, reason, support }: Inspection): string {
  const possible = support
    .filter((step) => step.possible)
    .map(({ step, flags }) => (flags === undefined ? step : `${step} (${flags})`))
  return [
    reason === undefined
      ? `Pare can compress it as ${printable(supported!)}.`
      : `Pare ${supported ? `computes it as ${printable(supported)}, but ` : ''}cannot compress it: ${printable(reason, 400)}`,
    ...(possible.length > 0 ? [`  yes  ${possible.join(', ')}`] : []),
    ...byReason(support).map(
      ([text, steps]) => `  no   ${steps.join(', ')}${text === reason ? '' : `: ${printable(text, 400)}`}`,
    ),
  ].join('\n')
}

function byReason(support: readonly Support[]): [reason: string, steps: string[]][] {
  const reasons = new Map<string, string[]>()
  for (const { step, reason } of support)
    if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), step])
  return [...reasons]
}

/** The line under a tensor: its histogram and numbers. */
export function valuesLine(values: TensorValues): string {
  if ('missing' in values) return `    no values: ${printable(values.missing)}`
  const { count, nan, infinite, zeros, finite } = values.summary
  const odd = [...(nan > 0 ? [`${nan} NaN`] : []), ...(infinite > 0 ? [`${infinite} infinite`] : [])]
  if (!finite) return `    ${count === 0 ? 'empty' : odd.join(', ')}`
  const { min, max, mean, deviation, histogram } = finite
  const outside = (histogram.below + histogram.above) / (count - nan - infinite)
  return [
    `    ${bars(histogram)}  ${short(histogram.from)} to ${short(histogram.to)}`,
    ...(outside > 0 ? [`${percent(outside)} outside`] : []),
    `min ${short(min)}`,
    `max ${short(max)}`,
    `mean ${short(mean)}`,
    `deviation ${short(deviation)}`,
    `zeros ${percent(zeros)}`,
    ...odd,
  ].join(', ')
}

const blocks = ' ▁▂▃▄▅▆▇█'

/** One character a bin; a bin with any value is never blank. */
function bars({ bins }: Histogram): string {
  const most = Math.max(...bins)
  return `|${bins.map((bin) => blocks[Math.ceil((8 * bin) / Math.max(1, most))]).join('')}|`
}

const short = (value: number): string => (value === 0 ? '0' : String(Number(value.toPrecision(4))))
const percent = (share: number): string =>
  share > 0 && share < 0.0001 ? '<0.01%' : `${(100 * share).toFixed(2)}%`
