import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CompressionReport } from '../report.ts'
import { wholeReport, withStrings } from './report.suite.ts'
import { reportPage } from './report_page.ts'
import { readTags, type Tag } from './strict_html.suite.ts'

const tagsOf = (report: CompressionReport) => readTags(reportPage(report))
/** Names of tags and attributes, and the values of those that could act. */
const shape = (tags: readonly Tag[]) =>
  tags.map(
    ({ name, closing, attributes }) =>
      `${closing ? '/' : ''}${name} ${attributes.map(([key]) => key).join(' ')}`,
  )
const attribute = (tags: readonly Tag[], key: string) =>
  tags.flatMap(({ attributes }) => attributes.filter(([name]) => name === key).map(([, value]) => value))

const hostile = '<img src=x onerror=alert(1)>'

/** Pieces that end text, attributes, comments and elements somewhere. */
const piece = fc.oneof(
  fc.constantFrom(
    '<',
    '>',
    '"',
    "'",
    '&',
    '`',
    '<!--',
    '-->',
    ']]>',
    '</style>',
    '</svg>',
    '</title>',
    '<script>',
    '\0',
    '\u202e',
    '\ud800',
    '\u2028',
    '&lt;',
    'javascript:',
    ' onload="',
    '/>',
    hostile,
  ),
  fc.string({ unit: 'binary' }),
)
const text = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(''))

describe('whatever stands in a report', () => {
  test('no string opens a tag or an attribute: the page has the same tags as with harmless ones', () => {
    // Longer than where the texts part, so that the rest is marked in either.
    const start = 'z'.repeat(12)
    const harmless = shape(tagsOf(withStrings(wholeReport(), () => start)))
    fc.assert(
      fc.property(text, (ending) => {
        expect(shape(tagsOf(withStrings(wholeReport(), () => `${start}${ending}`)))).toEqual(harmless)
      }),
      { numRuns: 150 },
    )
  })
  test('values of a wrong kind and numbers that are none make no tags either', () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.constantFrom(Number.NaN, Infinity, -1, 1e308, null)), (value) => {
        const report = wholeReport()
        const numbers = [
          'perplexity',
          'kl',
          'top1',
          'bytes',
          'bytesSource',
          'seconds',
          'peakMemoryBytes',
        ] as const
        for (const name of numbers) (report as unknown as Record<string, unknown>)[name] = value
        readTags(
          reportPage({
            ...report,
            layers: report.layers.map((layer) => ({
              ...layer,
              relativeError: value as number,
              bits: value as number,
            })),
            memory: report.memory!.map((sample) => ({ ...sample, bytes: value as number })),
            timeline: report.timeline!.map((entry) => ({ ...entry, seconds: value as number })),
          }),
        )
      }),
      { numRuns: 60 },
    )
  })
  test('a tensor named like a tag is shown as text', () => {
    const report = wholeReport()
    const page = reportPage({
      ...report,
      layers: report.layers.map((layer, i) => (i === 0 ? { ...layer, name: hostile } : layer)),
    })
    expect(page).not.toContain('<img')
    expect(page).toContain('<code>&lt;img src=x onerror=alert(1)&gt;</code>')
  })
  test('the page needs no script, no request and no style attribute', () => {
    const page = reportPage(wholeReport())
    const tags = readTags(page)
    const names = new Set(tags.map(({ name }) => name))
    for (const name of [
      'script',
      'link',
      'img',
      'iframe',
      'object',
      'use',
      'image',
      'form',
      'base',
      'a',
    ].slice(0, -1))
      expect(names.has(name), name).toBe(false)
    const keys = new Set(tags.flatMap(({ attributes }) => attributes.map(([key]) => key)))
    for (const key of keys)
      expect(key).not.toMatch(/^(?:on.*|style|src|srcset|action|formaction|xlink.*|data)$/i)
    for (const target of attribute(tags, 'href')) expect(target).toMatch(/^#[a-z]+$/)
    expect(page).not.toMatch(/https?:|\/\/[a-z]/)
  })
  test('the content security policy allows the one style sheet, by its hash, and nothing else', () => {
    const page = reportPage(wholeReport())
    const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)!
    const styles = [...page.matchAll(/<style>([\s\S]*?)<\/style>/g)]
    expect(styles).toHaveLength(1)
    const hash = createHash('sha256').update(styles[0]![1]!).digest('base64')
    expect(policy!.replaceAll('&#39;', "'")).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`,
    )
    // Nothing that the policy is to hold back stands before it.
    expect(page.indexOf('Content-Security-Policy')).toBeLessThan(page.indexOf('<style>'))
  })
  test('a path gives away its last part only', () => {
    const page = reportPage({ ...wholeReport(), source: '/home/somebody/secret/model.gguf' })
    expect(page).not.toMatch(/somebody|secret/)
    expect(page).toContain('<h1>model.gguf</h1>')
  })
  test('a report of a huge model has a bounded page', () => {
    const report = wholeReport()
    const layer = report.layers[0]!
    const many = <T>(of: (i: number) => T) => Array.from({ length: 50_000 }, (_, i) => of(i))
    const page = reportPage({
      ...report,
      source: 'x'.repeat(1e6),
      layers: many((i) => ({ ...layer, name: `model.layers.${i % 3000}.part_${i % 700}.weight${i}` })),
      notes: many((i) => `${i} ${'note '.repeat(500)}`),
      timeline: many((i) => ({ phase: 'compress', stage: `s${i}`, start: i, seconds: 1 })),
      samples: [{ prompt: 'p'.repeat(1e6), text: 't'.repeat(1e6), textSource: 'u'.repeat(1e6) }],
    })
    expect(page.length).toBeLessThan(3e6)
  })
})

describe('what the page shows', () => {
  const page = reportPage(wholeReport())

  test('every part is there, with its heading, and every link of the top leads to one', () => {
    const tags = readTags(page)
    const ids = attribute(tags, 'id')
    expect(new Set(ids).size).toBe(ids.length)
    for (const target of attribute(tags, 'href')) expect(ids).toContain(target.slice(1))
    for (const label of attribute(tags, 'aria-labelledby').flatMap((value) => value.split(' ')))
      expect(ids).toContain(label)
    expect(page).not.toContain('class="missing"')
  })
  test('every region that scrolls has a name and can be reached by keyboard', () => {
    const scrolls = readTags(page).filter(({ attributes }) =>
      attributes.some(([key, value]) => key === 'class' && value.split(' ').includes('scroll')),
    )
    expect(scrolls.length).toBeGreaterThanOrEqual(10)
    for (const { attributes } of scrolls) {
      expect(new Map(attributes).get('tabindex')).toBe('0')
      expect(new Map(attributes).get('role')).toBe('region')
      expect(new Map(attributes).get('aria-label')).toMatch(/\w/)
    }
  })
  test('an outlier has a mark beside its colour, in the map and in the table', () => {
    expect(page).toContain('model.layers.2.mlp.up_proj.weight: −10.0 dB, unusually large')
    expect(page.match(/class="triangle"/g)).toHaveLength(1)
    expect(page).toContain('▲ large')
  })
  test('round to nearest stands beside the method, unless it is the method', () => {
    expect(page.match(/id="map-(?:method|rtn)"|id="map-(?:method|rtn)-title"/g)).toHaveLength(2)
    expect(reportPage({ ...wholeReport(), method: 'rtn' })).not.toContain('id="map-rtn-title"')
  })
  test('each check of the result is a row with its outcome, and what is wrong stands behind it', () => {
    expect(page).toContain(
      '<th scope="row">weights</th><td>as computed</td><td>19 weights are as decided</td>',
    )
    expect(page).toContain('<th scope="row">logits</th><td>FAILED</td><td>far; token 3: 0.9</td>')
    const { verification, ...rest } = wholeReport()
    expect(reportPage(rest)).toContain('The result was not opened again: compress without')
    const [check] = verification!.checks
    const checks = [{ ...check!, text: hostile, status: 'toString' as never }]
    const shown = reportPage({ ...rest, verification: { ...verification!, checks } })
    expect(shown).toContain('<td>toString</td><td>&lt;img src=x onerror=alert(1)&gt;</td>')
  })
  test('texts are marked from where they part, and not where they do not', () => {
    expect(page).toContain(' upon a <mark>hill</mark>')
    expect(page).toContain(' upon a <mark>time</mark>')
    expect(page).toContain('The texts part at token 3')
    expect(page).toContain('The texts are the same')
    expect(page.match(/<mark>/g)).toHaveLength(2)
  })
  test('the first position where the logits part is named, with what both expect', () => {
    expect(page).toContain(
      'They first differ after token 2, <q>·lamp</q>: the source expects <q>·is</q>, the result <q>·was</q>.',
    )
  })
  test('rates of source and result stand side by side, with the machine', () => {
    expect(page).toContain(
      '<th scope="row">writing, tokens/s</th><td class="number">20.0 (19.5 to 20.0)</td><td class="number">40.0 (38.0 to 40.0)</td><td class="number">2.00</td>',
    )
    expect(page).toContain('decoded to floats')
    expect(page).toContain('On a machine; 2 threads: other machines')
    expect(page).not.toContain('No speed from')
    const report = wholeReport()
    const result = { ...report.speed!.source, decode: 20.9 }
    const slow = reportPage({ ...report, speed: { ...report.speed!, result } })
    expect(slow).toContain('No speed from this on this device: its weights are decoded to floats in memory.')
    expect(slow).toContain('Writing did not become faster: 20.0 tokens/s before, 20.9 after.')
  })
  test.each<[keyof CompressionReport, RegExp]>([
    ['command', /no command: compress again/],
    ['timeline', /no time line: compress again/],
    ['memory', /no memory line: compress again/],
    ['baselines', /No other run stands beside it: compress the same source with <code>--method rtn<\/code>/],
    ['speed', /Speed was not measured: compress with <code>--speed<\/code>/],
    ['samples', /No texts were written: compress with <code>--side-by-side<\/code>/],
    ['parting', /not compared token by token: compress with <code>--side-by-side<\/code>/],
  ])('without %s its part is one sentence that says how to get it', (field, sentence) => {
    const { [field]: _, ...rest } = wholeReport()
    const shown = reportPage(rest as CompressionReport)
    readTags(shown)
    expect(shown).toMatch(sentence)
    expect(shown.match(/class="missing"/g)).toHaveLength(1)
  })
  test('the page of an encoder does not advise what encoders cannot do', () => {
    const { samples: _, parting: __, speed: ___, ...rest } = wholeReport()
    const shown = reportPage({ ...rest, family: 'bert' })
    readTags(shown)
    expect(shown).toContain('A text encoder turns texts into vectors and writes none.')
    expect(shown).not.toMatch(/--side-by-side|--speed/)
  })
  test('round to nearest is not compared with itself', () => {
    expect(reportPage(wholeReport())).toContain('gain, dB')
    expect(reportPage({ ...wholeReport(), method: 'rtn' })).not.toMatch(/gain, dB|nearest, dB/)
  })
  test('without an evaluation, and without layers, the page says so', () => {
    const { perplexity: _, kl: __, top1: ___, ...rest } = wholeReport()
    expect(reportPage(rest)).toMatch(/Quality was not measured: compress without <code>--no-evaluate<\/code>/)
    expect(reportPage({ ...rest, layers: [] })).toMatch(/No matrix was compressed/)
    readTags(reportPage({ ...rest, layers: [], notes: [], files: [] }))
  })
})
