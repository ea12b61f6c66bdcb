/** Relative error of every matrix: the method's and that of round to nearest, as maps and as a table. */
import type { CompressionReport, LayerReport } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { heatLegend, heatMap, heatScale } from './heat_map.ts'
import { html, type Markup, type Part } from './markup.ts'
import { matrixGrid, OUTLIER, outliers } from './matrix_grid.ts'
import { decibels, fixed, isNumber, percent } from './numbers.ts'
import { missing, section } from './section.ts'
import { folded, table } from './table.ts'

/** Rows of the table; report.json has them all. */
const MOST_ROWS = 1000

export function errorSection(report: CompressionReport): Markup {
  return section({ id: 'error', title: 'Error of each matrix', content: content(report) })
}

const errorOf = (layer: LayerReport) => layer.relativeError
const errorOfRtn = (layer: LayerReport) => layer.relativeErrorRtn ?? Number.NaN

function content(report: CompressionReport): Part {
  const { layers, method } = report
  if (layers.length === 0) return missing('No matrix was compressed, so that there is no error to show.')
  const grid = matrixGrid(layers)
  const scale = heatScale(grid.cells.flatMap(({ layer }) => [errorOf(layer), errorOfRtn(layer)]))
  const marked = outliers(grid, errorOf)
  const isRtn = method === 'rtn'
  const compared = !isRtn && layers.some(({ relativeErrorRtn }) => relativeErrorRtn !== undefined)
  const maps = grid.cells.length > 0 && [
    html`<div class="pair"><div><h3>${method}</h3>${heatMap({
      id: 'map-method',
      title: `Relative error of ${shortened(method, 40)}, in decibels`,
      grid,
      scale,
      errorOf,
      outliers: marked,
    })}</div>${
      compared &&
      html`<div><h3>Round to nearest</h3>${heatMap({
        id: 'map-rtn',
        title: 'Relative error of round to nearest, in decibels',
        grid,
        scale,
        errorOf: errorOfRtn,
        outliers: outliers(grid, errorOfRtn),
      })}</div>`
    }</div>`,
    html`<div class="key">${heatLegend(scale)}<p>dB of relative error: −30 dB is 0.1%, −20 dB is 1%, −10 dB is 10%. Rows are stages. ▲ framed: larger than usual for its kind, ▼ smaller, by more than ${OUTLIER} median deviations of its logarithm.</p></div>`,
    isRtn &&
      html`<p class="missing">The method is round to nearest itself, so that no second map stands beside it; compress with <code>--method gptq</code> to compare.</p>`,
  ]
  return html`<p class="lead">Share of each matrix’s output that is lost${
    report.calibration ? ', on the calibration text' : '; without calibration, of its weights'
  }.${gainSentence(layers, method)}</p>${maps}${
    grid.rest.length > 0 &&
    folded(
      `Outside of the maps (${grid.rest.length})`,
      errorTable('Matrices outside of the maps', grid.rest, marked, isRtn),
    )
  }${folded(`All matrices, the worst first (${layers.length})`, errorTable('Errors of all matrices, the worst first', layers, marked, isRtn))}`
}

/** By how much the method is better than round to nearest, over all matrices. */
function gainSentence(layers: readonly LayerReport[], method: string): string {
  const gains = layers
    .map((layer) => decibels(errorOfRtn(layer) / layer.relativeError))
    .filter(Number.isFinite)
  if (method === 'rtn' || gains.length === 0) return ''
  const mean = gains.reduce((a, b) => a + b) / gains.length
  const better = gains.filter((gain) => gain > 0).length
  return ` ${method} is ${fixed(Math.abs(mean), 1)} dB ${mean >= 0 ? 'below' : 'above'} round to nearest on average, and better in ${better} of ${gains.length} matrices.`
}

function errorTable(
  label: string,
  layers: readonly LayerReport[],
  marked: ReadonlyMap<LayerReport, 'worse' | 'better'>,
  isRtn: boolean,
): Markup {
  const order = (layer: LayerReport) => (isNumber(layer.relativeError) ? layer.relativeError : -1)
  const sorted = layers.toSorted((a, b) => order(b) - order(a))
  const rows = sorted.slice(0, MOST_ROWS).map((layer) => {
    const [own, rtn] = [decibels(layer.relativeError), decibels(errorOfRtn(layer))]
    const outlier = marked.get(layer)
    return [
      html`<code>${shortened(layer.name)}</code>`,
      fixed(layer.bits, 2),
      layer.relativeError === 0 ? 'exact' : fixed(own, 1),
      percent(layer.relativeError, 3),
      ...(isRtn ? [] : [fixed(rtn, 1), fixed(rtn - own, 1)]),
      outlier && (outlier === 'worse' ? '▲ large' : '▼ small'),
      shortened(layer.notes.join('; '), 300),
    ]
  })
  return html`${table({
    label,
    columns: [
      { name: 'matrix' },
      { name: 'bits', numeric: true },
      { name: 'error, dB', numeric: true },
      { name: 'error', numeric: true },
      ...(isRtn
        ? []
        : [
            { name: 'nearest, dB', numeric: true },
            { name: 'gain, dB', numeric: true },
          ]),
      { name: 'outlier' },
      { name: 'notes' },
    ],
    rows,
  })}${sorted.length > MOST_ROWS && html`<p>${sorted.length - MOST_ROWS} more stand in report.json.</p>`}`
}
