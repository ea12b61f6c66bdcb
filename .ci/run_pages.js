#!/usr/bin/env node
/**
 * Runs the commands of the pages: `.ci/run_pages.js [PAGE...]`, all pages without arguments.
 *
 *   ```sh run      a shell script            ```js run    a module that imports 'pare'
 *                    (its `npm ci && ` is left out: what it installs is there)
 *   ```sh small    the one long command of README, with a small calibration and evaluation
 *   ```yaml FILE   a recipe for the commands after it
 *   ```ts FILE     a file of the walk-through, which is then type-checked and tested in a copy of the repository
 *
 * Each page runs in a folder of its own that holds links to the repository, so that its results lie outside of it.
 */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const small = ' --samples 2 --length 64 --windows 1'
const pages = process.argv.slice(2)
if (pages.length === 0) {
  pages.push(
    'README.md',
    'CONTRIBUTING.md',
    'docs/recipes.md',
    'docs/training.md',
    'docs/chat.md',
    'docs/serve.md',
  )
  for (const name of readdirSync(join(root, 'docs/systems')).sort()) pages.push(`docs/systems/${name}`)
}

let [passed, failed] = [0, 0]
function record(title, { status, stdout, stderr, error }, started) {
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  if (status === 0) passed++
  else failed++
  process.stdout.write(`${status === 0 ? 'ok     ' : 'FAILED '} ${title} (${seconds} s)\n`)
  if (status !== 0) process.stdout.write(`${stdout ?? ''}${stderr ?? ''}${error ?? ''}\n`)
}

const run = (folder, command, ...args) =>
  spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 28,
  })

for (const page of pages) {
  const text = readFileSync(join(root, page), 'utf8')
  const blocks = [...text.matchAll(/^```(\w+) (\S+)\n([\s\S]*?)^```$/gm)].map(([, language, mark, code]) => ({
    language,
    mark,
    code,
  }))
  const folder = mkdtempSync(join(tmpdir(), 'pare-page-'))
  try {
    const files = blocks.filter(({ language }) => language === 'ts')
    if (files.length > 0) checkFiles(page, folder, files)
    else
      for (const name of readdirSync(root))
        if (name !== '.git') symlinkSync(join(root, name), join(folder, name))
    for (const [index, { language, mark, code }] of blocks.entries()) {
      const title = `${page}: ${code.trim().split('\n')[0]}`
      const started = performance.now()
      if (language === 'yaml') writeFileSync(join(folder, mark), code)
      if (language === 'sh' && mark === 'run')
        record(
          title,
          run(folder, 'bash', '-euo', 'pipefail', '-c', code.replace(/^npm ci && /m, '')),
          started,
        )
      if (language === 'sh' && mark === 'small') {
        const command = `${code.trim()}${small}`
        record(`${page}: ${command}`, run(folder, 'bash', '-euo', 'pipefail', '-c', command), started)
      }
      if (language === 'js' && mark === 'run') {
        writeFileSync(join(folder, `block-${index}.mjs`), code)
        record(title, run(folder, process.execPath, `block-${index}.mjs`), started)
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed > 0 ? 1 : 0

/** Puts the files of a walk-through into a copy of the sources, checks their types and runs their tests. */
function checkFiles(page, folder, files) {
  for (const name of ['src', 'package.json', 'tsconfig.json', 'vitest.config.ts']) {
    cpSync(join(root, name), join(folder, name), { recursive: true })
  }
  for (const name of ['native', 'node_modules', 'dist', 'interop', 'bin'])
    symlinkSync(join(root, name), join(folder, name))
  for (const { mark, code } of files) {
    mkdirSync(dirname(join(folder, mark)), { recursive: true })
    writeFileSync(join(folder, mark), code)
  }
  const node = (...args) => run(folder, process.execPath, ...args)
  let started = performance.now()
  record(
    `${page}: types of ${files.map(({ mark }) => mark).join(', ')}`,
    node('node_modules/typescript/bin/tsc', '--noEmit'),
    started,
  )
  const tests = files.map(({ mark }) => mark).filter((name) => name.endsWith('.test.ts'))
  started = performance.now()
  record(`${page}: ${tests.join(', ')}`, node('node_modules/vitest/vitest.mjs', 'run', ...tests), started)
}
