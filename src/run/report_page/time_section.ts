/** When the run did what, and how much memory it held meanwhile: two figures over one axis of time. */
import type { CompressionReport, MemorySample, TimelineEntry } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { axis, exactAxis } from './axis.ts'
import { axisBelow, axisLeft, type Box, figure } from './figure.ts'
import { html, type Markup, type Part } from './markup.ts'
import { byteSize, duration, fixed, isNumber } from './numbers.ts'
import { missing, section } from './section.ts'
import { folded, table } from './table.ts'
import { fitted, textWidth } from './text_width.ts'

const MOST_ENTRIES = 2000

export function timeSection(report: CompressionReport): Markup {
  return section({ id: 'time', title: 'Time and memory', content: content(report) })
}

function content({ timeline = [], memory = [], seconds }: CompressionReport): Part {
  const entries = timeline
    .filter((entry) => isNumber(entry.start) && isNumber(entry.seconds))
    .slice(0, MOST_ENTRIES)
  const samples = memory.filter((sample) => isNumber(sample.seconds) && isNumber(sample.bytes))
  const end = [
    ...entries.map((entry) => entry.start + entry.seconds),
    ...samples.map((sample) => sample.seconds),
  ].reduce((a, b) => Math.max(a, b), isNumber(seconds) ? seconds : 0)
  const minutes = end > 300
  const time = exactAxis((minutes ? end / 60 : end) || 1, box.left, box.right, 9)
  const scale: TimeScale = {
    below: (inside: Box) => axisBelow({ axis: time, label: minutes ? 'minutes' : 'seconds' }, inside),
    at: (value) => time.at(minutes ? value / 60 : value),
  }
  const again = html`compress again, which records it.`
  return [
    entries.length > 0 ? timeLine(entries, scale) : missing(html`This report holds no time line: ${again}`),
    samples.length > 1
      ? memoryLine(samples, scale)
      : missing(html`This report holds no memory line: ${again}`),
    entries.length > 0 && folded('Numbers', timeTable(entries)),
  ]
}

interface TimeScale {
  below(inside: Box): Markup
  at(seconds: number): number
}

const WIDTH = 1000
const box = { left: 92, right: WIDTH - 24 }
const ROW = 26

/** A row for each phase, a bar for each part of it. */
function timeLine(entries: readonly TimelineEntry[], { below, at }: TimeScale): Markup {
  const phases = [...new Set(entries.map(({ phase }) => phase))].slice(0, 12)
  const inside = { ...box, top: 8, bottom: 8 + phases.length * ROW }
  return figure({
    id: 'time-line',
    title: 'Time line',
    description: phases
      .map((phase) => `${phase}: ${duration(total(entries.filter((entry) => entry.phase === phase)))}`)
      .join('; '),
    width: WIDTH,
    height: inside.bottom + 44,
    body: [
      ...phases.map((phase, row) => {
        const own = entries.filter((entry) => entry.phase === phase)
        const y = inside.top + row * ROW
        const last = own.reduce((a, { start, seconds }) => Math.max(a, start + seconds), 0)
        const text = duration(total(own))
        const after = at(last) + 8
        const fits = after + textWidth(text) < WIDTH
        return html`<path class="grid" d="M${inside.left} ${y + ROW - 1}H${inside.right}"/><text class="name" x="${box.left - 10}" y="${y + 16}" text-anchor="end">${fitted(phase, box.left - 14)}</text>${own.map(
          ({ stage, start, seconds }, i) =>
            html`<rect class="bar ${i % 2 === 0 ? 'even' : 'odd'}" x="${at(start)}" y="${y + 4}" width="${Math.max(1.5, Math.round((at(start + seconds) - at(start)) * 100) / 100)}" height="${ROW - 9}"><title>${shortened(stage ?? phase, 60)}: ${duration(seconds)} from ${duration(start)}</title></rect>`,
        )}<text class="tick" x="${fits ? after : at(own[0]!.start) - 8}" y="${y + 16}" text-anchor="${fits ? 'start' : 'end'}">${text}</text>\n`
      }),
      below(inside),
    ],
  })
}

const total = (entries: readonly TimelineEntry[]) => entries.reduce((sum, { seconds }) => sum + seconds, 0)

/** Resident memory, with its highest point. */
function memoryLine(samples: readonly MemorySample[], { below, at }: TimeScale): Markup {
  const inside = { ...box, top: 34, bottom: 190 }
  const peak = samples.reduce((a, b) => (b.bytes > a.bytes ? b : a))
  const y = axis(0, (peak.bytes / 1e6) * 1.02 || 1, inside.bottom, inside.top, 4)
  const points = samples.map(({ seconds, bytes }) => `${at(seconds)} ${y.at(bytes / 1e6)}`)
  const [x, top] = [at(peak.seconds), y.at(peak.bytes / 1e6)]
  const left = x > WIDTH - 180
  const line = points.join('L')
  return figure({
    id: 'memory-line',
    title: 'Resident memory',
    description: `At most ${byteSize(peak.bytes)}, ${duration(peak.seconds)} after the start; ${byteSize(samples.at(-1)!.bytes)} at the end.`,
    width: WIDTH,
    height: inside.bottom + 44,
    body: [
      axisLeft({ axis: y, label: 'resident memory, MB' }, inside),
      html`<path class="area" d="M${at(samples[0]!.seconds)} ${inside.bottom}L${line}V${inside.bottom}z"/><path class="line" d="M${line}"/><circle class="peak" cx="${x}" cy="${top}" r="4.5"/><text class="name" x="${left ? x - 10 : x + 10}" y="${Math.max(inside.top - 12, top - 8)}" text-anchor="${left ? 'end' : 'start'}">highest sample ${byteSize(peak.bytes)}</text>`,
      below(inside),
    ],
  })
}

const timeTable = (entries: readonly TimelineEntry[]): Markup =>
  table({
    label: 'Parts of the run',
    columns: [
      { name: 'phase' },
      { name: 'stage' },
      { name: 'start, s', numeric: true },
      { name: 'took, s', numeric: true },
    ],
    rows: entries.map(({ phase, stage, start, seconds }) => [
      shortened(phase, 40),
      stage && shortened(stage, 80),
      fixed(start, 2),
      fixed(seconds, 2),
    ]),
  })
