/** The parts of the pages that are made from the code and from results, so that they cannot lag behind. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AnyExperiment, commandOf, type Result, staleMark } from '../experiments/experiment.ts'
import { hashOf } from '../experiments/machine.ts'
import type { OneShotRun } from '../experiments/one_shot_measure.ts'
import { bitsPart, timePart, zerosPart } from './choosing.ts'
import { methodTable } from './method_table.ts'
import { runtimeTable } from './runtime_table.ts'
import { zooTable } from './zoo_table.ts'

/** A page below docs/systems, and how its methods are chosen. */
export interface System {
  page: string
  choose: string
}

/** Title, first sentence and source of a system's page. */
export function titleOf(page: string): { title: string; sentence: string; paper: string | undefined } {
  const [, title, text] = /^# (.+)\n\n([\s\S]+?)\n\n/.exec(page) ?? []
  const sentence = text?.replaceAll('\n', ' ').match(/^.+?[.](?=\s|$)/)?.[0]
  if (!title || !sentence) throw new Error('a page of a system begins with a title and a sentence')
  return { title, sentence, paper: page.match(/\[arXiv:[\d.]+\]\([^)]+\)/)?.[0] }
}

/** The systems that work, one a row. */
export function systemsTable(root: string, systems: readonly System[]): string {
  const rows = systems.map(({ page, choose }) => {
    const { title, sentence, paper } = titleOf(readFileSync(join(root, `docs/systems/${page}.md`), 'utf8'))
    return `| [${title}](docs/systems/${page}.md) | ${paper ?? ''} | ${choose} | ${sentence} |`
  })
  return ['| system | paper | choose it with | what it does |', '| --- | --- | --- | --- |', ...rows].join(
    '\n',
  )
}

/** The record of an experiment, and whether its sources changed after it; nothing where it did not run yet. */
export function readResult(
  root: string,
  { name, sources }: AnyExperiment,
): { result: Result; stale: boolean } | undefined {
  const file = join(root, `docs/results/${name}.json`)
  if (!existsSync(file)) return undefined
  const result: Result = JSON.parse(readFileSync(file, 'utf8'))
  return { result, stale: result.sources !== hashOf(root, sources) }
}

/** What a system cost and gave, from the result of its experiment. */
export function systemResults(root: string, page: string, experiments: readonly AnyExperiment[]): string {
  const experiment = experiments.find(({ systems }) => systems.includes(page))
  if (!experiment) return 'Not measured: no experiment covers it.'
  const found = readResult(root, experiment)
  if (!found) return `Not measured yet: \`${commandOf(experiment.name)}\` writes the numbers.`
  const { result, stale } = found
  return [
    ...(stale ? [staleMark, ''] : []),
    experiment.part(result, page),
    `How, and against what: [the experiment](../results/${experiment.name}.md).`,
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
export function currentPages(
  root: string,
  systems: readonly System[],
  experiments: readonly AnyExperiment[],
): Map<string, string> {
  const read = (file: string) => readFileSync(join(root, file), 'utf8')
  const pages = new Map([['README.md', fill(read('README.md'), 'systems', systemsTable(root, systems))]])
  for (const { page } of systems) {
    const file = `docs/systems/${page}.md`
    pages.set(file, fill(read(file), 'results', systemResults(root, page, experiments)))
  }
  for (const experiment of experiments) {
    const found = readResult(root, experiment)
    if (found) pages.set(`docs/results/${experiment.name}.md`, experiment.page(found.result, found.stale))
  }
  pages.set('docs/recipes.md', fill(read('docs/recipes.md'), 'methods', methodTable()))
  pages.set('docs/models.md', fill(read('docs/models.md'), 'zoo', zooTable()))
  pages.set('docs/choosing.md', choosing(root, read('docs/choosing.md'), experiments))
  return pages
}

function choosing(root: string, page: string, experiments: readonly AnyExperiment[]): string {
  const record = (name: string) =>
    readResult(root, experiments.find((each) => each.name === name)!)?.result as
      | Result<OneShotRun>
      | undefined
  const [benchmark, pruning] = [record('ptq_benchmark'), record('sparsegpt')]
  const parts = {
    bits: bitsPart(benchmark),
    time: ['pare-4m', 'smollm2'].map((model) => timePart(benchmark, model)).join('\n\n'),
    zeros: zerosPart(pruning),
    runtimes: runtimeTable(),
  }
  return Object.entries(parts).reduce((filled, [name, text]) => fill(filled, name, text), page)
}
