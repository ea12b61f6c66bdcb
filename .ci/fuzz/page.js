#!/usr/bin/env node
/**
 * Writes docs/fuzzing.md from what `.ci/fuzz.js --json` printed: `.ci/fuzz/page.js RESULTS...`. Of each reader and first
 * seed the line with the most cases counts, of those the last.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readers } from './readers.js'

const page = fileURLToPath(new URL('../../docs/fuzzing.md', import.meta.url))
const lines = process.argv
  .slice(2)
  .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
  .filter((line) => line.startsWith('{"reader"'))
  .map((line) => JSON.parse(line))
const best = new Map()
for (const line of lines) {
  const known = best.get(line.reader)
  if (!known || line.cases >= known.cases) best.set(line.reader, line)
}
const rows = readers.flatMap(({ name }) => best.get(name) ?? [])
const number = (value) => value.toLocaleString('en-US')
const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(0)
const table = rows.map(
  ({ reader, first, cases, opened, refused, faults, slowest, memory, commit }) =>
    `| ${reader} | ${number(first)} to ${number(first + cases - 1)} | ${number(cases)} | ${number(opened)} | ${number(refused)} | ${number(faults)} | ${slowest.toFixed(0)} | ${mebibytes(memory)} | ${commit} |`,
)
const missing = readers.filter(({ name }) => (best.get(name)?.cases ?? 0) < 100_000).map(({ name }) => name)
const machines = [...new Set(rows.map(({ machine }) => machine))]

writeFileSync(
  page,
  `# Hostile files

Every reader of files is tried with files that are damaged by seed: bits flipped, pieces cut, doubled and moved, lengths
and counts at the edges of their types, and what only one format can get wrong (nesting and keys twice in JSON, types and
arrays of GGUF, bombs and circles of protocol buffers and pickles, headers of archives that disagree, names with \`..\`,
templates that loop and grow). A case passes where the file ends in a typed error, or opens and gives what it promises,
within a second of processor time and with at most twice its files and 64 MiB of memory beside what the process has
without it.

\`\`\`sh
node .ci/fuzz.js                                      # the stored corpus, and 300 cases of each reader
node .ci/fuzz.js --cases 100000 --reader gguf --json  # one line of the table below
node .ci/fuzz.js --reader gguf --seed 17 --keep DIR   # one case again; its files are written to DIR
\`\`\`

The same reader and seed give the same bytes as long as the damage and the originals are those of the commit. Time is that
of the processor, so that other work beside it does not count. What passes a limit is run again alone, in a process that
has read other cases before; only what passes it there too is a fault. Memory is what was resident at most above what the
process held before; the column is an upper bound, since garbage of the cases before counts up to half of the limit.

${missing.length === 0 ? 'Each reader, 100,000 cases' : `Each reader; **fewer than 100,000 cases so far** for ${missing.join(', ')}`}. ${machines.join('; ')}, with other work beside.

| reader | seeds | cases | opened | refused | faults | slowest, ms | memory over the files, MiB | commit |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${table.join('\n')}

What was found and mended stands in \`.ci/fuzz/corpus\`, beside hostile files that were put together by hand; all of it is
read in continuous integration.
`,
)
