#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// Until a command listens itself, Ctrl-C ends at once, with the exit code that says so.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (process.listenerCount(signal) === 1) process.exit(130)
  })
}

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
