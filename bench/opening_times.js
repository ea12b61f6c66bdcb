/** Opening times of bench/formats.js: each file in processes of their own, by Pare and by what a user would pick instead. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { formatFiles } from './format_files.js'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))

function json(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stderr}`)
  return JSON.parse(stdout)
}

/** Files of a model: those of its folder, or its own and those beside it whose names begin alike. */
function filesOf(path) {
  if (statSync(path).isDirectory()) return readdirSync(path).map((name) => join(path, name))
  const names = readdirSync(dirname(path)).filter((name) => name.startsWith(basename(path)))
  return names.map((name) => join(dirname(path), name))
}

/** Takes files out of the page cache, which GNU dd can do without rights. @returns whether it could */
function forget(files) {
  return files.every((file) => spawnSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0']).status === 0)
}

/** Readings of one program: cold where files can be forgotten, then warm. */
function readings(files, runs, once) {
  const cold = []
  for (let run = 0; run < runs; run++) if (forget(files)) cold.push(once())
  once()
  return { cold, warm: Array.from({ length: runs }, once) }
}

const sorted = (list, of) => list.map(of).sort((a, b) => a - b)
const middle = (list) => list[list.length >> 1]
function shown(list, of) {
  if (list.length === 0) return ''
  const all = sorted(list, of)
  return `${middle(all).toFixed(1)} (${all[0].toFixed(1)} to ${all.at(-1).toFixed(1)})`
}
const wall = ({ milliseconds }) => milliseconds
const processor = (reading) => reading.processor

/** Programs beside Pare, by the kind of file. */
function peersOf(kind, python) {
  const script = here('peers/open_once.py')
  const ofPython = (program) => ({
    name: `Python's ${program}`,
    once: (path) => json(python, [script, program, path]),
  })
  return [
    ...(kind === 'gguf'
      ? [
          {
            name: '@huggingface/gguf',
            once: (path) => json(process.execPath, [here('open_once.js'), 'huggingface-gguf', path]),
          },
        ]
      : []),
    ...(python && kind ? [ofPython(kind)] : []),
  ]
}

/**
 * A table in Markdown, its lines as they come.
 *
 * @param options bytes, size and tokenizer as `formatFiles` takes them; runs of each kind; python with the libraries; match, a part of names
 */
export function* openingTable({ runs, python, match, ...options }) {
  yield '| file | MB | tensors | program | cold, ms | warm, ms | warm, processor ms |'
  yield '| --- | --- | --- | --- | --- | --- | --- |'
  const folder = mkdtempSync(join(tmpdir(), 'pare-formats-'))
  try {
    for (const [index, { name, open, peer, make }] of formatFiles(options).entries()) {
      if (!name.includes(match)) continue
      const path = make(join(folder, String(index)))
      const files = filesOf(path)
      const megabytes = Math.round(files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6)
      const pare = {
        name: 'Pare',
        once: (file) => json(process.execPath, [here('open_once.js'), open, file]),
      }
      for (const { name: program, once } of [pare, ...peersOf(peer, python)]) {
        const { cold, warm } = readings(files, runs, () => once(path))
        const cells = [name, megabytes, warm[0].tensors, program, shown(cold, wall), shown(warm, wall)]
        yield `| ${cells.join(' | ')} | ${shown(warm, processor)} |`
      }
      rmSync(path, { recursive: true })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
