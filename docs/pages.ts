/** The parts of the pages that are made from the code and from results, so that they cannot lag behind. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BitsRecord, bitsPage, sources as bitsSources } from '../experiments/bits_per_byte_page.ts'
import { machineLines, resultPage, resultTable, staleMark } from '../experiments/gptq_page.ts'
import { type Result, sources, summarize } from '../experiments/gptq_result.ts'
import { hashOf } from '../experiments/machine.ts'
import { zooTable } from './zoo_table.ts'

/** Title and first sentence of a system's page. */
export function titleOf(page: string): { title: string; sentence: string } {
  const [, title, text] = /^# (.+)\n\n([\s\S]+?)\n\n/.exec(page) ?? []
  const sentence = text?.replaceAll('\n', ' ').match(/^.+?[.](?=\s|$)/)?.[0]
  if (!title || !sentence) throw new Error('a page of a system begins with a title and a sentence')
  return { title, sentence }
}

/** The systems that work, one a row, in the order of the table of methods. */
export function systemsTable(root: string, methods: readonly string[]): string {
  const rows = methods.map((name) => {
    const { title, sentence } = titleOf(readFileSync(join(root, `docs/systems/${name}.md`), 'utf8'))
    return `| [${title}](docs/systems/${name}.md) | \`--method ${name}\` | ${sentence} |`
  })
  return ['| system | choose it with | what it does |', '| --- | --- | --- |', ...rows].join('\n')
}

/** The record of an experiment, and whether its sources changed after it; nothing where it did not run yet. */
export function readResult(root: string): { result: Result; stale: boolean } | undefined {
  const file = join(root, 'docs/results/gptq.json')
  if (!existsSync(file)) return undefined
  const result: Result = JSON.parse(readFileSync(file, 'utf8'))
  return { result, stale: result.sources !== hashOf(root, sources) }
}

/** What a method cost and gave, from the result of the experiment. */
export function systemResults(root: string, method: string): string {
  const found = readResult(root)
  if (!found) return 'Not measured yet: `npm run experiment -- gptq` writes the numbers.'
  const { result, stale } = found
  const rows = summarize(result.runs).filter((row) => row.method === method)
  return [
    ...(stale ? [staleMark, ''] : []),
    resultTable(rows, result),
    '',
    `${machineLines(rows)}\\`,
    'How, and against what: [the experiment](../results/gptq.md).',
  ].join('\n')
}

/** Puts text between the markers `<!-- NAME -->` and `<!-- /NAME -->`. */
export function fill(page: string, name: string, text: string): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const [from, to] = [page.indexOf(start), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no part between ${start} and ${end}`)
  return `${page.slice(0, from + start.length)}\n${text}\n${page.slice(to)}`
}

/** Every file that has made parts, as it should be now. */
export function currentPages(root: string, methods: readonly string[]): Map<string, string> {
  const read = (file: string) => readFileSync(join(root, file), 'utf8')
  const pages = new Map([['README.md', fill(read('README.md'), 'systems', systemsTable(root, methods))]])
  for (const name of methods) {
    const file = `docs/systems/${name}.md`
    pages.set(file, fill(read(file), 'results', systemResults(root, name)))
  }
  pages.set('docs/models.md', fill(read('docs/models.md'), 'zoo', zooTable()))
  const bits = join(root, 'docs/results/bits_per_byte.json')
  if (existsSync(bits)) {
    const record: BitsRecord = JSON.parse(readFileSync(bits, 'utf8'))
    pages.set('docs/results/bits_per_byte.md', bitsPage(record, record.sources !== hashOf(root, bitsSources)))
  }
  const found = readResult(root)
  if (found) pages.set('docs/results/gptq.md', resultPage(found.result, found.stale))
  return pages
}
