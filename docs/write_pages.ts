/** `npm run pages`: writes the parts of the pages that are made from the code and from results. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { experiments } from '../experiments/experiments.ts'
import { currentPages } from './pages.ts'
import { systems } from './systems.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
for (const [file, text] of currentPages(root, systems, Object.values(experiments))) {
  let before = ''
  try {
    before = readFileSync(join(root, file), 'utf8')
  } catch {
    // A page that is not there yet is written.
  }
  if (before === text) continue
  writeFileSync(join(root, file), text)
  process.stderr.write(`written  ${file}\n`)
}
