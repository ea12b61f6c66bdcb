/** Relative errors as a heat map: stages downwards, kinds of matrices to the right, decibels in the cells. */
import type { LayerReport } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { roundStep, tickDigits } from './axis.ts'
import { figure } from './figure.ts'
import { html, type Markup } from './markup.ts'
import type { MatrixGrid } from './matrix_grid.ts'
import { decibels, fixed } from './numbers.ts'
import { fitted, textWidth } from './text_width.ts'

/** Classes of decibels with round borders; the style sheet has a colour for each of 9 levels. */
export interface HeatScale {
  /** Borders of the classes, one more than there are classes. */
  borders: readonly number[]
  /** 0 to 8. */
  level(decibels: number): number
}

export const HEAT_LEVELS = 9

/** One scale for all errors above 0. */
export function heatScale(errors: readonly number[]): HeatScale {
  const values = errors.map(decibels).filter(Number.isFinite)
  const low = values.length > 0 ? values.reduce((a, b) => Math.min(a, b)) : -1
  const high = values.length > 0 ? values.reduce((a, b) => Math.max(a, b)) : 0
  const step = Math.max(0.1, roundStep(Math.max(high - low, 1e-9) / (HEAT_LEVELS - 1)))
  const first = Math.floor(low / step)
  const count = Math.max(1, Math.ceil(high / step - 1e-9) - first)
  const borders = Array.from({ length: count + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
  return {
    borders,
    level(value) {
      const index = Math.min(count - 1, Math.max(0, Math.floor((value - borders[0]!) / step)))
      return count === 1 ? 4 : Math.round((index * (HEAT_LEVELS - 1)) / (count - 1))
    },
  }
}

export interface HeatMap {
  id: string
  title: string
  grid: MatrixGrid
  scale: HeatScale
  errorOf: (layer: LayerReport) => number
  outliers: ReadonlyMap<LayerReport, 'worse' | 'better'>
}

const LEFT = 44
const ROW = 20

/** The map. A cell says its decibels; an outlier has a frame and a triangle. */
export function heatMap({ id, title, grid, scale, errorOf, outliers }: HeatMap): Markup {
  const { stages, kinds } = grid
  const names = shortNames(kinds).map((name) => fitted(name, 130))
  const longest = Math.max(...names.map(textWidth))
  const slanted = longest > 76
  const cell = slanted ? 56 : Math.max(56, longest - 9)
  const top = slanted ? Math.ceil(longest * Math.SQRT1_2) + 18 : 24
  const head = names.map((name, i) => {
    const x = LEFT + (i + 0.5) * cell
    return slanted
      ? html`<text class="tick" transform="translate(${fixedPlace(x)} ${top - 8}) rotate(-45)">${name}</text>`
      : html`<text class="tick" x="${fixedPlace(x)}" y="${top - 8}" text-anchor="middle">${name}</text>`
  })
  const rows = stages.map((stage, row) => {
    const y = top + row * ROW
    return html`<text class="tick" x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${stage}</text>${kinds.map(
      (kind, column) => {
        const layer = grid.at(stage, kind)?.layer
        const box = { x: fixedPlace(LEFT + column * cell), y, width: fixedPlace(cell - 2), height: ROW - 2 }
        return layer && heatCell(layer.name, errorOf(layer), outliers.get(layer), scale, box)
      },
    )}\n`
  })
  const worst = [...grid.cells].sort((a, b) => errorOf(b.layer) - errorOf(a.layer))[0]
  return figure({
    id,
    title,
    description: `${stages.length} stages by ${kinds.length} kinds of matrices; ${
      worst
        ? `the largest error is ${fixed(decibels(errorOf(worst.layer)), 1)} dB in ${worst.layer.name}`
        : 'none'
    }; ${outliers.size} outliers.`,
    // The last slanted name reaches past its column.
    width: Math.ceil(LEFT + kinds.length * cell + (slanted ? longest * Math.SQRT1_2 - cell / 2 + 12 : 0)),
    height: top + stages.length * ROW,
    body: [...head, ...rows],
  })
}

/** A coloured cell with its decibels, a name for the pointer, and for an outlier a frame and a triangle. */
function heatCell(
  name: string,
  error: number,
  outlier: 'worse' | 'better' | undefined,
  scale: HeatScale,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
): Markup {
  const value = decibels(error)
  const text = error === 0 ? 'exact' : fixed(value, 1)
  const level = Number.isFinite(value) ? `h${scale.level(value)}` : 'none'
  const right = fixedPlace(x + width - 12)
  const triangle = outlier === 'worse' ? `M${right} ${y + 12}h8l-4 -7z` : `M${right} ${y + 6}h8l-4 7z`
  return html`<g class="${level}"><title>${shortened(name)}: ${text}${Number.isFinite(value) && ' dB'}${
    outlier && `, unusually ${outlier === 'worse' ? 'large' : 'small'}`
  }</title><rect class="cell" x="${x}" y="${y}" width="${width}" height="${height}"/>${
    outlier && [
      html`<rect class="outlier" x="${x + 1}" y="${y + 1}" width="${fixedPlace(width - 2)}" height="${height - 2}"/>`,
      html`<path class="triangle" d="${triangle}"/>`,
    ]
  }<text class="value" x="${fixedPlace(x + width / 2 - (outlier ? 5 : 0))}" y="${y + 13}" text-anchor="middle">${text}</text></g>`
}

const fixedPlace = (x: number) => Math.round(x * 10) / 10

/** The last part of each kind, or the whole kind where two have the same last part. */
export function shortNames(kinds: readonly string[]): string[] {
  const last = kinds.map((kind) => kind.split('.').at(-1)!)
  return kinds.map((kind, i) => (last.filter((name) => name === last[i]).length > 1 ? kind : last[i]!))
}

/** The colours with their borders. */
export function heatLegend(scale: HeatScale): Markup {
  const width = 40
  const { borders } = scale
  const count = borders.length - 1
  const digits = tickDigits(borders)
  return html`<svg class="legend" viewBox="0 0 ${count * width + 40} 34" width="${count * width + 40}" height="34" role="img" aria-labelledby="legend-title"><title id="legend-title">Colours from ${fixed(borders[0]!, digits)} dB, small, to ${fixed(borders.at(-1)!, digits)} dB, large</title>${borders
    .slice(0, -1)
    .map(
      (border, i) =>
        html`<g class="h${scale.level(border)}"><rect class="cell" x="${20 + i * width}" y="0" width="${width - 1}" height="14"/></g>`,
    )}${borders.map(
    (border, i) =>
      html`<text class="tick" x="${20 + i * width}" y="29" text-anchor="middle">${fixed(border, digits)}</text>`,
  )}</svg>`
}
