/** A figure of the page: an SVG with a name and a description, in a region that scrolls, with its numbers behind it. */
import { type Axis, tickDigits } from './axis.ts'
import { html, type Markup, type Part } from './markup.ts'
import { fixed } from './numbers.ts'

export interface Figure {
  /** Unique in the page; letters and dashes. */
  id: string
  title: string
  /** What it shows, in a sentence or two, for those who do not see it. */
  description: string
  width: number
  height: number
  body: Part
}

/** An SVG in its own size, so that all text of the page is equally large; where it does not fit, its region scrolls. */
export const figure = ({ id, title, description, width, height, body }: Figure): Markup =>
  html`<div class="scroll" role="region" aria-label="${title}" tabindex="0"><svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="${id}-title ${id}-text"><title id="${id}-title">${title}</title><desc id="${id}-text">${description}</desc>${body}</svg></div>`

export interface AxisOptions {
  axis: Axis
  /** @default as many digits as the ticks need */
  format?: (value: number) => string
  label: string
}

/** Box of a plot, in pixels. */
export interface Box {
  left: number
  right: number
  top: number
  bottom: number
}

const labels = ({ axis, format }: AxisOptions): [place: number, text: string][] =>
  axis.ticks.map((tick) => [
    axis.at(tick),
    (format ?? ((value) => fixed(value, tickDigits(axis.ticks))))(tick),
  ])

/** Ticks and label of the axis below a plot. */
export const axisBelow = (options: AxisOptions, { left, right, bottom }: Box): Markup =>
  html`<path class="axis" d="M${left} ${bottom}H${right}"/>${labels(options).map(
    ([x, text]) =>
      html`<path class="axis" d="M${x} ${bottom}v4"/><text class="tick" x="${x}" y="${bottom + 17}" text-anchor="middle">${text}</text>`,
  )}<text class="label" x="${(left + right) / 2}" y="${bottom + 36}" text-anchor="middle">${options.label}</text>`

/** Ticks, grid and label of the axis at the left of a plot; the label stands above it, so that it reads straight. */
export const axisLeft = (options: AxisOptions, { left, right, top }: Box): Markup =>
  html`${labels(options).map(
    ([y, text]) =>
      html`<path class="grid" d="M${left} ${y}H${right}"/><text class="tick" x="${left - 7}" y="${y + 3.5}" text-anchor="end">${text}</text>`,
  )}<text class="label" x="0" y="${top - 12}">${options.label}</text>`
