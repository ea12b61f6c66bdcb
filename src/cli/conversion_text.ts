/** What `pare convert` prints. */
import {
  type ConversionReport,
  type ConvertedWeight,
  carriedNames,
} from '../run/convert/conversion_report.ts'
import { groupTensors } from '../run/tensor_groups.ts'
import { printable } from '../tensor/errors.ts'
import { bytesText } from './terminal.ts'

export interface ConversionTextOptions {
  /** A line for every weight. @default false: layers that repeat are one line */
  all?: boolean
}

/** A line for each kind of weight with what changed, then counts, sizes, and what should be known. */
export function conversionText(
  report: ConversionReport,
  { all = false }: ConversionTextOptions = {},
): string {
  const { weights, counts, bytesSource, bytes, warnings, notes, seconds, output, files } = report
  const listed = all ? weights.map((weight) => ({ name: weight.name, members: [weight] })) : grouped(weights)
  const said = carriedNames.flatMap((name) => (counts[name] > 0 ? [`${counts[name]} ${name}`] : []))
  return [
    ...listed.map(weightLine),
    `weights     ${said.join(', ')}${report.lossless ? ': every value is as it was' : `, relative error ${short(report.relativeError)}`}`,
    `size        ${bytesText(bytesSource)} -> ${bytesText(bytes)}`,
    `time        ${seconds.toFixed(1)} s`,
    `output      ${printable(output, 4096)}: ${files.map((file) => printable(file)).join(', ')}`,
    ...notes.map((note) => `note: ${printable(note, 400)}`),
    ...warnings.map((warning) => `warning: ${printable(warning, 400)}`),
  ].join('\n')
}

interface Group {
  name: string
  members: readonly ConvertedWeight[]
}

/** Weights whose names differ in numbers alone, and that went over in one way. */
function grouped(weights: readonly ConvertedWeight[]): Group[] {
  const kinds = new Map<string, ConvertedWeight[]>()
  for (const weight of weights) {
    const key = [weight.name.replace(/\d+/g, '0'), weight.from, weight.to, weight.carried].join('\n')
    kinds.set(key, [...(kinds.get(key) ?? []), weight])
  }
  return [...kinds.values()].map((members) => {
    const [group] = groupTensors(members.map(({ name }) => ({ name, type: '', shape: [], bytes: 0 })))
    return { name: group!.name, members }
  })
}

/** `  model.layers.{0-29}.mlp.up_proj.weight   gptq-4bit -> 4 bits, groups of 64   lossless   12.3 MB -> 12.3 MB` */
function weightLine({ name, members }: Group): string {
  const [first] = members
  const { from, to, carried } = first!
  const sum = (field: 'bytes' | 'bytesBefore') => members.reduce((total, weight) => total + weight[field], 0)
  const most = (field: 'largestDifference' | 'largestInSteps' | 'relativeError') =>
    Math.max(...members.map((weight) => weight[field] ?? 0))
  const changed = {
    lossless: [],
    'codes kept': [`at most ${short(most('largestDifference'))}, ${short(most('largestInSteps'))} of a step`],
    rounded: [`at most ${short(most('largestDifference'))}, relative error ${short(most('relativeError'))}`],
    requantised: [`relative error ${short(most('relativeError'))}`],
  }[carried]
  const type = from === to ? to : `${from} -> ${to}`
  const sizes = `${bytesText(sum('bytesBefore'))} -> ${bytesText(sum('bytes'))}`
  return [
    `  ${printable(name).padEnd(46)} ${printable(type).padEnd(36)} ${sizes}  ${carried}`,
    ...changed,
  ].join(': ')
}

const short = (value: number): string => (value === 0 ? '0' : String(Number(value.toPrecision(3))))
