/** Figures as SVG: points with their spread, and lines through those of one series. */
import type { Spec } from 'vega'
import { SourceError } from '#src/tensor/errors.ts'

export interface Point {
  series: string
  x: number
  y: number
  /** Over seeds. */
  low: number
  high: number
  label?: string
}

export interface Axis {
  title: string
  /** @default 'linear' */
  scale?: 'linear' | 'log'
}

export function lineFigure(points: readonly Point[], { x, y }: { x: Axis; y: Axis }): Spec {
  const at = { x: { scale: 'x', field: 'x' }, y: { scale: 'y', field: 'y' } }
  const stroke = { scale: 'color', field: 'series' }
  return {
    width: 520,
    height: 320,
    padding: 8,
    background: 'white',
    data: [{ name: 'points', values: [...points] }],
    scales: [
      {
        name: 'x',
        type: x.scale ?? 'linear',
        domain: { data: 'points', field: 'x' },
        range: 'width',
        nice: true,
        ...(x.scale === 'log' ? {} : { zero: false }),
      },
      {
        name: 'y',
        type: y.scale ?? 'linear',
        domain: { data: 'points', fields: ['low', 'high'] },
        range: 'height',
        padding: 12,
        ...(y.scale === 'log' ? {} : { zero: false }),
      },
      {
        name: 'color',
        type: 'ordinal',
        domain: { data: 'points', field: 'series', sort: true },
        // Schemes of ten repeat beyond that.
        range: new Set(points.map(({ series }) => series)).size > 10 ? { scheme: 'category20' } : 'category',
      },
    ],
    axes: [
      { orient: 'bottom', scale: 'x', title: x.title, ...(x.scale === 'log' ? { tickCount: 6 } : {}) },
      { orient: 'left', scale: 'y', title: y.title, grid: true, tickCount: 6 },
    ],
    legends: [{ fill: 'color', orient: 'right', symbolType: 'circle', labelLimit: 0 }],
    marks: [
      {
        type: 'group',
        from: { facet: { name: 'lines', data: 'points', groupby: 'series' } },
        marks: [
          {
            type: 'line',
            from: { data: 'lines' },
            sort: { field: 'datum.x' },
            encode: { enter: { ...at, stroke, strokeWidth: { value: 1 }, strokeDash: { value: [3, 3] } } },
          },
        ],
      },
      {
        type: 'rule',
        from: { data: 'points' },
        encode: {
          enter: { x: at.x, y: { scale: 'y', field: 'low' }, y2: { scale: 'y', field: 'high' }, stroke },
        },
      },
      {
        type: 'symbol',
        from: { data: 'points' },
        encode: { enter: { ...at, fill: stroke, size: { value: 60 } } },
      },
    ],
  }
}

/** @throws SourceError where vega, which draws, is not installed */
export async function drawFigure(spec: Spec): Promise<string> {
  const vega = await figureLibrary()
  return new vega.View(vega.parse(spec), { renderer: 'none' }).toSVG()
}

/** It is needed by experiments alone, so that an installation of Pare comes without it. */
export async function figureLibrary(): Promise<typeof import('vega')> {
  try {
    return await import('vega')
  } catch (cause) {
    throw new SourceError(
      'reproduce: figures are drawn by vega, which is not installed; run `npm install vega` beside Pare',
      { code: 'PARE_E_FIGURES', cause },
    )
  }
}
