/** Size against quality: the result, its source, and what else stands beside it. */
import type { CompressionReport } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { axis } from './axis.ts'
import { axisBelow, axisLeft, type Box, figure } from './figure.ts'
import { html, type Markup, type Part } from './markup.ts'
import { byteSize, fixed, isNumber } from './numbers.ts'
import { missing, section } from './section.ts'
import { folded, table } from './table.ts'
import { fitted, textWidth } from './text_width.ts'

interface Point {
  name: string
  role: 'source' | 'result' | 'baseline'
  bytes: number
  bitsPerWeight?: number | undefined
  kl?: number | undefined
  perplexity?: number | undefined
}

/** Baselines in the figure; the table has them all. */
const MOST_POINTS = 10

export function sizeSection(report: CompressionReport): Markup {
  return section({ id: 'size', title: 'Size against quality', content: content(report) })
}

function content(report: CompressionReport): Part {
  const baselines = report.baselines ?? []
  if (report.embeddings) return cosines(report)
  if (report.kl === undefined && report.perplexity === undefined) {
    return missing(
      html`Quality was not measured: compress without <code>--no-evaluate</code>, or run <code>pare eval RESULT --against SOURCE</code>.`,
    )
  }
  const points: Point[] = [
    { name: 'source', role: 'source', bytes: report.bytesSource, kl: 0, perplexity: report.perplexitySource },
    {
      name: `this result, ${report.method}`,
      role: 'result',
      bytes: report.bytes,
      bitsPerWeight: report.bitsPerWeight,
      kl: report.kl,
      perplexity: report.perplexity,
    },
    ...baselines.map((each): Point => ({ ...each, role: 'baseline' })),
  ]
  const shown = points.slice(0, 2 + MOST_POINTS)
  return html`<div class="pair">${plot(shown, 'kl', 'KL to the source, nats a token')}${plot(shown, 'perplexity', 'Perplexity')}</div>${
    baselines.length === 0 &&
    missing(
      html`No other run stands beside it: compress the same source with <code>--method ${report.method === 'rtn' ? 'gptq' : 'rtn'}</code> and the same grid to see what the method makes of it.`,
    )
  }${folded(
    'Numbers',
    table({
      label: 'Size and quality',
      columns: [
        { name: 'model' },
        { name: 'weight files', numeric: true },
        { name: 'bits a weight', numeric: true },
        { name: 'KL', numeric: true },
        { name: 'perplexity', numeric: true },
      ],
      rows: points.map((point) => [
        shortened(point.name, 80),
        byteSize(point.bytes),
        fixed(point.bitsPerWeight, 2),
        fixed(point.kl, 4),
        fixed(point.perplexity, 3),
      ]),
    }),
  )}`
}

/** Encoders: the cosines between their vectors and those of the source. */
function cosines(report: CompressionReport): Markup {
  const result = { ...report, name: `this result, ${report.method}` }
  return table({
    label: 'Size and quality',
    columns: [
      { name: 'model' },
      { name: 'weight files', numeric: true },
      { name: 'bits a weight', numeric: true },
      { name: 'mean cosine to the source', numeric: true },
      { name: 'least cosine', numeric: true },
    ],
    rows: [result, ...(report.baselines ?? [])].map(({ name, bytes, bitsPerWeight, embeddings }) => [
      shortened(name, 80),
      byteSize(bytes),
      fixed(bitsPerWeight, 2),
      fixed(embeddings?.meanCosine, 5),
      fixed(embeddings?.leastCosine, 5),
    ]),
  })
}

const WIDTH = 480
const HEIGHT = 300
const box: Box = { left: 52, right: WIDTH - 16, top: 34, bottom: HEIGHT - 44 }

/** One measure over the size, where at least two points have it. */
function plot(points: readonly Point[], measure: 'kl' | 'perplexity', label: string): Markup | undefined {
  const present = points.filter((point) => isNumber(point[measure]) && isNumber(point.bytes))
  if (present.length < 2) return undefined
  const sizes = present.map(({ bytes }) => bytes / 1e6)
  const values = present.map((point) => point[measure]!)
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)]
  const spread = Math.max(most - least, most * 0.02)
  const x = axis(Math.max(0, least - 0.15 * spread), most + 0.15 * spread, box.left, box.right, 5)
  const floor = measure === 'kl' ? 0 : Math.min(...values) * 0.9
  const y = axis(floor, Math.max(...values) * 1.05 || 1, box.bottom, box.top, 5)
  const placed = present.map((point) => ({ point, x: x.at(point.bytes / 1e6), y: y.at(point[measure]!) }))
  return figure({
    id: `size-${measure}`,
    title: `${label}, over the size of the weight files`,
    description: `${present
      .map((point) => `${shortened(point.name, 40)}: ${byteSize(point.bytes)}, ${fixed(point[measure], 3)}`)
      .join('; ')}. Lower and further left is better.`,
    width: WIDTH,
    height: HEIGHT,
    body: [
      axisLeft({ axis: y, label }, box),
      axisBelow({ axis: x, label: 'weight files, MB' }, box),
      ...placed.map(({ point, x, y }) => mark(point.role, x, y)),
      ...labelled(placed),
    ],
  })
}

/** A ring for the source, a diamond for the result, squares for the others. */
function mark(role: Point['role'], x: number, y: number): Markup {
  if (role === 'source') return html`<circle class="point source" cx="${x}" cy="${y}" r="6"/>`
  if (role === 'result') return html`<path class="point result" d="M${x} ${y - 8}l8 8l-8 8l-8 -8z"/>`
  return html`<rect class="point other" x="${x - 5}" y="${y - 5}" width="10" height="10"/>`
}

interface Area {
  left: number
  right: number
  top: number
  bottom: number
}

const covers = (a: Area, b: Area): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom

/** Names beside, above or below their points: the first place where they cover no other point and no other name. */
function labelled(placed: readonly { point: Point; x: number; y: number }[]): Markup[] {
  const taken: Area[] = placed.map(({ x, y }) => ({ left: x - 9, right: x + 9, top: y - 9, bottom: y + 9 }))
  return placed.map(({ point, x, y }) => {
    const name = fitted(point.name, 210)
    const width = textWidth(name)
    const around = [0, -6, 6, -16, 16, -32, 32].flatMap((shift) => [
      { left: x + 12, base: y + 4 + shift },
      { left: x - 12 - width, base: y + 4 + shift },
      { left: x - width / 2, base: y - 13 + shift },
    ])
    const areas = around.map(
      ({ left, base }): Area => ({ left, right: left + width, top: base - 11, bottom: base + 4 }),
    )
    const inside = areas.filter(
      (area) =>
        area.left >= box.left && area.right <= WIDTH && area.top >= box.top - 8 && area.bottom <= box.bottom,
    )
    const area = inside.find((each) => !taken.some((other) => covers(each, other))) ?? inside[0] ?? areas[0]!
    taken.push(area)
    return html`<text class="name" x="${(area.left + area.right) / 2}" y="${area.bottom - 4}" text-anchor="middle">${name}</text>`
  })
}
