#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(fileURLToPath(main))) {
  const { main: run } = await import(main.href)
  await run(process.argv)
} else {
  process.stderr.write(
    'pare: nothing is built here yet; run `npm run build` in the folder of Pare (it needs Rust).\n',
  )
  process.exitCode = 1
}
